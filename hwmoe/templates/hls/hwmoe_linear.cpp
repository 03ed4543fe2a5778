#include "hwmoe_linear.hpp"

#include "hwmoe_numerics.hpp"

using namespace hwmoe;

// Accumulators of one output tile: GROUPS x T_TOK tokens, T_OUT channels side by side.
typedef acc_t page_t[GROUPS][T_TOK][T_OUT];
// The GELU tables of all units, for each lane of the epilogue.
typedef int8_t table_t[T_EPI][UNITS * 256];

// Where the activations of a unit begin.
static int first_word(const linear_cmd_t& cmd) {
#pragma HLS inline
    int first = 0;
    for (int unit = 0; unit < UNITS; ++unit) {
#pragma HLS unroll
        first += unit < cmd.unit ? UNIT_X_WORDS[unit] : 0;
    }
    return first;
}

// ---- what a command loads -----------------------------------------------------------------------

// II=1, in_tiles * n_tok cycles. Every copy of the memory serves two of the T_TOK tokens.
static void load_activations(
    int base, int words, hls::stream<x_beat_t>& s_axis_x, x_beat_t x_mem[X_COPIES][X_WORDS]
) {
#pragma HLS inline off
    HWMOE_LOOP(load_x)
    for (int i = 0; i < words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        const x_beat_t beat = s_axis_x.read();
        for (int copy = 0; copy < X_COPIES; ++copy) {
#pragma HLS unroll
            x_mem[copy][base + i] = beat;
        }
    }
}

// The rows to compute, one II=1 loop; rows 0 .. n_list-1 if nothing is gathered.
static void load_list(
    int n_list, bool gather, hls::stream<list_beat_t>& s_axis_list, uint16_t rows[GROUPS][T_TOK]
) {
#pragma HLS inline off
    int group = 0;
    int lane = 0;
    HWMOE_LOOP(load_rows)
    for (int i = 0; i < n_list; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_LIST
        const int row = gather ? static_cast<int>(s_axis_list.read()) : i;
        rows[group][lane] = static_cast<uint16_t>(row);
        const bool wrap = lane == T_TOK - 1;
        lane = wrap ? 0 : lane + 1;
        group = wrap ? group + 1 : group;
    }
}

// 256 cycles; a copy for each lane of the epilogue, so that T_EPI values are looked up a cycle.
static void load_gelu(
    int first, hls::stream<table_beat_t>& s_axis_table, table_t table
) {
#pragma HLS inline off
    HWMOE_LOOP(load_table)
    for (int i = 0; i < 256; ++i) {
#pragma HLS pipeline II = 1
        const table_beat_t value = s_axis_table.read();
        for (int lane = 0; lane < T_EPI; ++lane) {
#pragma HLS unroll
            table[lane][first + i] = value;
        }
    }
}

// ---- the array ----------------------------------------------------------------------------------

// One beat of weights into rows beat*W_ROWS.. (ternary: beat*4*W_ROWS..) of a tile.
static void put_weights(const w_beat_t& w, int beat, bool ternary, operand_t tile[T_IN][T_OUT]) {
#pragma HLS inline
    for (int row = 0; row < 4 * W_ROWS; ++row) {
#pragma HLS unroll
        for (int lane = 0; lane < T_IN; ++lane) {
#pragma HLS unroll
            const int field = row * T_IN + lane;
            if (ternary) {
                const int code = (w.lane[field / 4] >> (2 * (field % 4))) & 3;
                tile[lane][beat * 4 * W_ROWS + row] = static_cast<int8_t>((code ^ 2) - 2);
            } else if (row < W_ROWS) {
                tile[lane][beat * W_ROWS + row] = w.lane[field];
            }
        }
    }
}

// T_IN x T_OUT products of one token, summed over the input lanes.
static inline void multiply_word(
    const x_beat_t& x, const operand_t tile[T_IN][T_OUT], acc_t sum[T_OUT]
) {
#pragma HLS inline
    for (int o = 0; o < T_OUT; ++o) {
#pragma HLS unroll
        sum[o] = 0;
    }
    for (int i = 0; i < T_IN; ++i) {
#pragma HLS unroll
        for (int o = 0; o < T_OUT; ++o) {
#pragma HLS unroll
            sum[o] += tile[i][o] * x.lane[i];
        }
    }
}

// T_TOK listed tokens against the tile that is held.
static inline void multiply_group(
    int first_word, int listed, bool clear, const uint16_t rows[T_TOK],
    const x_beat_t x_mem[X_COPIES][X_WORDS], const operand_t tile[T_IN][T_OUT],
    acc_t page[T_TOK][T_OUT]
) {
#pragma HLS inline
    for (int u = 0; u < T_TOK; ++u) {
#pragma HLS unroll
        acc_t sum[T_OUT];
#pragma HLS array_partition variable = sum type = complete
        if (u < listed) {
            const int word = first_word + static_cast<int>(rows[u]);
            HWMOE_CHECK(word < X_WORDS, "linear: a listed row lies outside of x_words");
            multiply_word(x_mem[u / 2][word], tile, sum);
            for (int o = 0; o < T_OUT; ++o) {
#pragma HLS unroll
                page[u][o] = (clear ? acc_t(0) : page[u][o]) + sum[o];
            }
        }
    }
}

// First process: one output tile. `steps` cycles an input tile (II=1, flattened): in each cycle a
// group of tokens is multiplied with the held tile and one beat of the next tile is fetched into
// the other buffer, across output tiles too. As a tile takes at least ACC_DISTANCE steps, an
// accumulator is written before it is read again.
static void accumulate_tile(
    linear_cmd_t cmd, int o, hls::stream<w_beat_t>& s_axis_w, const uint16_t rows[GROUPS][T_TOK],
    const x_beat_t x_mem[X_COPIES][X_WORDS], page_t page
) {
#pragma HLS inline off
    static operand_t tiles[2][T_IN][T_OUT];
#pragma HLS array_partition variable = tiles type = complete dim = 0
    static bool held;
    const bool ternary = (cmd.flags & FLAG_TERNARY) != 0;
    const int beats = tile_beats(cmd);
    const int x_base = first_word(cmd) + cmd.x_base;
    const int groups = ceil_div(cmd.n_list, T_TOK);
    const int busy = groups > beats ? groups : beats;
    const int steps = busy > ACC_DISTANCE ? busy : ACC_DISTANCE;
    if (o == 0) {
        held = false;
        HWMOE_LOOP(first_tile)
        for (int beat = 0; beat < beats; ++beat) {
#pragma HLS pipeline II = 1
            put_weights(s_axis_w.read(), beat, ternary, tiles[0]);
        }
    }
    HWMOE_LOOP(input_tiles)
    for (int i = 0; i < cmd.in_tiles; ++i) {
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        for (int step = 0; step < steps; ++step) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = GROUPS
#pragma HLS dependence variable = page type = inter direction = RAW distance = ACC_DISTANCE true
            const bool more = o + 1 < cmd.out_tiles || i + 1 < cmd.in_tiles;
            if (more && step < beats) {
                put_weights(s_axis_w.read(), step, ternary, tiles[held ? 0 : 1]);
            }
            if (step < groups) {
                multiply_group(
                    x_base + i * cmd.n_tok, cmd.n_list - step * T_TOK, i == 0, rows[step],
                    x_mem, tiles[held ? 1 : 0], page[step]
                );
            }
            if (step == steps - 1) {
                held = !held;
            }
        }
    }
}

// ---- the epilogue -------------------------------------------------------------------------------

static inline y_beat_t finish(
    const acc_t acc[T_OUT], int first, const p_beat_t& p, linear_cmd_t cmd,
    const table_t table, count_t& clipped
) {
#pragma HLS inline
    y_beat_t y;
    for (int e = 0; e < T_EPI; ++e) {
#pragma HLS unroll
        const acc_t biased = acc[first + e] + acc_t(p.word[2 * e]);
        const prod_t scaled = rescale(biased, mult_t(p.word[2 * e + 1]), cmd.shift);
        if ((cmd.flags & FLAG_WIDE) != 0) {
            y.lane[e] = saturate16(scaled, clipped);
        } else {
            y.lane[e] = saturate8(scaled, clipped);
        }
        if ((cmd.flags & FLAG_GELU) != 0) {
            y.lane[e] = table[e][cmd.unit * 256 + (y.lane[e] & 255)];
        }
    }
    return y;
}

// Second process: the page of a tile leaves chunk by chunk, one beat a cycle (II=1). The last tile
// may have fewer chunks; after it the status follows.
static void drain_tile(
    linear_cmd_t cmd, int o, const page_t page, const table_t table,
    hls::stream<p_beat_t>& s_axis_p, hls::stream<y_beat_t>& m_axis_y,
    hls::stream<status_beat_t>& m_axis_status
) {
#pragma HLS inline off
    static count_t clipped;
    if (o == 0) {
        clipped = 0;
    }
    const int left = cmd.chunks - o * tile_chunks(cmd);
    const int chunks = left < tile_chunks(cmd) ? left : tile_chunks(cmd);
    HWMOE_LOOP(drain)
    for (int c = 0; c < chunks; ++c) {
#pragma HLS loop_tripcount min = 1 max = TILE_CHUNKS
        const p_beat_t p = s_axis_p.read();
        int group = 0;
        int lane = 0;
        for (int t = 0; t < cmd.n_list; ++t) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_LIST
            m_axis_y.write(finish(page[group][lane], c * T_EPI, p, cmd, table, clipped));
            const bool wrap = lane == T_TOK - 1;
            lane = wrap ? 0 : lane + 1;
            group = wrap ? group + 1 : group;
        }
    }
    if (o + 1 == cmd.out_tiles) {
        m_axis_status.write(clipped);
    }
}

// While one tile drains, the next is accumulated: `page` becomes a ping-pong buffer.
static void output_tiles(
    linear_cmd_t cmd, int out_tiles, const uint16_t rows[GROUPS][T_TOK],
    const x_beat_t x_mem[X_COPIES][X_WORDS], const table_t table,
    hls::stream<w_beat_t>& s_axis_w, hls::stream<p_beat_t>& s_axis_p,
    hls::stream<y_beat_t>& m_axis_y, hls::stream<status_beat_t>& m_axis_status
) {
#pragma HLS inline off
    for (int o = 0; o < out_tiles; ++o) {
#pragma HLS dataflow
#pragma HLS loop_tripcount min = 1 max = X_WORDS
        page_t page;
#pragma HLS array_partition variable = page type = complete dim = 2
#pragma HLS array_partition variable = page type = complete dim = 3
        accumulate_tile(cmd, o, s_axis_w, rows, x_mem, page);
        drain_tile(cmd, o, page, table, s_axis_p, m_axis_y, m_axis_status);
    }
}

void hwmoe_linear(
    hls::stream<linear_cmd_t>& s_axis_cmd,
    hls::stream<x_beat_t>& s_axis_x,
    hls::stream<list_beat_t>& s_axis_list,
    hls::stream<table_beat_t>& s_axis_table,
    hls::stream<w_beat_t>& s_axis_w,
    hls::stream<p_beat_t>& s_axis_p,
    hls::stream<y_beat_t>& m_axis_y,
    hls::stream<status_beat_t>& m_axis_status
) {
#pragma HLS interface mode = ap_ctrl_none port = return
#pragma HLS interface mode = axis port = s_axis_cmd
#pragma HLS interface mode = axis port = s_axis_x
#pragma HLS interface mode = axis port = s_axis_list
#pragma HLS interface mode = axis port = s_axis_table
#pragma HLS interface mode = axis port = s_axis_w
#pragma HLS interface mode = axis port = s_axis_p
#pragma HLS interface mode = axis port = m_axis_y
#pragma HLS interface mode = axis port = m_axis_status
    static x_beat_t x_mem[X_COPIES][X_WORDS];
#pragma HLS aggregate variable = x_mem
#pragma HLS array_partition variable = x_mem type = complete dim = 1
#pragma HLS bind_storage variable = x_mem type = ram_t2p
    static table_t table;
#pragma HLS array_partition variable = table type = complete dim = 1
    static uint16_t rows[GROUPS][T_TOK];
#pragma HLS array_partition variable = rows type = complete dim = 2

    const linear_cmd_t cmd = s_axis_cmd.read();
    HWMOE_CHECK(cmd.n_list <= MAX_LIST, "linear: more listed tokens than max_tokens");
    if ((cmd.flags & FLAG_LOAD_X) != 0) {
        HWMOE_CHECK(
            cmd.x_base + cmd.in_tiles * cmd.n_tok <= UNIT_X_WORDS[cmd.unit],
            "linear: x_words is too small for this command"
        );
        load_activations(first_word(cmd) + cmd.x_base, cmd.in_tiles * cmd.n_tok, s_axis_x, x_mem);
    }
    load_list(cmd.n_list, (cmd.flags & FLAG_GATHER) != 0, s_axis_list, rows);
    if ((cmd.flags & FLAG_LOAD_TABLE) != 0) {
        load_gelu(cmd.unit * 256, s_axis_table, table);
    }
    if (cmd.n_list == 0) {
        m_axis_status.write(0);
    } else {
        output_tiles(
            cmd, cmd.out_tiles, rows, x_mem, table, s_axis_w, s_axis_p, m_axis_y, m_axis_status
        );
    }
}
