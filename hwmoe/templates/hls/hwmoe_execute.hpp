// One instruction of the program: the memories on chip, and the engines' work on them.
#ifndef HWMOE_EXECUTE_HPP
#define HWMOE_EXECUTE_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

// Where the next image to load and the next result to store lie, in beats.
struct cursor_t {
    int64_t image;
    int64_t result;
};

// Carries out `i` and advances `cursor`; how many values it clipped.
count_t execute(
    const instruction_t& i, const loop_args_t& loop, const port_beat_t* params,
    const port_beat_t* images, port_beat_t* results, HWMOE_WEIGHT_PARAMETERS, cursor_t& cursor
);

}  // namespace hwmoe

#endif
