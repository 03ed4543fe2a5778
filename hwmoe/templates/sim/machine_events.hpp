// Records what the engines of the machine do, from the ev_* signals of its top module.
#pragma once
#include "machine_axi.hpp"
#include "verilated_syms.h"

constexpr int MOST_ENGINES = 6;  // what a machine may have
constexpr int64_t WINDOW_CYCLES = 1024;

// Shared with Python (hwmoe.sim.machine_library).
struct Event {
    int64_t cycle;
    int32_t step;
    uint8_t engine, done, null, spare;  // done: 1 a step is complete, 0 work on it begins
};
struct Window {
    int64_t cycle, cycles;  // where it begins, how long it is
    int64_t gmem_read, gmem_written, weights;  // bytes
    int64_t mac;                               // cycles of ev_mac
};
struct Totals {
    int64_t events, windows, captures, captured_bytes, access_errors, since, mac;
    int64_t states[MOST_ENGINES][4];  // cycles of each engine in each state
    int32_t state[MOST_ENGINES];      // now
    int32_t engines, interrupt;
};

// A variable that machine.vlt made public; runtime_error if it is not there or of another width.
inline void* find_variable(const VerilatedScope* scope, const char* name, uint32_t bits) {
    const VerilatedVar* const found = scope ? scope->varFind(name) : nullptr;
    const std::string title = std::string("hwmoe_top.") + name;
    if (!found) throw std::runtime_error(title + " does not exist: the bench needs it");
    if (found->entBits() != bits)
        throw std::runtime_error(title + " has " + std::to_string(found->entBits()) +
                                 " bits, not " + std::to_string(bits));
    return found->datap();
}

class Events {
public:
    std::vector<Event> events;
    std::vector<Window> windows;

    void connect(VerilatedContext& context) {
        const VerilatedScope* const top = context.scopeFind("TOP.hwmoe_top");
        const VerilatedVar* const known = top ? top->varFind("ev_start") : nullptr;
        engines = known && known->entBits() == MOST_ENGINES ? MOST_ENGINES : MOST_ENGINES - 1;
        start = static_cast<CData*>(find_variable(top, "ev_start", engines));
        done = static_cast<CData*>(find_variable(top, "ev_done", engines));
        null = static_cast<CData*>(find_variable(top, "ev_done_null", engines));
        start_step = static_cast<EData*>(find_variable(top, "ev_start_step", 16 * engines));
        done_step = static_cast<EData*>(find_variable(top, "ev_done_step", 16 * engines));
        state = static_cast<SData*>(find_variable(top, "ev_state", 2 * engines));
        mac = static_cast<CData*>(find_variable(top, "ev_mac", 1));
    }
    // Forget everything; from now on bytes moved are counted from 0.
    void clear(int64_t cycle) {
        events.clear();
        windows.clear();
        std::fill(std::begin(histogram), std::end(histogram), 0);
        macs = 0;
        since = cycle;
        open = Window{cycle, 0, 0, 0, 0, 0};
        before = Window{};
    }
    bool window_full() const { return open.cycles == WINDOW_CYCLES; }
    // The window up to now, with the bytes moved since clear().
    Window window(int64_t read, int64_t written, int64_t weights) const {
        Window result = open;
        result.gmem_read = read - before.gmem_read;
        result.gmem_written = written - before.gmem_written;
        result.weights = weights - before.weights;
        result.mac = macs - before.mac;
        return result;
    }
    void close_window(int64_t read, int64_t written, int64_t weights) {
        windows.push_back(window(read, written, weights));
        open = Window{open.cycle + open.cycles, 0, 0, 0, 0, 0};
        before = Window{0, 0, read, written, weights, macs};
    }
    // `finished(step)` is called for each step that is complete in this cycle.
    template <typename Finished>
    void sample(int64_t cycle, Finished finished) {
        histogram[*state & (STATES - 1)]++;
        macs += *mac & 1;
        open.cycles++;
        if (!(*start | *done)) return;
        for (int engine = 0; engine < engines; engine++) {
            const uint8_t bit = engine, is_null = *null >> engine & 1;
            if (*done >> engine & 1) {
                const int32_t step = step_of(done_step, engine);
                events.push_back({cycle, step, bit, 1, is_null, 0});
                if (!is_null) finished(step);
            }
            if (*start >> engine & 1)
                events.push_back({cycle, step_of(start_step, engine), bit, 0, 0, 0});
        }
    }
    void report(Totals& totals) const {
        totals.events = events.size();
        totals.windows = windows.size() + (open.cycles ? 1 : 0);
        totals.since = since;
        totals.mac = macs;
        totals.engines = engines;
        for (int engine = 0; engine < engines; engine++) {
            totals.state[engine] = *state >> 2 * engine & 3;
            for (int64_t& cycles : totals.states[engine]) cycles = 0;
            for (int i = 0; i < STATES; i++)
                totals.states[engine][i >> 2 * engine & 3] += histogram[i];
        }
    }
    void persist(Archive& archive) {
        archive(events, windows, histogram, macs, since, open, before);
    }

private:
    const CData *start = nullptr, *done = nullptr, *null = nullptr, *mac = nullptr;
    const EData *start_step = nullptr, *done_step = nullptr;
    const SData* state = nullptr;
    static constexpr int STATES = 1 << 2 * MOST_ENGINES;
    int engines = 0;
    int64_t histogram[STATES] = {};  // cycles by the states of all engines together
    int64_t macs = 0, since = 0;
    Window open{}, before{};

    static int32_t step_of(const EData* steps, int engine) {
        return steps[engine >> 1] >> 16 * (engine & 1) & 0xFFFF;
    }
};
