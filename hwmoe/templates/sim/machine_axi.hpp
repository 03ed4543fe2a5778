// The memory's side of AXI4: a read and a write channel, which check the master by the rules.
// Each cycle: drive() sets what the memory shows, then sample() sees what the edge will take.
#pragma once
#include <deque>

#include "machine_memory.hpp"
#include "verilated.h"

// Shared with Python (hwmoe.sim.machine_library).
struct ChannelState {
    int64_t bursts, bytes;
    int64_t starved;      // cycles a beat was due and the bandwidth was not there
    int64_t outstanding;  // bursts accepted and not complete
    int64_t since;        // the oldest of them: cycle it was accepted,
    int64_t left;         // beats to move,
    uint64_t address;     // where it stands
};

struct AddressWires {
    QData* addr;
    CData *len, *size, *burst, *valid, *ready;
};
struct ReadWires {
    AddressWires ar;
    uint8_t* data;  // Verilator keeps bit 0 first: bytes in order on a little-endian host
    CData *resp, *last, *valid, *ready;
};
struct WriteWires {
    AddressWires aw;
    uint8_t *data, *strb;
    CData *last, *valid, *ready;
    CData *resp, *answer_valid, *answer_ready;
};

struct Burst {
    uint64_t address;
    int64_t left, due, since;
    int region;  // as the memory counts them
    int resp;
};

// What both kinds of channel share: the address handshake and its rules.
class Channel {
public:
    ChannelState state{};

    Channel(Memory& memory, Bandwidth& bandwidth) : memory(memory), bandwidth(bandwidth) {}
    void configure(const Config& given, const char* title, int number, size_t beat_bytes) {
        config = given;
        name = title;
        index = number;
        beat = beat_bytes;
        random = Random(given.seed, number);
    }

protected:
    Memory& memory;
    Bandwidth& bandwidth;
    Config config{};
    std::string name;
    int index = 0;
    size_t beat = 0;
    Random random{0, 0};

    bool stalled() { return random.chance(config.stall); }
    void reset() { waiting = false; }
    void persist(Archive& archive) { archive(state, random, shown, waiting); }

    void drive_address(const AddressWires& wires, size_t held) {
        *wires.ready = held < size_t(config.outstanding) && !stalled();
    }
    // True if a burst was accepted in this cycle.
    bool sample_address(const AddressWires& wires, bool write, int64_t cycle, Burst& burst) {
        const char* const what = write ? "aw" : "ar";
        if (!*wires.valid) {
            if (waiting) fail(what, "valid dropped before ready came", cycle);
            return false;
        }
        const Address now = {*wires.addr, *wires.len, *wires.size, *wires.burst};
        if (waiting && std::memcmp(&now, &shown, sizeof now))
            fail(what, "addr, len, size or burst changed while valid waited for ready", cycle);
        shown = now;
        waiting = !*wires.ready;
        if (waiting) return false;
        const uint64_t size = (now.len + 1) * beat;
        if (now.burst != 1) fail(what, "burst is not INCR", cycle);
        if (uint64_t(1) << now.size != beat) fail(what, "size is not the width of the port", cycle);
        if (now.addr % beat) fail(what, "addr is not at the start of a beat", cycle);
        if (now.addr / 4096 != (now.addr + size - 1) / 4096)
            fail(what, ": a burst crosses a 4 KiB boundary", cycle);
        const int region = memory.open(now.addr, size, write, index, cycle);
        burst = {now.addr, int64_t(now.len) + 1, 0, cycle, region, OKAY};
        state.bursts++;
        return true;
    }
    [[noreturn]] void fail(const char* channel, const char* what, int64_t cycle) const {
        fail(channel, what, cycle, shown.addr);
    }
    [[noreturn]] void fail(const char* channel, const char* what, int64_t cycle,
                           uint64_t address) const {
        char where[64];
        std::snprintf(where, sizeof where, ", in cycle %lld (address 0x%llx)", (long long)cycle,
                      (unsigned long long)address);
        throw Breach(name + " " + channel + what + where);
    }

private:
    struct Address {
        uint64_t addr, len, size, burst;
    };
    Address shown{};
    bool waiting = false;
};

class ReadChannel : public Channel {
public:
    ReadWires wires{};
    using Channel::Channel;

    // As in reset: nothing is under way.
    void idle() {
        Channel::reset();
        bursts.clear();
        presented = dropped = false;
        *wires.ar.ready = 0;
        hide();
    }
    bool silent() const { return !*wires.ar.valid; }

    // Returns whether a beat was paid for.
    bool drive(int64_t cycle) {
        if (dropped) hide();
        dropped = false;
        drive_address(wires.ar, bursts.size());
        if (presented || bursts.empty() || cycle < bursts.front().due) return false;
        if (stalled()) return false;
        if (!bandwidth.take(double(beat))) {
            state.starved++;
            return false;
        }
        const Burst& burst = bursts.front();
        const int resp = memory.response(burst.region, burst.address, beat);
        if (resp == OKAY)
            memory.read(burst.address, wires.data, beat);
        else
            std::memset(wires.data, POISON, beat);
        *wires.resp = resp;
        *wires.last = burst.left == 1;
        *wires.valid = 1;
        presented = true;
        return true;
    }
    void sample(int64_t cycle) {
        if (presented && *wires.ready) {
            Burst& burst = bursts.front();
            burst.address += beat;
            state.bytes += beat;
            if (--burst.left == 0) bursts.pop_front();
            presented = false;
            dropped = true;
        }
        Burst burst;
        if (sample_address(wires.ar, false, cycle, burst)) {
            burst.due = cycle + config.latency + random.upto(config.jitter);
            bursts.push_back(burst);
        }
    }
    ChannelState report() const {
        ChannelState now = state;
        now.outstanding = bursts.size();
        if (!bursts.empty()) {
            now.since = bursts.front().since;
            now.left = bursts.front().left;
            now.address = bursts.front().address;
        }
        return now;
    }
    void persist(Archive& archive) {
        Channel::persist(archive);
        archive(bursts, presented, dropped);
    }

private:
    std::deque<Burst> bursts;
    bool presented = false, dropped = false;

    void hide() {
        *wires.valid = 0;
        *wires.last = 1;
        *wires.resp = SLVERR;
        std::memset(wires.data, POISON, beat);
    }
};

class WriteChannel : public Channel {
public:
    WriteWires wires{};
    using Channel::Channel;

    void idle() {
        Channel::reset();
        bursts.clear();
        answers.clear();
        presented = dropped = paid = waiting = false;
        *wires.aw.ready = *wires.ready = 0;
        hide();
    }
    bool silent() const { return !*wires.aw.valid && !*wires.valid; }

    bool drive(int64_t cycle) {
        if (dropped) hide();
        dropped = false;
        drive_address(wires.aw, bursts.size() + answers.size());
        if (!presented && !answers.empty() && cycle >= answers.front().due && !stalled()) {
            *wires.resp = answers.front().resp;
            *wires.answer_valid = 1;
            presented = true;
        }
        bool paying = false;
        if (!paid && !bursts.empty()) {
            paid = paying = bandwidth.take(double(beat));
            if (!paid) state.starved++;
        }
        *wires.ready = paid && !bursts.empty() && !stalled();
        return paying;
    }
    void sample(int64_t cycle) {
        if (presented && *wires.answer_ready) {
            answers.pop_front();
            presented = false;
            dropped = true;
        }
        sample_data(cycle);
        Burst burst;
        if (sample_address(wires.aw, true, cycle, burst)) bursts.push_back(burst);
    }
    ChannelState report() const {
        ChannelState now = state;
        now.outstanding = bursts.size() + answers.size();
        const std::deque<Burst>& oldest = answers.empty() ? bursts : answers;
        if (!oldest.empty()) {
            now.since = oldest.front().since;
            now.left = oldest.front().left;
            now.address = oldest.front().address;
        }
        return now;
    }
    void persist(Archive& archive) {
        Channel::persist(archive);
        archive(bursts, answers, held, presented, dropped, paid, waiting);
    }

private:
    std::deque<Burst> bursts, answers;
    std::vector<uint8_t> held;  // data, strobes and last of a beat that waits
    bool presented = false, dropped = false, paid = false, waiting = false;

    void hide() {
        *wires.answer_valid = 0;
        *wires.resp = SLVERR;
    }

    void sample_data(int64_t cycle) {
        const uint64_t place = bursts.empty() ? 0 : bursts.front().address;
        if (!*wires.valid) {
            if (waiting) fail("w", "valid dropped before ready came", cycle, place);
            return;
        }
        const size_t strobes = (beat + 7) / 8;
        if (waiting && (std::memcmp(held.data(), wires.data, beat) ||
                        std::memcmp(held.data() + beat, wires.strb, strobes) ||
                        held.back() != *wires.last))
            fail("w", "data, strb or last changed while valid waited for ready", cycle, place);
        waiting = !*wires.ready;
        if (waiting) {
            held.assign(wires.data, wires.data + beat);
            held.insert(held.end(), wires.strb, wires.strb + strobes);
            held.push_back(*wires.last);
            return;
        }
        paid = false;
        Burst& burst = bursts.front();
        if (*wires.last != (burst.left == 1))
            fail("w", burst.left == 1 ? "last is missing" : "last came early", cycle,
                 place);
        const int resp = memory.response(burst.region, burst.address, beat);
        if (resp == OKAY) memory.write(burst.address, wires.data, wires.strb, beat);
        burst.resp = std::max(burst.resp, resp);
        burst.address += beat;
        state.bytes += beat;
        if (--burst.left) return;
        burst.due = cycle + config.write_latency + random.upto(config.jitter);
        answers.push_back(burst);
        bursts.pop_front();
    }
};
