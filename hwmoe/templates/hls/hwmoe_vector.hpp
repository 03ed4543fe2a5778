// The steps between the two kernels: LayerNorm, residual additions, the gate. In every memory
// lane l of tile i of row j is word base + i*rows + j.
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

// Reads res, writes act8.
void layernorm_step(
    const layernorm_args_t& a, const word16_t res[RES_WORDS], const port_beat_t* params,
    x_beat_t act8[ACT8_WORDS], count_t& clipped
);

// Reads y and res, writes res.
void add_step(
    const add_args_t& a, const routing_t lists[SLOTS], const word16_t y[Y_WORDS],
    word16_t res[RES_WORDS], count_t& clipped
);

// Reads y, writes lists[a.slot].
void gate_step(const gate_args_t& a, const word16_t y[Y_WORDS], routing_t lists[SLOTS]);

}  // namespace hwmoe

#endif
