#include "hwmoe_attention.hpp"

#include "hwmoe_numerics.hpp"

using namespace hwmoe;

// p * v of a group of rows, for each lane of a beat; and the sums of p.
typedef acc_t values_t[ROWS][MAX_DIM_TILES][HEAD_LANES];
typedef count_t row_sums_t[ROWS][HEAD_UNITS];
typedef acc_t score_mem_t[MAX_KEYS][ROWS][HEAD_UNITS];
typedef operand_t lanes_t[HEAD_LANES];

static inline void unpack(const qkv_beat_t& beat, lanes_t lanes) {
#pragma HLS inline
    for (int l = 0; l < HEAD_LANES; ++l) {
#pragma HLS unroll
        lanes[l] = beat.lane[l];
    }
}

// The query rows of a group; rows that the last group lacks keep what they held and are never
// sent on. II=1.
static void load_queries(
    int rows, int dim_tiles, hls::stream<qkv_beat_t>& s_axis_q,
    lanes_t q[ROWS][MAX_DIM_TILES]
) {
#pragma HLS inline off
    HWMOE_LOOP(load_q)
    for (int r = 0; r < rows; ++r) {
#pragma HLS loop_tripcount min = 1 max = ROWS
        for (int d = 0; d < dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
            unpack(s_axis_q.read(), q[r][d]);
        }
    }
}

// Every lane accumulates by itself (the accumulator in its DSP), so II=1 at any depth of the
// adder tree, which is passed once a token.
static inline void score_step(
    const lanes_t k, const lanes_t q, bool clear, acc_t partial[HEAD_LANES]
) {
#pragma HLS inline
    for (int l = 0; l < HEAD_LANES; ++l) {
#pragma HLS unroll
        partial[l] = (clear ? acc_t(0) : partial[l]) + acc_t(q[l] * k[l]);
    }
}

static inline acc_t unit_sum(const acc_t partial[HEAD_LANES], int unit) {
#pragma HLS inline
    acc_t sum = 0;
    for (int l = 0; l < DIM_LANES; ++l) {
#pragma HLS unroll
        sum += partial[unit * DIM_LANES + l];
    }
    return sum;
}

static inline void keep_scores(
    const acc_t partial[HEAD_LANES], bool first, acc_t score[HEAD_UNITS], acc_t largest[HEAD_UNITS]
) {
#pragma HLS inline
    for (int u = 0; u < HEAD_UNITS; ++u) {
#pragma HLS unroll
        const acc_t sum = unit_sum(partial, u);
        score[u] = sum;
        if (first || sum > largest[u]) {
            largest[u] = sum;
        }
    }
}

// K streams past once: c[t][r] and the largest of each row. n_tok * dim_tiles cycles.
static void score_keys(
    attention_cmd_t cmd, const lanes_t q[ROWS][MAX_DIM_TILES],
    hls::stream<qkv_beat_t>& s_axis_k, score_mem_t score, acc_t largest[ROWS][HEAD_UNITS]
) {
#pragma HLS inline off
    acc_t partial[ROWS][HEAD_LANES];
#pragma HLS array_partition variable = partial type = complete dim = 0
    HWMOE_LOOP(keys)
    for (int t = 0; t < cmd.n_tok; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_KEYS
        for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
            lanes_t k;
#pragma HLS array_partition variable = k type = complete
            unpack(s_axis_k.read(), k);
            for (int r = 0; r < ROWS; ++r) {
#pragma HLS unroll
                score_step(k, q[r][d], d == 0, partial[r]);
                if (d + 1 == cmd.dim_tiles) {
                    keep_scores(partial[r], t == 0, score[t][r], largest[r]);
                }
            }
        }
    }
}

// Probabilities of one token for all rows; ROWS * HEAD_UNITS copies of the table.
static inline void exponentials(
    attention_cmd_t cmd, bool clear, const acc_t score[ROWS][HEAD_UNITS],
    const acc_t largest[ROWS][HEAD_UNITS], prob_t p[ROWS][HEAD_UNITS], row_sums_t sums
) {
#pragma HLS inline
    for (int r = 0; r < ROWS; ++r) {
#pragma HLS unroll
        for (int u = 0; u < HEAD_UNITS; ++u) {
#pragma HLS unroll
            const acc_t distance = largest[r][u] - score[r][u];
            const int i = exp_index(distance, mult_t(cmd.score_mult), cmd.score_shift);
            p[r][u] = EXP7[i];
            sums[r][u] = (clear ? 0 : sums[r][u]) + EXP7[i];
        }
    }
}

static inline void value_step(
    const lanes_t v, const prob_t p[HEAD_UNITS], bool clear, acc_t values[HEAD_LANES]
) {
#pragma HLS inline
    for (int u = 0; u < HEAD_UNITS; ++u) {
#pragma HLS unroll
        const prob_t weight = p[u];
        for (int l = 0; l < DIM_LANES; ++l) {
#pragma HLS unroll
            const int at = u * DIM_LANES + l;
            values[at] = (clear ? acc_t(0) : values[at]) + acc_t(weight * v[at]);
        }
    }
}

// V streams past once. With one tile of head dimensions the same accumulator is used in every
// cycle: `values` is small, and in LUT RAM it is read and written within one (II=1).
static void weigh_values(
    attention_cmd_t cmd, const score_mem_t score, const acc_t largest[ROWS][HEAD_UNITS],
    hls::stream<qkv_beat_t>& s_axis_v, values_t values, row_sums_t sums
) {
#pragma HLS inline off
    prob_t p[ROWS][HEAD_UNITS];
#pragma HLS array_partition variable = p type = complete dim = 0
    HWMOE_LOOP(values)
    for (int t = 0; t < cmd.n_tok; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_KEYS
        for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
            lanes_t v;
#pragma HLS array_partition variable = v type = complete
            unpack(s_axis_v.read(), v);
            if (d == 0) {
                exponentials(cmd, t == 0, score[t], largest, p, sums);
            }
            for (int r = 0; r < ROWS; ++r) {
#pragma HLS unroll
                value_step(v, p[r], t == 0, values[r][d]);
            }
        }
    }
}

// First process: a group of rows against all keys and values. Both passes have one multiplication
// a lane and row; they never run at once, so they may share the multipliers.
static void attend(
    attention_cmd_t cmd, int group, hls::stream<qkv_beat_t>& s_axis_q,
    hls::stream<qkv_beat_t>& s_axis_k, hls::stream<qkv_beat_t>& s_axis_v, values_t values,
    row_sums_t sums
) {
#pragma HLS inline off
    static lanes_t q[ROWS][MAX_DIM_TILES];
#pragma HLS array_partition variable = q type = complete dim = 1
#pragma HLS array_partition variable = q type = complete dim = 3
    static score_mem_t score;
#pragma HLS array_partition variable = score type = complete dim = 2
#pragma HLS array_partition variable = score type = complete dim = 3
    acc_t largest[ROWS][HEAD_UNITS];
#pragma HLS array_partition variable = largest type = complete dim = 0
    const int left = cmd.n_tok - group * ROWS;
    load_queries(left < ROWS ? left : ROWS, cmd.dim_tiles, s_axis_q, q);
    score_keys(cmd, q, s_axis_k, score, largest);
    weigh_values(cmd, score, largest, s_axis_v, values, sums);
}

// Second process: the rows of a group are normalized and leave. One division a row and unit, then
// a beat a cycle (II=1).
static void normalize(
    attention_cmd_t cmd, int head, int group, int groups, const values_t values,
    const row_sums_t sums, hls::stream<qkv_beat_t>& m_axis_o,
    hls::stream<status_beat_t>& m_axis_status
) {
#pragma HLS inline off
    static count_t clipped;
    if (head == 0 && group == 0) {
        clipped = 0;
    }
    const int left = cmd.n_tok - group * ROWS;
    HWMOE_LOOP(rows)
    for (int r = 0; r < (left < ROWS ? left : ROWS); ++r) {
#pragma HLS loop_tripcount min = 1 max = ROWS
        row_scale_t scale[HEAD_UNITS];
        for (int u = 0; u < HEAD_UNITS; ++u) {
            scale[u] = row_scale(sums[r][u], cmd.out_mult, cmd.out_shift);
        }
        for (int d = 0; d < cmd.dim_tiles; ++d) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM_TILES
            qkv_beat_t o;
            for (int l = 0; l < HEAD_LANES; ++l) {
#pragma HLS unroll
                o.lane[l] = row_value(values[r][d][l], scale[l / DIM_LANES], clipped);
            }
            m_axis_o.write(o);
        }
    }
    if (head + 1 == cmd.head_groups && group + 1 == groups) {
        m_axis_status.write(clipped);
    }
}

// While the rows of one group leave, the next group's keys stream: ping-pong buffers.
static void head_group(
    attention_cmd_t cmd, int head, int groups, hls::stream<qkv_beat_t>& s_axis_q,
    hls::stream<qkv_beat_t>& s_axis_k, hls::stream<qkv_beat_t>& s_axis_v,
    hls::stream<qkv_beat_t>& m_axis_o, hls::stream<status_beat_t>& m_axis_status
) {
#pragma HLS inline off
    for (int group = 0; group < groups; ++group) {
#pragma HLS dataflow
#pragma HLS loop_tripcount min = 1 max = KEY_GROUPS
        values_t values;
#pragma HLS array_partition variable = values type = complete dim = 1
#pragma HLS array_partition variable = values type = complete dim = 3
#pragma HLS bind_storage variable = values type = ram_2p impl = lutram
        row_sums_t sums;
#pragma HLS array_partition variable = sums type = complete dim = 0
        attend(cmd, group, s_axis_q, s_axis_k, s_axis_v, values, sums);
        normalize(cmd, head, group, groups, values, sums, m_axis_o, m_axis_status);
    }
}

void hwmoe_attention(
    hls::stream<attention_cmd_t>& s_axis_cmd,
    hls::stream<qkv_beat_t>& s_axis_q,
    hls::stream<qkv_beat_t>& s_axis_k,
    hls::stream<qkv_beat_t>& s_axis_v,
    hls::stream<qkv_beat_t>& m_axis_o,
    hls::stream<status_beat_t>& m_axis_status
) {
#pragma HLS interface mode = ap_ctrl_none port = return
#pragma HLS interface mode = axis port = s_axis_cmd
#pragma HLS interface mode = axis port = s_axis_q
#pragma HLS interface mode = axis port = s_axis_k
#pragma HLS interface mode = axis port = s_axis_v
#pragma HLS interface mode = axis port = m_axis_o
#pragma HLS interface mode = axis port = m_axis_status
    const attention_cmd_t cmd = s_axis_cmd.read();
    HWMOE_CHECK(cmd.n_tok <= MAX_KEYS, "attention: more tokens than max_tokens");
    HWMOE_CHECK(cmd.dim_tiles <= MAX_DIM_TILES, "attention: more tiles than max_dim_tiles");
    if (cmd.n_tok == 0 || cmd.dim_tiles == 0 || cmd.head_groups == 0) {
        m_axis_status.write(0);
        return;
    }
    const int groups = ceil_div(cmd.n_tok, ROWS);
    for (int head = 0; head < cmd.head_groups; ++head) {
#pragma HLS loop_tripcount min = 1 max = 16
        head_group(
            cmd, head, groups, s_axis_q, s_axis_k, s_axis_v, m_axis_o, m_axis_status
        );
    }
}
