// A stand-in for hls::stream in g++ builds: unbounded, and strict where hardware would hang.
// Reading from an empty stream throws with the stream's name; beats that nobody has read when a
// stream ends are noted in hls::leftovers(). Vitis has its own header and never sees this one.
#ifndef HWMOE_CSIM_HLS_STREAM_H
#define HWMOE_CSIM_HLS_STREAM_H

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace hls {

// What was left unread in streams since the last time this was cleared.
inline std::string& leftovers() {
    static std::string text;
    return text;
}

template <typename T>
class stream {
  public:
    explicit stream(const char* name = "stream") : name_(name), ring_(64), head_(0), count_(0) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    ~stream() {
        if (count_ != 0) {
            leftovers() += (leftovers().empty() ? "" : ", ") + std::to_string(count_) +
                           " beats in " + name_;
        }
    }

    bool empty() const { return count_ == 0; }
    bool full() const { return false; }
    std::size_t size() const { return count_; }

    void write(const T& beat) {
        if (count_ == ring_.size()) {
            grow();
        }
        ring_[(head_ + count_) & (ring_.size() - 1)] = beat;
        ++count_;
    }

    T read() {
        if (count_ == 0) {
            throw std::runtime_error(std::string("read from the empty stream ") + name_);
        }
        const T& beat = ring_[head_];
        head_ = (head_ + 1) & (ring_.size() - 1);
        --count_;
        return beat;
    }

    void read(T& beat) { beat = read(); }
    stream& operator<<(const T& beat) {
        write(beat);
        return *this;
    }
    stream& operator>>(T& beat) {
        beat = read();
        return *this;
    }

  private:
    void grow() {
        std::vector<T> larger(2 * ring_.size());
        for (std::size_t i = 0; i < count_; ++i) {
            larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
        }
        ring_.swap(larger);
        head_ = 0;
    }

    const char* name_;
    std::vector<T> ring_;  // a power of two beats
    std::size_t head_;
    std::size_t count_;
};

}  // namespace hls

#endif
