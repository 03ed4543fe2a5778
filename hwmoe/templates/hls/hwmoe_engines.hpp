// Queues of instructions, an engine each, and the tokens by which engines wait for one another.
//
// An engine takes its instructions in order. One may start when the counters of all engines it
// waits for are above zero; they go down by one, and when it is done its own counters of the
// engines it signals go up. The result of a program does not depend on which of the
// engines that may run is served first, unless it lacks a token.
#ifndef HWMOE_ENGINES_HPP
#define HWMOE_ENGINES_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

constexpr int MAX_TOKENS_HELD = 255;  // a counter has 8 bits
constexpr int FETCH = ENGINES;        // the number of the one who fills the queues
constexpr int ACTORS = ENGINES + 1;

struct work_t {
    instruction_t instruction;
    int32_t image;
    int32_t step;
    bool null;  // waits and signals, and does nothing
};

struct engines_t {
    work_t queue[ENGINES][QUEUE_DEPTH];
    uint8_t head[ENGINES];
    uint8_t count[ENGINES];
    uint8_t tokens[ENGINES][ENGINES];  // [from][to]
};

inline int lowest(int actors) {
#pragma HLS inline
    int found = 0;
    for (int i = ACTORS - 1; i >= 0; --i) {
#pragma HLS unroll
        found = ((actors >> i) & 1) != 0 ? i : found;
    }
    return found;
}

inline bool has_room(const engines_t& e, int engine) {
#pragma HLS inline
    return e.count[engine] < QUEUE_DEPTH;
}

inline bool idle(const engines_t& e) {
#pragma HLS inline
    bool none = true;
    for (int i = 0; i < ENGINES; ++i) {
#pragma HLS unroll
        none = none && e.count[i] == 0;
    }
    return none;
}

inline void put_work(engines_t& e, int engine, const work_t& work) {
#pragma HLS inline
    e.queue[engine][(e.head[engine] + e.count[engine]) % QUEUE_DEPTH] = work;
    ++e.count[engine];
}

// Engines that the first instruction of an engine's queue still waits for.
inline int missing_tokens(const engines_t& e, int engine) {
#pragma HLS inline
    const int wait = decode_common(e.queue[engine][e.head[engine]].instruction).wait;
    int missing = 0;
    for (int from = 0; from < ENGINES; ++from) {
#pragma HLS unroll
        if (((wait >> from) & 1) != 0 && e.tokens[from][engine] == 0) {
            missing |= 1 << from;
        }
    }
    return missing;
}

// A mask of the engines that may run their next instruction.
inline int ready_engines(const engines_t& e) {
#pragma HLS inline
    int ready = 0;
    for (int i = 0; i < ENGINES; ++i) {
#pragma HLS unroll
        if (e.count[i] != 0 && missing_tokens(e, i) == 0) {
            ready |= 1 << i;
        }
    }
    return ready;
}

// The next instruction of an engine that is ready; its tokens are taken.
inline work_t take_work(engines_t& e, int engine) {
#pragma HLS inline
    const work_t work = e.queue[engine][e.head[engine]];
    e.head[engine] = static_cast<uint8_t>((e.head[engine] + 1) % QUEUE_DEPTH);
    --e.count[engine];
    const int wait = decode_common(work.instruction).wait;
    for (int from = 0; from < ENGINES; ++from) {
#pragma HLS unroll
        if (((wait >> from) & 1) != 0) {
            --e.tokens[from][engine];
        }
    }
    return work;
}

inline void signal_done(engines_t& e, int engine, const work_t& work) {
#pragma HLS inline
    const int signal = decode_common(work.instruction).signal;
    for (int to = 0; to < ENGINES; ++to) {
#pragma HLS unroll
        if (((signal >> to) & 1) != 0) {
            HWMOE_CHECK(e.tokens[engine][to] < MAX_TOKENS_HELD, "token counter overflow");
            ++e.tokens[engine][to];
        }
    }
}

}  // namespace hwmoe

#endif
