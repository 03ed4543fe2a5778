#include "hwmoe_fetch.hpp"

#include "hwmoe_engines.hpp"
#include "hwmoe_execute.hpp"
#include "hwmoe_ports.hpp"

namespace hwmoe {

constexpr int MAX_STAGES = 8;
constexpr int MAX_TASKS = 16;
static_assert(INSTRUCTION_BYTES % PORT_BYTES == 0, "an instruction is whole beats");

// Where FETCH is in the program, and the images in flight.
struct position_t {
    int32_t iteration;
    int32_t step;
    int32_t task[MAX_STAGES];  // of the image in each stage
};

static instruction_t read_instruction(const port_beat_t* program, int index) {
#pragma HLS inline off
    uint8_t bytes[INSTRUCTION_BYTES];
    port_beat_t held;
    take<INSTRUCTION_BYTES>(program, index, held, bytes);
    instruction_t i;
    for (int w = 0; w < INSTRUCTION_BYTES / 4; ++w) {
#pragma HLS unroll
        i.word[w] = uint32_at(bytes, 4 * w);
    }
    return i;
}

// Images move on by a stage; the new one's task is the first word of its record.
static void next_image(
    const port_beat_t* images, int32_t image_bytes, int32_t n_images, position_t& at
) {
#pragma HLS inline off
    for (int s = MAX_STAGES - 1; s > 0; --s) {
#pragma HLS unroll
        at.task[s] = at.task[s - 1];
    }
    if (at.iteration < n_images) {
        const int64_t beat = at.iteration * static_cast<int64_t>(image_bytes / PORT_BYTES);
        at.task[0] = int32_at(images[beat].byte, 0);
        HWMOE_CHECK(at.task[0] >= 0 && at.task[0] < MAX_TASKS, "an image's task is not 0 to 15");
    }
}

// The instruction at `at`, for the image that is in its stage now.
static work_t read_work(const port_beat_t* program, const position_t& at, int32_t n_images) {
#pragma HLS inline off
    work_t work;
    work.instruction = read_instruction(program, 1 + at.step);
    const common_args_t common = decode_common(work.instruction);
    work.step = at.step;
    work.image = at.iteration - common.stage;
    HWMOE_STEP(work.image, work.step);
    HWMOE_CHECK(engine_of(common.opcode) >= 0, "illegal instruction");
    HWMOE_CHECK(common.stage < MAX_STAGES, "stage out of range");
    HWMOE_CHECK(((common.wait | common.signal) >> ENGINES) == 0, "no such engine");
    const bool there = work.image >= 0 && work.image < n_images;
    const int32_t task = at.task[common.stage % MAX_STAGES] % MAX_TASKS;
    work.null = !there || ((common.tasks >> task) & 1) == 0;
    return work;
}

static void set_up(const instruction_t& first, int32_t steps, engines_t& e, uint32_t* saturations) {
#pragma HLS inline off
    constexpr int tokens_word = LOOP_TOKENS_BIT / 32;
    for (int from = 0; from < ENGINES; ++from) {
        e.head[from] = 0;
        e.count[from] = 0;
        for (int to = 0; to < ENGINES; ++to) {
            const int byte = from * ENGINES + to;
            const uint32_t word = first.word[tokens_word + byte / 4];
            e.tokens[from][to] = static_cast<uint8_t>((word >> (8 * (byte % 4))) & 255);
        }
    }
    for (int i = 0; i < steps; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = MAX_STEPS
        saturations[i] = 0;
    }
}

// The next instruction of an engine that is ready, from its tokens to its signals.
static void serve(
    engines_t& engines, int engine, const loop_args_t& loop, const port_beat_t* params,
    const port_beat_t* images, port_beat_t* results, HWMOE_WEIGHT_PARAMETERS, cursor_t& cursor,
    uint32_t saturations[MAX_STEPS]
) {
#pragma HLS inline
    const work_t work = take_work(engines, engine);
    HWMOE_STEP(work.image, work.step);
    if (!work.null) {
        saturations[work.step] += execute(
            work.instruction, loop, params, images, results, HWMOE_WEIGHT_ARGUMENTS, cursor
        );
    }
    signal_done(engines, engine, work);
}

void run_program(
    const port_beat_t* program, const port_beat_t* params, const port_beat_t* images,
    port_beat_t* results, HWMOE_WEIGHT_PARAMETERS, int32_t n_images,
    uint32_t saturations[MAX_STEPS]
) {
#pragma HLS inline
    const instruction_t first = read_instruction(program, 0);
    const loop_args_t loop = decode_loop(first);
    HWMOE_CHECK(decode_common(first).opcode == OP_LOOP, "illegal instruction: no loop");
    HWMOE_CHECK(loop.steps >= 0 && loop.steps <= MAX_STEPS, "loop: steps");
    HWMOE_CHECK(loop.stages > 0 && loop.stages <= MAX_STAGES, "loop: stages");
    HWMOE_CHECK(loop.image_bytes % PORT_BYTES == 0, "loop: image_bytes");
    HWMOE_CHECK(loop.logit_bytes % PORT_BYTES == 0, "loop: logit_bytes");
    engines_t engines;
    set_up(first, loop.steps, engines, saturations);
    cursor_t cursor = {0, 0};
    position_t at = {0, 0, {0, 0, 0, 0, 0, 0, 0, 0}};
    const int32_t iterations = n_images > 0 && loop.steps > 0 ? n_images + loop.stages - 1 : 0;
    bool more = iterations > 0;
    work_t next;
    if (more) {
        next_image(images, loop.image_bytes, n_images, at);
        next = read_work(program, at, n_images);
    }
    for (;;) {
        int actors = ready_engines(engines);
        const int engine = more ? engine_of(decode_common(next.instruction).opcode) : -1;
        if (engine >= 0 && has_room(engines, engine)) {
            actors |= 1 << FETCH;
        }
        if (actors == 0) {
            break;
        }
        const int actor = HWMOE_CHOOSE(actors);
        if (actor != FETCH) {
            serve(
                engines, actor, loop, params, images, results, HWMOE_WEIGHT_ARGUMENTS, cursor,
                saturations
            );
            continue;
        }
        put_work(engines, engine, next);
        ++at.step;
        if (at.step == loop.steps) {
            at.step = 0;
            ++at.iteration;
            next_image(images, loop.image_bytes, n_images, at);
        }
        more = at.iteration < iterations;
        if (more) {
            next = read_work(program, at, n_images);
        }
    }
    if (more || !idle(engines)) {
        HWMOE_DEADLOCK(engines);
    }
}

}  // namespace hwmoe
