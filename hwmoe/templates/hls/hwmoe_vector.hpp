// The steps between the two kernels: LayerNorm, residual additions, the gate. All work on the
// activation memories: lane l of tile i of row j is word base + i*rows + j.
#ifndef HWMOE_VECTOR_HPP
#define HWMOE_VECTOR_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

// Where the gate sends the tokens: for each expert its rows, ascending, and their scores.
struct routing_t {
    uint16_t length[MAX_EXPERTS];
    uint16_t row[MAX_EXPERTS][MAX_TOKENS];
    uint16_t score[MAX_EXPERTS][MAX_TOKENS];
};

void layernorm_step(
    const layernorm_args_t& a, const word16_t act16[ACT16_WORDS], const int32_t* params,
    x_beat_t act8[ACT8_WORDS], count_t& clipped
);

void add_step(
    const add_args_t& a, const routing_t& routing, word16_t act16[ACT16_WORDS], count_t& clipped
);

void gate_step(const gate_args_t& a, const word16_t act16[ACT16_WORDS], routing_t& routing);

}  // namespace hwmoe

#endif
