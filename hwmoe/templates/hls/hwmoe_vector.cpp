#include "hwmoe_vector.hpp"

#include "hwmoe_numerics.hpp"
#include "hwmoe_ports.hpp"

namespace hwmoe {

// ---- LayerNorm ----------------------------------------------------------------------------------

struct gain_word_t {
    gain_t gain[T_IN];
    int32_t bias[T_IN];
};

// Gain and bias of each channel, a channel a cycle, padded to whole words; they are shared by all
// rows of the step.
static void load_gains(const port_beat_t* params, int tiles, gain_word_t gains[NORM_WORDS]) {
#pragma HLS inline off
    port_beat_t held;
    int tile = 0;
    int lane = 0;
    HWMOE_LOOP(gains)
    for (int i = 0; i < tiles * T_IN; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_DIM
        uint8_t bytes[8];
        take<8>(params, i, held, bytes);
        gains[tile].gain[lane] = gain_t(int32_at(bytes, 0));
        gains[tile].bias[lane] = int32_at(bytes, 4);
        const bool wrap = lane == T_IN - 1;
        tile = wrap ? tile + 1 : tile;
        lane = wrap ? 0 : lane + 1;
    }
}

// Sum and sum of squares of a row, one word a cycle (II=1).
static norm_row_t row_statistics(
    const layernorm_args_t& a, int row, int tiles, const word16_t res[RES_WORDS]
) {
#pragma HLS inline off
    acc_t sum = 0;
    square_t squares = 0;
    HWMOE_LOOP(statistics)
    for (int i = 0; i < tiles; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = NORM_WORDS
        const word16_t word = res[a.src + i * a.n_tok + row];
        for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
            const int16_t x = i * T_IN + l < a.dim ? word.lane[l] : int16_t(0);
            sum += x;
            squares += static_cast<uint32_t>(x * x);
        }
    }
    const uint64_t high = static_cast<uint32_t>(a.eps_high);
    const square_t eps = (high << 32) | static_cast<uint32_t>(a.eps_low);
    return norm_statistics(sum, squares, a.dim, eps);
}

// The same words once more, normalized (II=1). Lanes past the last channel become 0.
static void normalize_row(
    const layernorm_args_t& a, const norm_row_t& stats, int j, int tiles,
    const word16_t res[RES_WORDS], const gain_word_t gains[NORM_WORDS],
    x_beat_t act8[ACT8_WORDS], count_t& clipped
) {
#pragma HLS inline off
    HWMOE_LOOP(normalize)
    for (int i = 0; i < tiles; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = NORM_WORDS
        const word16_t word = res[a.src + i * a.n_tok + a.first + j];
        x_beat_t out;
        count_t lost = 0;
        for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
            count_t lane_lost = 0;
            const int8_t y = norm_value(
                stats, word.lane[l], a.dim, gains[i].gain[l], gains[i].bias[l], a.shift, lane_lost
            );
            const bool used = i * T_IN + l < a.dim;
            out.lane[l] = used ? y : int8_t(0);
            lost += used ? lane_lost : 0U;
        }
        clipped += lost;
        act8[a.dst + i * a.count + j] = out;
    }
}

void layernorm_step(
    const layernorm_args_t& a, const word16_t res[RES_WORDS], const port_beat_t* params,
    x_beat_t act8[ACT8_WORDS], count_t& clipped
) {
#pragma HLS inline off
    static gain_word_t gains[NORM_WORDS];
#pragma HLS aggregate variable = gains
    const int tiles = ceil_div(a.dim, T_IN);
    HWMOE_CHECK(a.dim > 0 && a.dim <= MAX_DIM, "layernorm: dim");
    HWMOE_CHECK((a.eps_low | a.eps_high) != 0, "layernorm: eps");  // or the variance may be 0
    HWMOE_CHECK_RANGE(a.src, tiles * a.n_tok, RES_WORDS, "layernorm: src");
    HWMOE_CHECK_RANGE(a.dst, tiles * a.count, ACT8_WORDS, "layernorm: dst");
    HWMOE_CHECK(a.first + a.count <= a.n_tok, "layernorm: rows");
    HWMOE_CHECK_PARAMS(a.params, 2 * T_IN * tiles, "layernorm: params");
    load_gains(params_at(params, a.params), tiles, gains);
    for (int j = 0; j < a.count; ++j) {
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
        const norm_row_t stats = row_statistics(a, a.first + j, tiles, res);
        normalize_row(a, stats, j, tiles, res, gains, act8, clipped);
    }
    HWMOE_TRACE_WORDS(SPACE_ACT8, act8, a.dst, tiles * a.count);
}

// ---- residual -----------------------------------------------------------------------------------

// One word: res + y, or res + ((y * u + 2^14) >> 15) for an expert.
static inline word16_t add_word(
    const word16_t& res, const word16_t& y, bool scored, uint16_t u, count_t& clipped
) {
#pragma HLS inline
    word16_t out;
    for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
        const acc_t weighted = static_cast<acc_t>(
            (multiply(acc_t(y.lane[l]), mult_t(u)) + (1 << 14)) >> 15
        );
        const acc_t term = scored ? weighted : acc_t(y.lane[l]);
        out.lane[l] = saturate16(acc_t(res.lane[l] + term), clipped);
    }
    return out;
}

// One word a cycle (II=1): within a step every row and tile is touched once.
void add_step(
    const add_args_t& a, const routing_t lists[SLOTS], const word16_t y[Y_WORDS],
    word16_t res[RES_WORDS], count_t& clipped
) {
#pragma HLS inline off
    const bool listed = a.list_mode == LIST_LISTED;
    HWMOE_CHECK(a.list_mode == LIST_NONE || listed, "add: list_mode");
    HWMOE_CHECK(!listed || a.expert < MAX_EXPERTS, "add: expert");
    HWMOE_CHECK(!listed || a.slot < SLOTS, "add: slot");
    HWMOE_CHECK(!listed || a.base == a.dst, "add: base");
    const routing_t& lists_of = lists[listed ? a.slot : 0];
    const int count = listed ? static_cast<int>(lists_of.length[a.expert]) : a.count;
    HWMOE_CHECK_RANGE(a.dst, a.tiles * a.n_tok, RES_WORDS, "add: dst");
    HWMOE_CHECK_RANGE(a.base, a.tiles * a.n_tok, RES_WORDS, "add: base");
    HWMOE_CHECK_RANGE(a.src, a.tiles * count, Y_WORDS, "add: src");
    HWMOE_CHECK(listed || a.first + count <= a.n_tok, "add: rows");
    HWMOE_LOOP(add)
    for (int i = 0; i < a.tiles; ++i) {
#pragma HLS loop_tripcount min = 1 max = NORM_WORDS
        for (int j = 0; j < count; ++j) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
#pragma HLS dependence variable = res type = inter false
            const int row = listed ? static_cast<int>(lists_of.row[a.expert][j]) : a.first + j;
            const uint16_t score = listed ? lists_of.score[a.expert][j] : uint16_t(0);
            const int at = i * a.n_tok + row;
            const word16_t term = y[a.src + i * count + j];
            res[a.dst + at] = add_word(res[a.base + at], term, listed, score, clipped);
        }
    }
    HWMOE_TRACE_WORDS(SPACE_RES, res, a.dst, a.tiles * a.n_tok);
}

// ---- gate ---------------------------------------------------------------------------------------

// The largest logit among the experts not yet chosen, the lower index if equal. One expert a
// cycle.
static int next_expert(
    const int16_t logit[MAX_EXPERTS], const bool taken[MAX_EXPERTS], int experts
) {
#pragma HLS inline off
    int best = -1;
    int16_t largest = 0;
    HWMOE_LOOP(experts)
    for (int e = 0; e < experts; ++e) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_EXPERTS
        if (!taken[e] && (best < 0 || logit[e] > largest)) {
            best = e;
            largest = logit[e];
        }
    }
    return best;
}

// One token: its experts and scores, appended to their lists. top_k * experts cycles.
static void route_token(
    const gate_args_t& a, int t, const word16_t y[Y_WORDS], routing_t& routing
) {
#pragma HLS inline off
    int16_t logit[MAX_EXPERTS];
    bool taken[MAX_EXPERTS];
    int expert[MAX_TOP_K];
    int16_t chosen[MAX_TOP_K];
    uint16_t score[MAX_TOP_K];
    HWMOE_LOOP(logits)
    for (int e = 0; e < a.experts; ++e) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_EXPERTS
        logit[e] = y[a.src + (e / T_IN) * a.n_tok + t].lane[e % T_IN];
        taken[e] = false;
    }
    for (int j = 0; j < a.top_k; ++j) {
#pragma HLS loop_tripcount min = 1 max = MAX_TOP_K
        const int best = next_expert(logit, taken, a.experts);
        expert[j] = best;
        chosen[j] = logit[best];
        taken[best] = true;
    }
    const int n_over = MAX_SCORES != 0 && a.scores != 0 ? a.experts : 0;
    gate_scores(chosen, a.top_k, logit, n_over, mult_t(a.mult), a.shift, score);
    for (int j = 0; j < a.top_k; ++j) {
#pragma HLS loop_tripcount min = 1 max = MAX_TOP_K
        const int at = routing.length[expert[j]];
        routing.row[expert[j]][at] = static_cast<uint16_t>(t);
        routing.score[expert[j]][at] = score[j];
        routing.length[expert[j]] = static_cast<uint16_t>(at + 1);
    }
}

void gate_step(const gate_args_t& a, const word16_t y[Y_WORDS], routing_t lists[SLOTS]) {
#pragma HLS inline off
    HWMOE_CHECK(a.slot < SLOTS, "gate: slot");
    HWMOE_CHECK(a.experts > 0 && a.experts <= MAX_EXPERTS, "gate: experts");
    HWMOE_CHECK(a.top_k > 0 && a.top_k <= MAX_TOP_K, "gate: top_k");
    HWMOE_CHECK(a.top_k <= a.experts, "gate: top_k is larger than the number of experts");
    HWMOE_CHECK(a.scores <= MAX_SCORES, "gate: scores");
    HWMOE_CHECK(a.n_tok <= MAX_TOKENS, "gate: n_tok");
    HWMOE_CHECK_RANGE(a.src, ceil_div(a.experts, T_IN) * a.n_tok, Y_WORDS, "gate: src");
    routing_t& routing = lists[a.slot];
    for (int e = 0; e < MAX_EXPERTS; ++e) {
#pragma HLS pipeline II = 1
        routing.length[e] = 0;
    }
    for (int t = 0; t < a.n_tok; ++t) {
#pragma HLS loop_tripcount min = 1 max = MAX_TOKENS
        route_token(a, t, y, routing);
    }
    HWMOE_TRACE_LISTS(SPACE_LISTS, routing, a.slot, a.experts);
}

}  // namespace hwmoe
