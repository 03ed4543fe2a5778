#include "hwmoe_linear.hpp"
#include "hwmoe_numerics.hpp"
#include "hwmoe_steps.hpp"

namespace hwmoe {

// The command of an instruction. An empty list leaves its loads: a later expert may need what
// this one was to load.
static linear_cmd_t linear_command(const linear_args_t& a, const routing_t& routing) {
#pragma HLS inline
    const bool own = a.list_mode == LIST_NONE;
    const int length = own ? a.n_list : static_cast<int>(routing.length[a.expert]);
    const int n_tok = a.list_mode == LIST_LISTED ? length : a.n_tok;
    int flags = a.flags & ~FLAG_GATHER;
    if (a.list_mode == LIST_GATHER && length > 0) {
        flags |= FLAG_GATHER;
    }
    if (n_tok == 0) {
        flags &= ~FLAG_LOAD_X;
    }
    linear_cmd_t cmd;
    cmd.n_tok = static_cast<uint16_t>(n_tok);
    cmd.n_list = static_cast<uint16_t>(length);
    cmd.in_tiles = static_cast<uint16_t>(a.in_tiles);
    cmd.out_tiles = static_cast<uint16_t>(a.out_tiles);
    cmd.chunks = static_cast<uint16_t>(a.chunks);
    cmd.x_base = static_cast<uint16_t>(a.x_base);
    cmd.shift = static_cast<uint8_t>(a.shift);
    cmd.flags = static_cast<uint8_t>(flags);
    cmd.reserved = 0;
    return cmd;
}

// ---- loaders, in the order in which the kernel reads --------------------------------------------

static void send_activations(
    linear_cmd_t cmd, int src, int expert, const x_beat_t act8[ACT8_WORDS],
    const uint16_t row[MAX_EXPERTS][MAX_TOKENS], hls::stream<linear_cmd_t>& s_cmd,
    hls::stream<x_beat_t>& s_x, hls::stream<list_beat_t>& s_list
) {
#pragma HLS inline off
    s_cmd.write(cmd);
    const int words = (cmd.flags & FLAG_LOAD_X) != 0 ? cmd.in_tiles * cmd.n_tok : 0;
    for (int i = 0; i < words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        s_x.write(act8[src + i]);
    }
    const int listed = (cmd.flags & FLAG_GATHER) != 0 ? static_cast<int>(cmd.n_list) : 0;
    for (int i = 0; i < listed; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
        s_list.write(row[expert][i]);
    }
}

// The table, then the channels of each chunk: T_EPI * 2 words of params a beat.
static void send_params(
    linear_cmd_t cmd, const int32_t* params, int table, int channels,
    hls::stream<table_beat_t>& s_table, hls::stream<p_beat_t>& s_p
) {
#pragma HLS inline off
    for (int i = 0; i < 256 && (cmd.flags & FLAG_LOAD_TABLE) != 0; ++i) {
#pragma HLS pipeline II = 1
        s_table.write(static_cast<table_beat_t>(params[table + i]));
    }
    for (int c = 0; c < (cmd.n_list > 0 ? cmd.chunks : 0); ++c) {
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        p_beat_t p;
        for (int e = 0; e < T_EPI; ++e) {
#pragma HLS pipeline II = 2
            p.channel[e].bias = params[channels + 2 * (c * T_EPI + e)];
            p.channel[e].multiplier = params[channels + 2 * (c * T_EPI + e) + 1];
        }
        s_p.write(p);
    }
}

static int weight_beats(linear_cmd_t cmd) {
#pragma HLS inline
    const int a_tile = (cmd.flags & FLAG_TERNARY) != 0 ? TERNARY_BEATS : WEIGHT_BEATS;
    return cmd.n_list > 0 ? cmd.out_tiles * cmd.in_tiles * a_tile : 0;
}

// A burst, one beat a cycle.
static void send_weights(
    linear_cmd_t cmd, const w_beat_t* weights, int base, hls::stream<w_beat_t>& s_w
) {
#pragma HLS inline off
    const int beats = weight_beats(cmd);
    for (int i = 0; i < beats; ++i) {
#pragma HLS pipeline II = 1
        s_w.write(weights[base + i]);
    }
}

// ---- the result ---------------------------------------------------------------------------------

// Chunks of T_EPI channels into words of T_IN; the first chunk of a word clears the others, so
// that lanes of padding are 0.
static void collect_linear(
    linear_cmd_t cmd, hls::stream<y_beat_t>& s_y, hls::stream<status_beat_t>& s_status,
    word16_t result[RESULT_WORDS], count_t& clipped
) {
#pragma HLS inline off
    int tile = 0;
    int part = 0;
    for (int c = 0; c < (cmd.n_list > 0 ? cmd.chunks : 0); ++c) {
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        for (int j = 0; j < cmd.n_list; ++j) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
            const y_beat_t y = s_y.read();
            word16_t& word = result[tile * cmd.n_list + j];
            for (int p = 0; p < WORD_CHUNKS; ++p) {
#pragma HLS unroll
                for (int e = 0; e < T_EPI; ++e) {
#pragma HLS unroll
                    if (p == part) {
                        word.lane[p * T_EPI + e] = y.lane[e];
                    } else if (part == 0) {
                        word.lane[p * T_EPI + e] = 0;
                    }
                }
            }
        }
        const bool wrap = part == WORD_CHUNKS - 1;
        part = wrap ? 0 : part + 1;
        tile = wrap ? tile + 1 : tile;
    }
    clipped = s_status.read();
}

static void run_linear(
    linear_cmd_t cmd, const linear_args_t& a, const x_beat_t act8[ACT8_WORDS],
    const uint16_t row[MAX_EXPERTS][MAX_TOKENS], const int32_t* params, const w_beat_t* weights,
    word16_t result[RESULT_WORDS], count_t& clipped
) {
#pragma HLS inline off
#pragma HLS dataflow
    hls::stream<linear_cmd_t> s_cmd("s_axis_cmd");
    hls::stream<x_beat_t> s_x("s_axis_x");
    hls::stream<list_beat_t> s_list("s_axis_list");
    hls::stream<table_beat_t> s_table("s_axis_table");
    hls::stream<w_beat_t> s_w("s_axis_w");
    hls::stream<p_beat_t> s_p("s_axis_p");
    hls::stream<y_beat_t> s_y("m_axis_y");
    hls::stream<status_beat_t> s_status("m_axis_status");
#pragma HLS stream variable = s_w depth = 64
#pragma HLS stream variable = s_y depth = 16
    send_activations(cmd, a.src, a.expert, act8, row, s_cmd, s_x, s_list);
    send_params(cmd, params, a.table, a.params, s_table, s_p);
    send_weights(cmd, weights, a.weights, s_w);
    hwmoe_linear(s_cmd, s_x, s_list, s_table, s_w, s_p, s_y, s_status);
    collect_linear(cmd, s_y, s_status, result, clipped);
}

static void check_linear(const linear_args_t& a, linear_cmd_t cmd, int words) {
#pragma HLS inline
    HWMOE_CHECK(
        (cmd.flags & FLAG_LOAD_X) == 0 ||
            (a.src >= 0 && a.src + cmd.in_tiles * cmd.n_tok <= ACT8_WORDS),
        "linear: src"
    );
    HWMOE_CHECK(words <= RESULT_WORDS, "linear: result_words is too small");
    HWMOE_CHECK(
        a.dst >= 0 &&
            a.dst + words <= ((cmd.flags & FLAG_WIDE) != 0 ? ACT16_WORDS : ACT8_WORDS),
        "linear: dst"
    );
    HWMOE_CHECK(ceil_div(cmd.chunks, TILE_CHUNKS) == cmd.out_tiles, "linear: chunks");
    HWMOE_CHECK_PARAMS(a.params, cmd.n_list > 0 ? 2 * T_EPI * cmd.chunks : 0, "linear: params");
    HWMOE_CHECK_PARAMS(a.table, (cmd.flags & FLAG_LOAD_TABLE) != 0 ? 256 : 0, "linear: table");
    HWMOE_CHECK_WEIGHTS(a.weights, weight_beats(cmd), "linear: weights");
    (void)a;
    (void)cmd;
    (void)words;
}

void linear_step(
    const linear_args_t& a, const routing_t& routing, const int32_t* params,
    const w_beat_t* weights, x_beat_t act8[ACT8_WORDS], word16_t act16[ACT16_WORDS],
    count_t& clipped
) {
#pragma HLS inline off
    static word16_t result[RESULT_WORDS];
#pragma HLS array_partition variable = result type = complete dim = 2
    HWMOE_CHECK(a.list_mode >= LIST_NONE && a.list_mode <= LIST_LISTED, "linear: list_mode");
    HWMOE_CHECK(
        a.list_mode == LIST_NONE || (a.expert >= 0 && a.expert < MAX_EXPERTS), "linear: expert"
    );
    const linear_cmd_t cmd = linear_command(a, routing);
    if (cmd.n_list == 0 && (cmd.flags & (FLAG_LOAD_X | FLAG_LOAD_TABLE)) == 0) {
        return;
    }
    const int words = ceil_div(cmd.chunks, WORD_CHUNKS) * cmd.n_list;
    check_linear(a, cmd, words);
    run_linear(cmd, a, act8, routing.row, params, weights, result, clipped);
    const bool wide = (cmd.flags & FLAG_WIDE) != 0;
    HWMOE_LOOP(copy)
    for (int i = 0; i < words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = RESULT_WORDS
        if (wide) {
            act16[a.dst + i] = result[i];
        } else {
            for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
                act8[a.dst + i].lane[l] = static_cast<int8_t>(result[i].lane[l]);
            }
        }
    }
    if (wide) {
        HWMOE_TRACE_WORDS(16, act16, a.dst, words);
    } else {
        HWMOE_TRACE_WORDS(8, act8, a.dst, words);
    }
}

}  // namespace hwmoe
