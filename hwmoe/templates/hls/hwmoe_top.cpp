#include "hwmoe_top.hpp"

#include "hwmoe_numerics.hpp"
#include "hwmoe_steps.hpp"

namespace hwmoe {

static void load_image_step(
    const load_image_args_t& a, const x_beat_t* image, x_beat_t act8[ACT8_WORDS]
) {
#pragma HLS inline off
    HWMOE_CHECK(a.dst >= 0 && a.dst + a.words <= ACT8_WORDS, "load_image: dst");
    for (int i = 0; i < a.words; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = ACT8_WORDS
        act8[a.dst + i] = image[i];
    }
    HWMOE_TRACE_WORDS(8, act8, a.dst, a.words);
}

static void load_const_step(
    const load_const_args_t& a, const int32_t* params, word16_t act16[ACT16_WORDS]
) {
#pragma HLS inline off
    HWMOE_CHECK(a.dst >= 0 && a.dst + a.words <= ACT16_WORDS, "load_const: dst");
    HWMOE_CHECK_PARAMS(a.params, a.words * T_IN, "load_const: params");
    for (int i = 0; i < a.words; ++i) {
#pragma HLS loop_tripcount min = 1 max = ACT16_WORDS
        for (int l = 0; l < T_IN; ++l) {
#pragma HLS pipeline II = 1
            act16[a.dst + i].lane[l] = static_cast<int16_t>(params[a.params + i * T_IN + l]);
        }
    }
    HWMOE_TRACE_WORDS(16, act16, a.dst, a.words);
}

static void store_step(const store_args_t& a, const word16_t act16[ACT16_WORDS], int16_t* logits) {
#pragma HLS inline off
    HWMOE_CHECK(a.src >= 0 && a.src + ceil_div(a.n_out, T_IN) <= ACT16_WORDS, "store: src");
    for (int i = 0; i < a.n_out; ++i) {
#pragma HLS pipeline II = 1
        logits[i] = act16[a.src + i / T_IN].lane[i % T_IN];
    }
}

// What a program has taken from the images and given to the logits.
struct cursor_t {
    int image;
    int logit;
};

// One instruction; how many values it clipped.
static count_t execute(
    const instruction_t& i, const int32_t* params, const w_beat_t* weights, const x_beat_t* images,
    int16_t* logits, cursor_t& cursor
) {
#pragma HLS inline off
    static x_beat_t act8[ACT8_WORDS];
#pragma HLS array_partition variable = act8 type = complete dim = 2
    static word16_t act16[ACT16_WORDS];
#pragma HLS array_partition variable = act16 type = complete dim = 2
    static routing_t routing;
    count_t clipped = 0;
    switch (i.word[0]) {
        case OP_LOAD_IMAGE:
            load_image_step(decode_load_image(i), images + cursor.image, act8);
            cursor.image += decode_load_image(i).words;
            break;
        case OP_LOAD_CONST:
            load_const_step(decode_load_const(i), params, act16);
            break;
        case OP_LAYERNORM:
            layernorm_step(decode_layernorm(i), act16, params, act8, clipped);
            break;
        case OP_LINEAR:
            linear_step(decode_linear(i), routing, params, weights, act8, act16, clipped);
            break;
        case OP_ATTENTION:
            attention_step(decode_attention(i), act8, clipped);
            break;
        case OP_ADD:
            add_step(decode_add(i), routing, act16, clipped);
            break;
        case OP_GATE:
            gate_step(decode_gate(i), act16, routing);
            break;
        case OP_STORE:
            store_step(decode_store(i), act16, logits + cursor.logit);
            cursor.logit += decode_store(i).n_out;
            break;
        default:
            HWMOE_CHECK(false, "unknown opcode");
            break;
    }
    return clipped;
}

}  // namespace hwmoe

using namespace hwmoe;

extern "C" void hwmoe_top(
    const instruction_t* program,
    const int32_t* params,
    const w_beat_t* weights,
    const x_beat_t* images,
    int16_t* logits,
    uint32_t* saturations,
    int32_t entry,
    int32_t n_images
) {
#pragma HLS interface mode = m_axi port = program offset = slave bundle = gmem_program
#pragma HLS interface mode = m_axi port = params offset = slave bundle = gmem_params
#pragma HLS interface mode = m_axi port = weights offset = slave bundle = gmem_weights
#pragma HLS interface mode = m_axi port = images offset = slave bundle = gmem_images
#pragma HLS interface mode = m_axi port = logits offset = slave bundle = gmem_logits
#pragma HLS interface mode = m_axi port = saturations offset = slave bundle = gmem_logits
#pragma HLS interface mode = s_axilite port = program bundle = control
#pragma HLS interface mode = s_axilite port = params bundle = control
#pragma HLS interface mode = s_axilite port = weights bundle = control
#pragma HLS interface mode = s_axilite port = images bundle = control
#pragma HLS interface mode = s_axilite port = logits bundle = control
#pragma HLS interface mode = s_axilite port = saturations bundle = control
#pragma HLS interface mode = s_axilite port = entry bundle = control
#pragma HLS interface mode = s_axilite port = n_images bundle = control
#pragma HLS interface mode = s_axilite port = return bundle = control
    cursor_t cursor = {0, 0};
    for (int image = 0; image < n_images; ++image) {
        int step = entry;
        instruction_t instruction = program[step];
        while (instruction.word[0] != OP_END) {
            HWMOE_STEP(image, step);
            const count_t clipped =
                execute(instruction, params, weights, images, logits, cursor);
            if (clipped != 0) {
                saturations[step] += clipped;
            }
            instruction = program[++step];
        }
    }
}
