#include "hwmoe_execute.hpp"

#include "hwmoe_numerics.hpp"
#include "hwmoe_steps.hpp"
#include "hwmoe_transfer.hpp"

namespace hwmoe {

constexpr int IMAGE_HEADER = 64;  // bytes in front of an image's words; the task is in the first
constexpr int HEADER_BEATS = IMAGE_HEADER / PORT_BYTES;
constexpr int RESULT_ALIGN = 64;  // bytes: where a stored tensor may start
static_assert(IMAGE_HEADER % PORT_BYTES == 0, "a record starts with whole beats");
static_assert(RESULT_ALIGN % PORT_BYTES == 0, "a stored tensor starts with a whole beat");

// A store goes to `offset` of the image's results; the last one moves on to the next image's.
static void run_store(
    const store_args_t& a, const loop_args_t& loop, const word16_t res[RES_WORDS],
    const word16_t y[Y_WORDS], port_beat_t* results, cursor_t& cursor
) {
#pragma HLS inline
    HWMOE_CHECK((a.last | 1) == 1, "store: last");
    HWMOE_CHECK(a.offset % RESULT_ALIGN == 0, "store: offset");
    HWMOE_CHECK(a.n_out >= 0, "store: n_out");
    HWMOE_CHECK_RANGE(a.offset, int64_t(2) * a.n_out, loop.logit_bytes, "store: n_out");
    const int64_t first = cursor.result + a.offset / PORT_BYTES;
    HWMOE_CHECK_RESULTS(first, ceil_div(2 * a.n_out, PORT_BYTES), "store: n_out");
    store_step(a, res, y, results + first);
    if (a.last != 0) {
        cursor.result += loop.logit_bytes / PORT_BYTES;
    }
}

count_t execute(
    const instruction_t& i, const loop_args_t& loop, const port_beat_t* params,
    const port_beat_t* images, port_beat_t* results, HWMOE_WEIGHT_PARAMETERS, cursor_t& cursor
) {
#pragma HLS inline off
    // Vitis makes an array of its own of each member of an array of structs (UG1399, Structs): of
    // these the lanes, [words][T_IN], whose dimension 2 is partitioned.
    static x_beat_t act8[ACT8_WORDS];
#pragma HLS array_partition variable = act8 type = complete dim = 2
    static x_beat_t heads[HEADS_WORDS];
#pragma HLS array_partition variable = heads type = complete dim = 2
    static word16_t res[RES_WORDS];
#pragma HLS array_partition variable = res type = complete dim = 2
    static word16_t y[Y_WORDS];
#pragma HLS array_partition variable = y type = complete dim = 2
    static routing_t lists[SLOTS];
    count_t clipped = 0;
    const int opcode = decode_common(i).opcode;
    switch (opcode) {
        case OP_LOAD_IMAGE:
            HWMOE_CHECK_IMAGES(
                cursor.image + HEADER_BEATS,
                ceil_div(decode_load_image(i).words * T_IN, PORT_BYTES), "load_image: words"
            );
            load_image_step(decode_load_image(i), images + cursor.image + HEADER_BEATS, act8);
            cursor.image += loop.image_bytes / PORT_BYTES;
            break;
        case OP_LOAD_CONST:
            load_const_step(decode_load_const(i), params, res);
            break;
        case OP_LAYERNORM:
            layernorm_step(decode_layernorm(i), res, params, act8, clipped);
            break;
        case OP_LINEAR:
        case OP_EXPERT:  // has the same fields
            linear_step(
                decode_linear(i), opcode == OP_EXPERT ? 1 : 0, lists, params, HWMOE_WEIGHT_ARGUMENTS, act8, heads, y, clipped
            );
            break;
        case OP_ATTENTION:
            attention_step(decode_attention(i), heads, act8, clipped);
            break;
        case OP_ADD:
            add_step(decode_add(i), lists, y, res, clipped);
            break;
        case OP_GATE:
            gate_step(decode_gate(i), y, lists);
            break;
        case OP_STORE:
            run_store(decode_store(i), loop, res, y, results, cursor);
            break;
        default:  // FETCH lets no other pass
            break;
    }
    return clipped;
}

}  // namespace hwmoe
