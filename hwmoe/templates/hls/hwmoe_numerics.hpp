// The arithmetic of docs/numerics.md. Everything here is exact: no float, no approximation.
#ifndef HWMOE_NUMERICS_HPP
#define HWMOE_NUMERICS_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// One DSP48E2: 27 x 18 bits.
inline prod_t multiply(acc_t a, mult_t m) {
#pragma HLS inline
    return factor_t(a) * m;
}

// (v + half) >> shift, section 2. `index` chooses one of four shifts: a 4-way multiplexer and no
// barrel shifter.
inline prod_t shift_down(prod_t v, int index) {
#pragma HLS inline
    const int shift = SHIFT_BASE + SHIFT_STEP * (index & 3);
    return prod_t(v + (prod_t(1) << (shift - 1))) >> shift;
}

inline prod_t rescale(acc_t a, mult_t m, int index) {
#pragma HLS inline
    return shift_down(multiply(a, m), index);
}

template <typename T>
inline int8_t saturate8(T value, count_t& clipped) {
#pragma HLS inline
    const bool high = value > 127;
    const bool low = value < -128;
    clipped += (high || low) ? 1U : 0U;
    return high ? int8_t(127) : low ? int8_t(-128) : static_cast<int8_t>(value);
}

template <typename T>
inline int16_t saturate16(T value, count_t& clipped) {
#pragma HLS inline
    const bool high = value > 32767;
    const bool low = value < -32768;
    clipped += (high || low) ? 1U : 0U;
    return high ? int16_t(32767) : low ? int16_t(-32768) : static_cast<int16_t>(value);
}

// Index into an exponential table: min(255, rescale(distance)), the distance not negative.
inline int exp_index(acc_t distance, mult_t m, int shift) {
#pragma HLS inline
    const prod_t scaled = rescale(distance, m, shift);
    return scaled > 255 ? 255 : static_cast<int>(scaled);
}

// Length in binary of a non-negative number of at most WIDTH bits: a priority encoder.
template <int WIDTH, typename T>
inline int bits(T value) {
#pragma HLS inline
    int length = 0;
    for (int i = 0; i < WIDTH; ++i) {
#pragma HLS unroll
        if (((value >> i) & 1) != 0) {
            length = i + 1;
        }
    }
    return length;
}

// floor(sqrt(v)) of 32 bits, one bit of the root a step: 16 steps, exact, without multiplying.
inline uint32_t isqrt32(uint32_t v) {
#pragma HLS inline off
    uint32_t root = 0;
    uint32_t rest = 0;
    for (int step = 0; step < 16; ++step) {
#pragma HLS pipeline II = 1
        rest = (rest << 2) | (v >> 30);
        v <<= 2;
        const uint32_t trial = (root << 2) | 1;
        const bool fits = rest >= trial;
        rest = fits ? rest - trial : rest;
        root = (root << 1) | (fits ? 1U : 0U);
    }
    return root;
}

// ---- LayerNorm (section 4) ----------------------------------------------------------------------
// What one row needs of its statistics.
struct norm_row_t {
    acc_t sum;   // S
    root_t r;    // 2^31 // q
    int extra;   // a
};

inline norm_row_t norm_statistics(acc_t sum, square_t squares, int dim, square_t eps) {
#pragma HLS inline off
    const factor_t s = sum;
    const var_t v = dim_t(dim) * squares - s * s + eps;
    const int length = bits<52>(v);
    norm_row_t row;
    row.sum = sum;
    row.extra = length >= 32 ? (length - 31) / 2 : -((32 - length) / 2);
    const var_t normal = row.extra >= 0 ? v >> (2 * row.extra) : v << (-2 * row.extra);
    row.r = (1U << 31) / isqrt32(static_cast<uint32_t>(normal));  // a sequential divider: exact
    return row;
}

inline int8_t norm_value(
    const norm_row_t& row, int16_t x, int dim, gain_t gain, int32_t bias, int index,
    count_t& clipped
) {
#pragma HLS inline
    const acc_t centred = acc_t(dim_t(dim) * x) - row.sum;
    const prod_t product = factor_t(centred) * row.r + (prod_t(1) << (20 + row.extra));
    const norm_t z = static_cast<norm_t>(product >> (21 + row.extra));
    return saturate8(shift_down(factor_t(z) * gain + bias, index), clipped);
}

// ---- attention row (section 5) ------------------------------------------------------------------
struct row_scale_t {
    mult_t r;   // (C << n) // L
    int shift;  // n + f
};

inline row_scale_t row_scale(count_t sum, uint32_t c, int f) {
#pragma HLS inline off
    const int n = bits<17>(sum);
    const uint64_t numerator = static_cast<uint64_t>(c) << n;  // at most 33 bits
    row_scale_t scale;
    scale.r = static_cast<uint32_t>(numerator / sum);
    scale.shift = n + f;
    return scale;
}

inline int8_t row_value(acc_t a, const row_scale_t& scale, count_t& clipped) {
#pragma HLS inline
    const prod_t half = prod_t(1) << (scale.shift - 1);
    return saturate8(prod_t((multiply(a, scale.r) + half) >> scale.shift), clipped);
}

// ---- scores of the gate (section 6) -------------------------------------------------------------
inline uint32_t gate_weight(int16_t largest, int16_t logit, mult_t mult, int shift) {
#pragma HLS inline
    return EXP15[exp_index(acc_t(largest) - logit, mult, shift)];
}

// `chosen` holds k logits, the largest first; scores are 16 bits, 2^15 is 1.0. The softmax runs
// over the first `n_over` of `over`, or, with 0, over the chosen.
inline void gate_scores(
    const int16_t chosen[MAX_TOP_K], int k, const int16_t over[MAX_EXPERTS], int n_over,
    mult_t mult, int shift, uint16_t score[MAX_TOP_K]
) {
#pragma HLS inline off
    uint32_t weight[MAX_TOP_K];
    uint32_t total = 0;
    for (int j = 0; j < k; ++j) {
#pragma HLS loop_tripcount min = 1 max = MAX_TOP_K
        weight[j] = gate_weight(chosen[0], chosen[j], mult, shift);
        total += n_over == 0 ? weight[j] : 0U;
    }
    for (int e = 0; e < n_over; ++e) {
#pragma HLS loop_tripcount min = 0 max = MAX_EXPERTS
        total += gate_weight(chosen[0], over[e], mult, shift);
    }
    for (int j = 0; j < k; ++j) {
#pragma HLS loop_tripcount min = 1 max = MAX_TOP_K
        score[j] = static_cast<uint16_t>(((weight[j] << 15) + total / 2) / total);
    }
}

}  // namespace hwmoe

#endif
