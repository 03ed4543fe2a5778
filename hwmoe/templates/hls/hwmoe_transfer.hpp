// The steps between the memory ports and the memories on chip: load and store.
#ifndef HWMOE_TRANSFER_HPP
#define HWMOE_TRANSFER_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

void load_image_step(
    const load_image_args_t& a, const port_beat_t* image, x_beat_t act8[ACT8_WORDS]
);

void load_const_step(
    const load_const_args_t& a, const port_beat_t* params, word16_t res[RES_WORDS]
);

// To `results`, where the instruction's offset leads. Whole beats; zeros after the last value.
void store_step(
    const store_args_t& a, const word16_t res[RES_WORDS], const word16_t y[Y_WORDS],
    port_beat_t* results
);

}  // namespace hwmoe

#endif
