// One command of a kernel between the memories: loaders, the kernel and a collector joined by
// streams. The result is collected in a memory of its own and then copied, so that no memory has
// a reader and a writer in one dataflow region.
#ifndef HWMOE_STEPS_HPP
#define HWMOE_STEPS_HPP

#include "hwmoe_vector.hpp"

namespace hwmoe {

void linear_step(
    const linear_args_t& a, const routing_t& routing, const int32_t* params,
    const w_beat_t* weights, x_beat_t act8[ACT8_WORDS], word16_t act16[ACT16_WORDS],
    count_t& clipped
);

void attention_step(const attention_args_t& a, x_beat_t act8[ACT8_WORDS], count_t& clipped);

}  // namespace hwmoe

#endif
