#include "hwmoe_attention.hpp"
#include "hwmoe_numerics.hpp"
#include "hwmoe_steps.hpp"

namespace hwmoe {

// The beat of head group `group`, row, dimension tile `d` is part `p` of the row's parts of
// HEAD_LANES channels, WORD_PARTS of them a word.
struct part_t {
    int word;  // from the start of the tensor
    int lane;
};

static inline part_t part_of(attention_cmd_t cmd, int group, int row, int d) {
#pragma HLS inline
    const int p = group * cmd.dim_tiles + d;
    part_t part;
    part.word = (p / WORD_PARTS) * cmd.n_tok + row;
    part.lane = (p % WORD_PARTS) * HEAD_LANES;
    return part;
}

// Rows first .. first+count-1 of one tensor for one group of heads.
static void send_rows(
    const x_beat_t heads[HEADS_WORDS], int base, attention_cmd_t cmd, int group, int first,
    int count, hls::stream<qkv_beat_t>& out
) {
#pragma HLS inline off
    for (int t = first; t < first + count; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_KEYS
        for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
            const part_t part = part_of(cmd, group, t, d);
            qkv_beat_t beat;
            for (int l = 0; l < HEAD_LANES; ++l) {
#pragma HLS unroll
                beat.lane[l] = heads[base + part.word].lane[part.lane + l];
            }
            out.write(beat);
        }
    }
}

// One process for the three streams, in the order in which the kernel reads them.
static void send_heads(
    attention_cmd_t cmd, const attention_args_t& a, const x_beat_t heads[HEADS_WORDS],
    hls::stream<attention_cmd_t>& s_cmd, hls::stream<qkv_beat_t>& s_q,
    hls::stream<qkv_beat_t>& s_k, hls::stream<qkv_beat_t>& s_v
) {
#pragma HLS inline off
    s_cmd.write(cmd);
    for (int group = 0; group < cmd.head_groups; ++group) {
#pragma HLS loop_tripcount min = 1 max = 16
        for (int first = 0; first < cmd.n_tok; first += ROWS) {
#pragma HLS loop_tripcount min = 1 max = KEY_GROUPS
            const int left = cmd.n_tok - first;
            send_rows(heads, a.q, cmd, group, first, left < ROWS ? left : ROWS, s_q);
            send_rows(heads, a.k, cmd, group, 0, cmd.n_tok, s_k);
            send_rows(heads, a.v, cmd, group, 0, cmd.n_tok, s_v);
        }
    }
}

// Beats back into words; the first part of a word clears the others, so that lanes of padding
// are 0.
static void collect_heads(
    attention_cmd_t cmd, int dst, hls::stream<qkv_beat_t>& s_o,
    hls::stream<status_beat_t>& s_status, x_beat_t act8[ACT8_WORDS], count_t& clipped
) {
#pragma HLS inline off
    for (int group = 0; group < cmd.head_groups; ++group) {
#pragma HLS loop_tripcount min = 1 max = 16
        for (int t = 0; t < cmd.n_tok; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_KEYS
            for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
                const qkv_beat_t o = s_o.read();
                const part_t part = part_of(cmd, group, t, d);
                for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
                    if (l / HEAD_LANES == part.lane / HEAD_LANES) {
                        act8[dst + part.word].lane[l] = o.lane[l % HEAD_LANES];
                    } else if (part.lane == 0) {
                        act8[dst + part.word].lane[l] = 0;
                    }
                }
            }
        }
    }
    clipped = s_status.read();
}

static void run_attention(
    attention_cmd_t cmd, const attention_args_t& a, const x_beat_t heads[HEADS_WORDS],
    x_beat_t act8[ACT8_WORDS], count_t& clipped
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
    send_heads(cmd, a, heads, s_cmd, s_q, s_k, s_v);
    hwmoe_attention(s_cmd, s_q, s_k, s_v, s_o, s_status);
    collect_heads(cmd, a.dst, s_o, s_status, act8, clipped);
}

void attention_step(
    const attention_args_t& a, const x_beat_t heads[HEADS_WORDS], x_beat_t act8[ACT8_WORDS],
    count_t& clipped
) {
#pragma HLS inline off
    const int words = ceil_div(a.head_groups * a.dim_tiles, WORD_PARTS) * a.n_tok;
    HWMOE_CHECK(a.head_groups > 0 && a.dim_tiles > 0 && a.n_tok > 0, "attention: empty");
    HWMOE_CHECK_RANGE(a.q, words, HEADS_WORDS, "attention: q");
    HWMOE_CHECK_RANGE(a.k, words, HEADS_WORDS, "attention: k");
    HWMOE_CHECK_RANGE(a.v, words, HEADS_WORDS, "attention: v");
    HWMOE_CHECK_RANGE(a.dst, words, ACT8_WORDS, "attention: dst");
    attention_cmd_t cmd;
    cmd.n_tok = static_cast<uint16_t>(a.n_tok);
    cmd.dim_tiles = static_cast<uint16_t>(a.dim_tiles);
    cmd.head_groups = static_cast<uint16_t>(a.head_groups);
    cmd.score_shift = static_cast<uint8_t>(a.score_shift);
    cmd.out_shift = static_cast<uint8_t>(a.out_shift);
    cmd.score_mult = static_cast<uint32_t>(a.score_mult);
    cmd.out_mult = static_cast<uint32_t>(a.out_mult);
    run_attention(cmd, a, heads, act8, clipped);
    HWMOE_TRACE_WORDS(SPACE_ACT8, act8, a.dst, words);
    (void)words;
}

}  // namespace hwmoe
