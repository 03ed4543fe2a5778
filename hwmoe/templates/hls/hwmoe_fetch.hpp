// FETCH: reads the program once an iteration, for all images in flight, and has it carried out.
#ifndef HWMOE_FETCH_HPP
#define HWMOE_FETCH_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

// `program` starts with its `loop` instruction. One process serves the engines in turn, because
// processes of a dataflow region cannot share memories; the order of the tokens is kept all the
// same. An unknown opcode or a deadlock ends the run.
void run_program(
    const port_beat_t* program, const port_beat_t* params, const port_beat_t* images,
    port_beat_t* results, HWMOE_WEIGHT_PARAMETERS, int32_t n_images,
    uint32_t saturations[MAX_STEPS]
);

}  // namespace hwmoe

#endif
