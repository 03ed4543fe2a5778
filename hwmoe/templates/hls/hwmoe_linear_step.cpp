#include "hwmoe_linear.hpp"
#include "hwmoe_numerics.hpp"
#include "hwmoe_ports.hpp"
#include "hwmoe_steps.hpp"

namespace hwmoe {

// The command of an instruction. An empty list leaves its loads: a later expert may need what
// this one was to load.
static linear_cmd_t linear_command(
    const linear_args_t& a, int unit, const routing_t lists[SLOTS]
) {
#pragma HLS inline
    const bool own = a.list_mode == LIST_NONE;
    const int length = own ? a.n_list : static_cast<int>(lists[a.slot].length[a.expert]);
    const int n_tok = a.list_mode == LIST_LISTED ? length : a.n_tok;
    int flags = a.flags & ~FLAG_GATHER;
    if (a.list_mode == LIST_GATHER && length > 0) {
        flags |= FLAG_GATHER;
    }
    if (unit != 0) {
        flags |= FLAG_TERNARY;
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
    cmd.unit = static_cast<uint16_t>(unit);
    return cmd;
}

// ---- loaders, in the order in which the kernel reads --------------------------------------------

static void send_activations(
    linear_cmd_t cmd, const linear_args_t& a, const x_beat_t act8[ACT8_WORDS],
    const routing_t lists[SLOTS], hls::stream<linear_cmd_t>& s_cmd, hls::stream<x_beat_t>& s_x,
    hls::stream<list_beat_t>& s_list
) {
#pragma HLS inline off
    s_cmd.write(cmd);
    const int words = (cmd.flags & FLAG_LOAD_X) != 0 ? cmd.in_tiles * cmd.n_tok : 0;
    for (int i = 0; i < words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        s_x.write(act8[a.src + i]);
    }
    const int listed = (cmd.flags & FLAG_GATHER) != 0 ? static_cast<int>(cmd.n_list) : 0;
    for (int i = 0; i < listed; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
        s_list.write(lists[a.slot].row[a.expert][i]);
    }
}

// The table, then T_EPI channels a beat for each chunk.
static void send_params(
    linear_cmd_t cmd, const linear_args_t& a, const port_beat_t* params,
    hls::stream<table_beat_t>& s_table, hls::stream<p_beat_t>& s_p
) {
#pragma HLS inline off
    port_beat_t held;
    if ((cmd.flags & FLAG_LOAD_TABLE) != 0) {
        const port_beat_t* table = params_at(params, a.table);
        for (int i = 0; i < TABLE_BYTES; ++i) {
#pragma HLS pipeline II = 1
            uint8_t value[1];
            take<1>(table, i, held, value);
            s_table.write(static_cast<table_beat_t>(value[0]));
        }
    }
    const port_beat_t* channels = params_at(params, a.params);
    for (int c = 0; c < (cmd.n_list > 0 ? cmd.chunks : 0); ++c) {
#pragma HLS pipeline
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        uint8_t bytes[8 * T_EPI];
        take<8 * T_EPI>(channels, c, held, bytes);
        p_beat_t p;
        for (int e = 0; e < T_EPI; ++e) {
#pragma HLS unroll
            p.word[2 * e] = int32_at(bytes, 8 * e);
            p.word[2 * e + 1] = int32_at(bytes, 8 * e + 4);
        }
        s_p.write(p);
    }
}

static int weight_beats(linear_cmd_t cmd) {
#pragma HLS inline
    return cmd.n_list > 0 ? cmd.out_tiles * cmd.in_tiles * tile_beats(cmd) : 0;
}

// A burst of each port, one beat a cycle.
static void send_weights(
    linear_cmd_t cmd, HWMOE_WEIGHT_PARAMETERS, int base, hls::stream<w_beat_t>& s_w
) {
#pragma HLS inline off
    const int beats = weight_beats(cmd);
    for (int i = 0; i < beats; ++i) {
#pragma HLS pipeline II = 1
        s_w.write(join_weights(HWMOE_WEIGHT_ARGUMENTS, base + i));
    }
}

// ---- the result ---------------------------------------------------------------------------------

// T_EPI channels into a word of T_IN; the first part of a word clears the others, so that lanes of
// padding are 0.
template <typename Lane, typename Word>
static inline void put_chunk(const y_beat_t& y, int part, Word& word) {
#pragma HLS inline
    for (int p = 0; p < WORD_CHUNKS; ++p) {
#pragma HLS unroll
        for (int e = 0; e < T_EPI; ++e) {
#pragma HLS unroll
            if (p == part) {
                word.lane[p * T_EPI + e] = static_cast<Lane>(y.lane[e]);
            } else if (part == 0) {
                word.lane[p * T_EPI + e] = 0;
            }
        }
    }
}

// To heads or y at `dst`, or to `result`, which is copied to act8 afterwards: no memory has a
// reader and a writer in one dataflow region.
static void collect_linear(
    linear_cmd_t cmd, int space, int dst, hls::stream<y_beat_t>& s_y,
    hls::stream<status_beat_t>& s_status, x_beat_t result[ACT8_WORDS],
    x_beat_t heads[HEADS_WORDS], word16_t y[Y_WORDS], count_t& clipped
) {
#pragma HLS inline off
    int tile = 0;
    int part = 0;
    for (int c = 0; c < (cmd.n_list > 0 ? cmd.chunks : 0); ++c) {
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        for (int j = 0; j < cmd.n_list; ++j) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
            const y_beat_t beat = s_y.read();
            const int word = tile * cmd.n_list + j;
            if (space == SPACE_ACT8) {
                put_chunk<int8_t>(beat, part, result[word]);
            } else if (space == SPACE_HEADS) {
                put_chunk<int8_t>(beat, part, heads[dst + word]);
            } else {
                put_chunk<int16_t>(beat, part, y[dst + word]);
            }
        }
        const bool wrap = part == WORD_CHUNKS - 1;
        part = wrap ? 0 : part + 1;
        tile = wrap ? tile + 1 : tile;
    }
    clipped = s_status.read();
}

static void run_linear(
    linear_cmd_t cmd, const linear_args_t& a, const routing_t lists[SLOTS],
    const port_beat_t* params, HWMOE_WEIGHT_PARAMETERS, const x_beat_t act8[ACT8_WORDS],
    x_beat_t result[ACT8_WORDS], x_beat_t heads[HEADS_WORDS], word16_t y[Y_WORDS],
    count_t& clipped
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
    send_activations(cmd, a, act8, lists, s_cmd, s_x, s_list);
    send_params(cmd, a, params, s_table, s_p);
    send_weights(cmd, HWMOE_WEIGHT_ARGUMENTS, a.weights, s_w);
    hwmoe_linear(s_cmd, s_x, s_list, s_table, s_w, s_p, s_y, s_status);
    collect_linear(cmd, a.space, a.dst, s_y, s_status, result, heads, y, clipped);
}

static void check_linear(const linear_args_t& a, linear_cmd_t cmd, int words) {
#pragma HLS inline
    const bool load_x = (cmd.flags & FLAG_LOAD_X) != 0;
    const bool load_table = (cmd.flags & FLAG_LOAD_TABLE) != 0;
    HWMOE_CHECK((a.space == SPACE_Y) == ((cmd.flags & FLAG_WIDE) != 0), "linear: space");
    HWMOE_CHECK_RANGE(a.src, load_x ? cmd.in_tiles * cmd.n_tok : 0, ACT8_WORDS, "linear: src");
    HWMOE_CHECK_RANGE(
        a.dst, words,
        a.space == SPACE_Y ? Y_WORDS : a.space == SPACE_HEADS ? HEADS_WORDS : ACT8_WORDS,
        "linear: dst"
    );
    HWMOE_CHECK(ceil_div(cmd.chunks, tile_chunks(cmd)) == cmd.out_tiles, "linear: chunks");
    HWMOE_CHECK_PARAMS(a.params, cmd.n_list > 0 ? 2 * T_EPI * cmd.chunks : 0, "linear: params");
    HWMOE_CHECK_PARAMS(a.table, load_table ? TABLE_BYTES / 4 : 0, "linear: table");
    HWMOE_CHECK_WEIGHTS(a.weights, weight_beats(cmd), "linear: weights");
    (void)a;
    (void)words;
    (void)load_x;
    (void)load_table;
}

void linear_step(
    const linear_args_t& a, int unit, const routing_t lists[SLOTS], const port_beat_t* params,
    HWMOE_WEIGHT_PARAMETERS, x_beat_t act8[ACT8_WORDS], x_beat_t heads[HEADS_WORDS],
    word16_t y[Y_WORDS], count_t& clipped
) {
#pragma HLS inline off
    static x_beat_t result[ACT8_WORDS];
#pragma HLS array_partition variable = result type = complete dim = 2
    HWMOE_CHECK(a.list_mode <= LIST_LISTED, "linear: list_mode");
    HWMOE_CHECK(a.list_mode == LIST_NONE || a.expert < MAX_EXPERTS, "linear: expert");
    HWMOE_CHECK(a.list_mode == LIST_NONE || a.slot < SLOTS, "linear: slot");
    HWMOE_CHECK(a.space <= SPACE_Y, "linear: space");
    const linear_cmd_t cmd = linear_command(a, unit, lists);
    if (cmd.n_tok == 0) {
        return;
    }
    const int words = ceil_div(cmd.chunks, WORD_CHUNKS) * cmd.n_list;
    check_linear(a, cmd, words);
    run_linear(
        cmd, a, lists, params, HWMOE_WEIGHT_ARGUMENTS, act8, result, heads, y, clipped
    );
    if (a.space == SPACE_ACT8) {
        HWMOE_LOOP(copy)
        for (int i = 0; i < words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = ACT8_WORDS
            act8[a.dst + i] = result[i];
        }
        HWMOE_TRACE_WORDS(SPACE_ACT8, act8, a.dst, words);
    } else if (a.space == SPACE_HEADS) {
        HWMOE_TRACE_WORDS(SPACE_HEADS, heads, a.dst, words);
    } else {
        HWMOE_TRACE_WORDS(SPACE_Y, y, a.dst, words);
    }
}

}  // namespace hwmoe
