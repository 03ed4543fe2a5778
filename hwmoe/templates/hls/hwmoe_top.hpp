// The accelerator: runs a program (hwmoe/plan/isa.toml) on a batch of images.
#ifndef HWMOE_TOP_HPP
#define HWMOE_TOP_HPP

#include "hwmoe_types.hpp"

// Records of images follow one another in `images` (64 bytes with the task in the first four, then
// words of int8), results in `results`; their sizes are fields of the program. saturations[i]:
// values that step i clipped.
extern "C" void hwmoe_top(
    const hwmoe::port_beat_t* program,
    const hwmoe::port_beat_t* params,
    const hwmoe::port_beat_t* images,
    hwmoe::port_beat_t* results,
    HWMOE_WEIGHT_PARAMETERS,
    int32_t n_images,
    uint32_t saturations[hwmoe::MAX_STEPS]
);

#endif
