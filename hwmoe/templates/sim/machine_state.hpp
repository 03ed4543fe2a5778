// Writes the state of a simulation down, and takes it up again in another process.
//
// A class names all that changes as the clock runs in one function `persist`, which serves both
// ways, so the two cannot disagree. Both ends must be the same library.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "verilated_save.h"

// Verilator's streams, onto memory.
class StateSink final : public VerilatedSerialize {
public:
    std::vector<uint8_t> bytes;

    void flush() override {
        bytes.insert(bytes.end(), m_bufp, m_cp);
        m_cp = m_bufp;
    }
};

class StateSource final : public VerilatedDeserialize {
public:
    StateSource(const uint8_t* data, size_t size) : next(data), end(data + size) { m_endp = m_cp; }

    void fill() override {
        if (m_cp > m_endp) throw std::runtime_error("the state ends too early");
        const size_t kept = m_endp - m_cp;
        const size_t more = std::min(bufferSize() - kept, size_t(end - next));
        std::memmove(m_bufp, m_cp, kept);
        std::memcpy(m_bufp + kept, next, more);
        next += more;
        m_cp = m_bufp;
        m_endp = m_bufp + kept + more;
    }
    void finish() const {
        if (m_cp != m_endp || next != end)
            throw std::runtime_error("the state is not as long as the machine's");
    }

private:
    const uint8_t *next, *const end;
};

class Archive {
public:
    explicit Archive(VerilatedSerialize& to) : sink(&to) {}
    explicit Archive(VerilatedDeserialize& from) : source(&from) {}

    template <typename... Members>
    void operator()(Members&... members) {
        (item(members), ...);
    }

private:
    VerilatedSerialize* sink = nullptr;
    VerilatedDeserialize* source = nullptr;

    void move(void* data, size_t size) {
        if (sink)
            sink->write(data, size);
        else
            source->read(data, size);
    }
    template <typename T>
    void item(T& plain) {
        static_assert(std::is_trivially_copyable<T>::value, "its bytes are not its state");
        static_assert(!std::is_pointer<T>::value, "an address means nothing in another process");
        move(&plain, sizeof plain);
    }
    template <typename T>
    void item(std::vector<T>& list) {
        count(list);
        static_assert(std::is_trivially_copyable<T>::value, "its bytes are not its state");
        move(list.data(), list.size() * sizeof(T));
    }
    template <typename T>
    void item(std::deque<T>& list) {
        count(list);
        for (T& one : list) item(one);
    }
    template <typename List>
    void count(List& list) {
        uint64_t size = list.size();
        item(size);
        list.resize(size);
    }
};
