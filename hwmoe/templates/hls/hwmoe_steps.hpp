// One command of a kernel between the memories: loaders, the kernel and a collector joined by
// streams.
#ifndef HWMOE_STEPS_HPP
#define HWMOE_STEPS_HPP

#include "hwmoe_vector.hpp"

namespace hwmoe {

// Reads act8, writes act8, heads or y. `unit`: 0 of the linear engine, 1 of the expert engine.
void linear_step(
    const linear_args_t& a, int unit, const routing_t lists[SLOTS], const port_beat_t* params,
    HWMOE_WEIGHT_PARAMETERS, x_beat_t act8[ACT8_WORDS], x_beat_t heads[HEADS_WORDS],
    word16_t y[Y_WORDS], count_t& clipped
);

// Reads heads, writes act8.
void attention_step(
    const attention_args_t& a, const x_beat_t heads[HEADS_WORDS], x_beat_t act8[ACT8_WORDS],
    count_t& clipped
);

}  // namespace hwmoe

#endif
