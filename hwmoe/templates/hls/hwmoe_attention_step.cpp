#include "hwmoe_attention.hpp"
#include "hwmoe_numerics.hpp"
#include "hwmoe_steps.hpp"

namespace hwmoe {

// A beat is cut from the words of its heads: head h, dimension tile d is part
// (h * dim_tiles + d) of DIM_LANES channels, WORD_PARTS of them a word.
static qkv_beat_t gather_beat(
    const x_beat_t act8[ACT8_WORDS], int base, int n_tok, int row, int first_part, int dim_tiles,
    int units
) {
#pragma HLS inline
    qkv_beat_t beat;
    for (int u = 0; u < HEAD_UNITS; ++u) {
#pragma HLS unroll
        const int part = first_part + u * dim_tiles;
        const int word = base + (part / WORD_PARTS) * n_tok + row;
        for (int l = 0; l < DIM_LANES; ++l) {
#pragma HLS unroll
            const int lane = (part % WORD_PARTS) * DIM_LANES + l;
            beat.lane[u * DIM_LANES + l] = u < units ? act8[word].lane[lane] : int8_t(0);
        }
    }
    return beat;
}

// Rows first .. first+count-1 of one tensor for one group of heads. HEAD_UNITS words are read a
// beat (II=1 for up to two units).
static void send_rows(
    const x_beat_t act8[ACT8_WORDS], int base, attention_cmd_t cmd, int head, int heads, int first,
    int count, hls::stream<qkv_beat_t>& out
) {
#pragma HLS inline off
    const int left = heads - head * HEAD_UNITS;
    const int units = left < HEAD_UNITS ? left : HEAD_UNITS;
    for (int t = first; t < first + count; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_KEYS
        for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
            const int part = head * HEAD_UNITS * cmd.dim_tiles + d;
            out.write(gather_beat(act8, base, cmd.n_tok, t, part, cmd.dim_tiles, units));
        }
    }
}

// One process for the three streams, in the order in which the kernel reads them.
static void send_heads(
    attention_cmd_t cmd, const attention_args_t& a, const x_beat_t act8[ACT8_WORDS],
    hls::stream<attention_cmd_t>& s_cmd, hls::stream<qkv_beat_t>& s_q,
    hls::stream<qkv_beat_t>& s_k, hls::stream<qkv_beat_t>& s_v
) {
#pragma HLS inline off
    s_cmd.write(cmd);
    for (int head = 0; head < cmd.head_groups; ++head) {
#pragma HLS loop_tripcount min = 1 max = 16
        for (int first = 0; first < cmd.n_tok; first += ROWS) {
#pragma HLS loop_tripcount min = 1 max = KEY_GROUPS
            const int left = cmd.n_tok - first;
            send_rows(act8, a.q, cmd, head, a.heads, first, left < ROWS ? left : ROWS, s_q);
            send_rows(act8, a.k, cmd, head, a.heads, 0, cmd.n_tok, s_k);
            send_rows(act8, a.v, cmd, head, a.heads, 0, cmd.n_tok, s_v);
        }
    }
}

static inline void put_part(const qkv_beat_t& o, int unit, int part, x_beat_t& word) {
#pragma HLS inline
    for (int l = 0; l < DIM_LANES; ++l) {
#pragma HLS unroll
        word.lane[part * DIM_LANES + l] = o.lane[unit * DIM_LANES + l];
    }
}

// Beats back into words, a unit a cycle; units past the last head are dropped.
static void collect_heads(
    attention_cmd_t cmd, int heads, hls::stream<qkv_beat_t>& s_o,
    hls::stream<status_beat_t>& s_status, x_beat_t result[RESULT_WORDS], count_t& clipped
) {
#pragma HLS inline off
    for (int head = 0; head < cmd.head_groups; ++head) {
#pragma HLS loop_tripcount min = 1 max = 16
        for (int t = 0; t < cmd.n_tok; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_KEYS
            for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = HEAD_UNITS
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
                const qkv_beat_t o = s_o.read();
                for (int u = 0; u < HEAD_UNITS; ++u) {
#pragma HLS unroll
                    const int part = (head * HEAD_UNITS + u) * cmd.dim_tiles + d;
                    if (head * HEAD_UNITS + u < heads) {
                        x_beat_t& word = result[(part / WORD_PARTS) * cmd.n_tok + t];
                        put_part(o, u, part % WORD_PARTS, word);
                    }
                }
            }
        }
    }
    clipped = s_status.read();
}

static void run_attention(
    attention_cmd_t cmd, const attention_args_t& a, const x_beat_t act8[ACT8_WORDS],
    x_beat_t result[RESULT_WORDS], count_t& clipped
) {
#pragma HLS inline off
#pragma HLS dataflow
    hls::stream<attention_cmd_t> s_cmd("s_axis_cmd");
    hls::stream<qkv_beat_t> s_q("s_axis_q");
    hls::stream<qkv_beat_t> s_k("s_axis_k");
    hls::stream<qkv_beat_t> s_v("s_axis_v");
    hls::stream<qkv_beat_t> s_o("m_axis_o");
    hls::stream<status_beat_t> s_status("m_axis_status");
#pragma HLS stream variable = s_k depth = 16
#pragma HLS stream variable = s_v depth = 16
    send_heads(cmd, a, act8, s_cmd, s_q, s_k, s_v);
    hwmoe_attention(s_cmd, s_q, s_k, s_v, s_o, s_status);
    collect_heads(cmd, a.heads, s_o, s_status, result, clipped);
}

void attention_step(const attention_args_t& a, x_beat_t act8[ACT8_WORDS], count_t& clipped) {
#pragma HLS inline off
    static x_beat_t result[RESULT_WORDS];
#pragma HLS array_partition variable = result type = complete dim = 2
    const int parts = a.heads * a.dim_tiles;
    const int tiles = ceil_div(parts, WORD_PARTS);
    const int words = tiles * a.n_tok;
    const int last_lanes = (parts - (tiles - 1) * WORD_PARTS) * DIM_LANES;
    HWMOE_CHECK(a.heads > 0 && a.dim_tiles > 0 && a.n_tok > 0, "attention: empty");
    HWMOE_CHECK(words <= RESULT_WORDS, "attention: result_words is too small");
    HWMOE_CHECK(a.q >= 0 && a.q + words <= ACT8_WORDS, "attention: q");
    HWMOE_CHECK(a.k >= 0 && a.k + words <= ACT8_WORDS, "attention: k");
    HWMOE_CHECK(a.v >= 0 && a.v + words <= ACT8_WORDS, "attention: v");
    HWMOE_CHECK(a.dst >= 0 && a.dst + words <= ACT8_WORDS, "attention: dst");
    attention_cmd_t cmd;
    cmd.n_tok = static_cast<uint16_t>(a.n_tok);
    cmd.dim_tiles = static_cast<uint16_t>(a.dim_tiles);
    cmd.head_groups = static_cast<uint16_t>(ceil_div(a.heads, HEAD_UNITS));
    cmd.score_shift = static_cast<uint8_t>(a.shifts & 255);
    cmd.out_shift = static_cast<uint8_t>(a.shifts >> 8);
    cmd.score_mult = static_cast<uint32_t>(a.score_mult);
    cmd.out_mult = static_cast<uint32_t>(a.out_mult);
    run_attention(cmd, a, act8, result, clipped);
    HWMOE_LOOP(copy)
    for (int i = 0; i < words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = RESULT_WORDS
        const bool whole = i < words - a.n_tok;  // the last tile of a row may be padded: zeros
        for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
            act8[a.dst + i].lane[l] = whole || l < last_lanes ? result[i].lane[l] : int8_t(0);
        }
    }
    HWMOE_TRACE_WORDS(8, act8, a.dst, words);
}

}  // namespace hwmoe
