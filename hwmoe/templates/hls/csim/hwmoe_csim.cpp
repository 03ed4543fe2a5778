// What Python calls (hwmoe/sim/csim.py): the program on a batch of images, or commands of one
// kernel on raw beats. Every function returns 0, or 1 with a message in `error`.
#include "hwmoe_csim.hpp"

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "hwmoe_attention.hpp"
#include "hwmoe_engines.hpp"
#include "hwmoe_linear.hpp"
#include "hwmoe_top.hpp"

using namespace hwmoe;

static_assert(sizeof(linear_cmd_t) == 16, "a command beat is 128 bits");
static_assert(sizeof(attention_cmd_t) == 16, "a command beat is 128 bits");
static_assert(sizeof(x_beat_t) == T_IN, "beats have no padding");
static_assert(sizeof(w_beat_t) == W_LANES, "beats have no padding");
static_assert(sizeof(p_beat_t) == 8 * T_EPI, "beats have no padding");
static_assert(sizeof(port_beat_t) == PORT_BYTES, "beats have no padding");

namespace hwmoe_csim {

state_t& state() {
    static state_t the_state = {0, -1, NO_IMAGE, 0, 0, 0, 0, 0, {}};
    return the_state;
}

void fail(const char* message) {
    const int step = state().step;
    const std::string where = step < 0 ? "" : "step " + std::to_string(step) + ": ";
    throw std::runtime_error(where + message);
}

static uint32_t draw() {  // xorshift
    uint32_t& x = state().random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

int choose(int actors) {
    static int order[ACTORS];  // who goes first
    if (state().random == 0) {
        return lowest(actors);
    }
    if (draw() % 16 == 0) {
        for (int i = 0; i < ACTORS; ++i) {
            order[i] = i;
        }
        for (int i = ACTORS - 1; i > 0; --i) {
            std::swap(order[i], order[draw() % static_cast<uint32_t>(i + 1)]);
        }
    }
    for (int actor : order) {
        if (((actors >> actor) & 1) != 0) {
            return actor;
        }
    }
    return lowest(actors);
}

void deadlock(const engines_t& e) {
    std::string text = "deadlock";
    for (int i = 0; i < ENGINES; ++i) {
        if (e.count[i] == 0) {
            continue;
        }
        const work_t& work = e.queue[i][e.head[i]];
        text += std::string(": ") + ENGINE_NAMES[i] + " step " + std::to_string(work.step) +
                " waits for";
        for (int from = 0; from < ENGINES; ++from) {
            if (((missing_tokens(e, i) >> from) & 1) != 0) {
                text += std::string(" ") + ENGINE_NAMES[from];
            }
        }
    }
    state().step = -1;
    fail(text.c_str());
}

// Run `body`; whatever it throws, and beats it leaves unread, become a message.
template <typename Body>
static int guarded(char* error, int32_t size, Body body) {
    std::string message;
    hls::leftovers().clear();
    try {
        body();
        if (!hls::leftovers().empty()) {
            message = "left unread: " + hls::leftovers();
        }
    } catch (const std::exception& problem) {
        message = problem.what();
        if (state().step >= 0 && message.compare(0, 5, "step ") != 0) {
            message = "step " + std::to_string(state().step) + ": " + message;
        }
    }
    std::snprintf(error, static_cast<std::size_t>(size), "%s", message.c_str());
    return message.empty() ? 0 : 1;
}

template <typename T>
static void fill(hls::stream<T>& stream, const void* data, int64_t beats) {
    const char* bytes = static_cast<const char*>(data);
    for (int64_t i = 0; i < beats; ++i) {
        T beat;
        std::memcpy(&beat, bytes + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
        stream.write(beat);
    }
}

template <typename T>
static void empty(hls::stream<T>& stream, void* data, int64_t beats) {
    char* bytes = static_cast<char*>(data);
    for (int64_t i = 0; i < beats; ++i) {
        const T beat = stream.read();
        std::memcpy(bytes + i * static_cast<int64_t>(sizeof(T)), &beat, sizeof(T));
    }
}

}  // namespace hwmoe_csim

using namespace hwmoe_csim;

// `weights`: n_weights beats of each port, one port after the other.
extern "C" int hwmoe_csim_run(
    const void* program, const void* params, int64_t n_params, const void* weights,
    int64_t n_weights, const void* images, int64_t image_bytes, int32_t n_images, void* results,
    int64_t result_bytes, uint32_t* saturations, int32_t traced, uint32_t seed, char* error,
    int32_t size
) {
    state().traced = traced;
    state().n_params = n_params;
    state().n_weights = n_weights;
    state().n_images = image_bytes / PORT_BYTES;
    state().n_results = result_bytes / PORT_BYTES;
    state().random = seed;
    state().trace.clear();
    state().step = 0;
    const port_beat_t* first = static_cast<const port_beat_t*>(weights);
#define HWMOE_PORT_OF(p) first + p * n_weights
    const int code = guarded(error, size, [&] {
        hwmoe_top(
            static_cast<const port_beat_t*>(program), static_cast<const port_beat_t*>(params),
            static_cast<const port_beat_t*>(images), static_cast<port_beat_t*>(results),
            HWMOE_FOR_WEIGHT_PORTS(HWMOE_PORT_OF), n_images, saturations
        );
    });
#undef HWMOE_PORT_OF
    state().step = -1;
    return code;
}

// The records of the last run: number of values; they stay valid until the next.
extern "C" int64_t hwmoe_csim_trace(const int32_t** data) {
    *data = state().trace.data();
    return static_cast<int64_t>(state().trace.size());
}

// `beats` and `counts`: cmd, x, list, table, w, p as in docs/kernels.md, then outputs y, status.
extern "C" int hwmoe_csim_linear(
    void* const* beats, const int64_t* counts, char* error, int32_t size
) {
    return guarded(error, size, [&] {
        hls::stream<linear_cmd_t> cmd("s_axis_cmd");
        hls::stream<x_beat_t> x("s_axis_x");
        hls::stream<list_beat_t> list("s_axis_list");
        hls::stream<table_beat_t> table("s_axis_table");
        hls::stream<w_beat_t> w("s_axis_w");
        hls::stream<p_beat_t> p("s_axis_p");
        hls::stream<y_beat_t> y("m_axis_y");
        hls::stream<status_beat_t> status("m_axis_status");
        fill(cmd, beats[0], counts[0]);
        fill(x, beats[1], counts[1]);
        fill(list, beats[2], counts[2]);
        fill(table, beats[3], counts[3]);
        fill(w, beats[4], counts[4]);
        fill(p, beats[5], counts[5]);
        while (!cmd.empty()) {
            hwmoe_linear(cmd, x, list, table, w, p, y, status);
        }
        empty(y, beats[6], counts[6]);
        empty(status, beats[7], counts[7]);
    });
}

// `beats` and `counts`: cmd, q, k, v, then outputs o, status.
extern "C" int hwmoe_csim_attention(
    void* const* beats, const int64_t* counts, char* error, int32_t size
) {
    return guarded(error, size, [&] {
        hls::stream<attention_cmd_t> cmd("s_axis_cmd");
        hls::stream<qkv_beat_t> q("s_axis_q");
        hls::stream<qkv_beat_t> k("s_axis_k");
        hls::stream<qkv_beat_t> v("s_axis_v");
        hls::stream<qkv_beat_t> o("m_axis_o");
        hls::stream<status_beat_t> status("m_axis_status");
        fill(cmd, beats[0], counts[0]);
        fill(q, beats[1], counts[1]);
        fill(k, beats[2], counts[2]);
        fill(v, beats[3], counts[3]);
        while (!cmd.empty()) {
            hwmoe_attention(cmd, q, k, v, o, status);
        }
        empty(o, beats[4], counts[4]);
        empty(status, beats[5], counts[5]);
    });
}
