// The accelerator: runs a program (hwmoe/plan/isa.toml) on a batch of images.
#ifndef HWMOE_TOP_HPP
#define HWMOE_TOP_HPP

#include "hwmoe_types.hpp"

// For each image the instructions from `entry` to the next END are carried out. Images follow one
// another in `images`, their results in `logits`. saturations[i] is increased by the values that
// instruction i clipped; the caller clears it.
extern "C" void hwmoe_top(
    const hwmoe::instruction_t* program,
    const int32_t* params,
    const hwmoe::w_beat_t* weights,
    const hwmoe::x_beat_t* images,
    int16_t* logits,
    uint32_t* saturations,
    int32_t entry,
    int32_t n_images
);

#endif
