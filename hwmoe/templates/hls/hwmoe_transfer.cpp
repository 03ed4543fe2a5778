#include "hwmoe_transfer.hpp"

#include "hwmoe_numerics.hpp"
#include "hwmoe_ports.hpp"

namespace hwmoe {

void load_image_step(
    const load_image_args_t& a, const port_beat_t* image, x_beat_t act8[ACT8_WORDS]
) {
#pragma HLS inline off
    HWMOE_CHECK_RANGE(a.dst, a.words, ACT8_WORDS, "load_image: dst");
    port_beat_t held;
    for (int i = 0; i < a.words; ++i) {
#pragma HLS pipeline
#pragma HLS loop_tripcount min = 1 max = ACT8_WORDS
        uint8_t bytes[T_IN];
        take<T_IN>(image, i, held, bytes);
        for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
            act8[a.dst + i].lane[l] = static_cast<int8_t>(bytes[l]);
        }
    }
    HWMOE_TRACE_WORDS(SPACE_ACT8, act8, a.dst, a.words);
}

void load_const_step(
    const load_const_args_t& a, const port_beat_t* params, word16_t res[RES_WORDS]
) {
#pragma HLS inline off
    HWMOE_CHECK_RANGE(a.dst, a.words, RES_WORDS, "load_const: dst");
    HWMOE_CHECK_PARAMS(a.params, a.words * (T_IN / 2), "load_const: params");
    const port_beat_t* words = params_at(params, a.params);
    port_beat_t held;
    for (int i = 0; i < a.words; ++i) {
#pragma HLS pipeline
#pragma HLS loop_tripcount min = 1 max = RES_WORDS
        uint8_t bytes[2 * T_IN];
        take<2 * T_IN>(words, i, held, bytes);
        for (int l = 0; l < T_IN; ++l) {
#pragma HLS unroll
            res[a.dst + i].lane[l] = int16_at(bytes, 2 * l);
        }
    }
    HWMOE_TRACE_WORDS(SPACE_RES, res, a.dst, a.words);
}

void store_step(
    const store_args_t& a, const word16_t res[RES_WORDS], const word16_t y[Y_WORDS],
    port_beat_t* results
) {
#pragma HLS inline off
    constexpr int values = PORT_BYTES / 2;  // of a beat
    const int count = ceil_div(a.n_out, values) * values;
    const bool from_res = a.space == SPACE_RES;
    HWMOE_CHECK(from_res || a.space == SPACE_Y, "store: space");
    HWMOE_CHECK_RANGE(
        a.src, ceil_div(a.n_out, T_IN), from_res ? RES_WORDS : Y_WORDS, "store: src"
    );
    port_beat_t beat;
    for (int i = 0; i < count; ++i) {
#pragma HLS pipeline II = 1
        const int word = a.src + i / T_IN;
        const int lane = i % T_IN;
        int16_t value = 0;
        if (i < a.n_out) {
            value = from_res ? res[word].lane[lane] : y[word].lane[lane];
        }
        const uint16_t bits = static_cast<uint16_t>(value);
        beat.byte[2 * (i % values)] = static_cast<uint8_t>(bits & 255);
        beat.byte[2 * (i % values) + 1] = static_cast<uint8_t>(bits >> 8);
        if (i % values == values - 1) {
            results[i / values] = beat;
        }
    }
}

}  // namespace hwmoe
