// What lies off chip comes in beats of the memory ports: elements are picked out of them here.
#ifndef HWMOE_PORTS_HPP
#define HWMOE_PORTS_HPP

#include "hwmoe_types.hpp"

namespace hwmoe {

constexpr int PORT_INTS = PORT_BYTES / 4;

// Element `i` of an array of elements of BYTES bytes; the array starts with a beat. Elements are
// taken in order from 0: `held` keeps the beat that has several of them.
template <int BYTES>
inline void take(const port_beat_t* array, int i, port_beat_t& held, uint8_t element[BYTES]) {
#pragma HLS inline
    constexpr int beats = BYTES / PORT_BYTES;
    constexpr int share = BYTES < PORT_BYTES ? PORT_BYTES / BYTES : 1;
    if (beats > 0) {
        for (int b = 0; b < beats; ++b) {
            held = array[i * beats + b];
            for (int k = 0; k < PORT_BYTES; ++k) {
#pragma HLS unroll
                element[b * PORT_BYTES + k] = held.byte[k];
            }
        }
    } else {
        if (i % share == 0) {
            held = array[i / share];
        }
        for (int k = 0; k < BYTES; ++k) {
#pragma HLS unroll
            element[k] = held.byte[(i % share) * BYTES + k];
        }
    }
}

// Little endian.
inline int16_t int16_at(const uint8_t* bytes, int at) {
#pragma HLS inline
    return static_cast<int16_t>(bytes[at] | (bytes[at + 1] << 8));
}

inline uint32_t uint32_at(const uint8_t* bytes, int at) {
#pragma HLS inline
    const uint32_t high = static_cast<uint16_t>(int16_at(bytes, at + 2));
    return (high << 16) | static_cast<uint16_t>(int16_at(bytes, at));
}

inline int32_t int32_at(const uint8_t* bytes, int at) {
#pragma HLS inline
    return static_cast<int32_t>(uint32_at(bytes, at));
}

// Parameters from int32 number `at` on.
inline const port_beat_t* params_at(const port_beat_t* params, int at) {
#pragma HLS inline
    HWMOE_CHECK(at % PORT_INTS == 0, "params: not at the start of a beat");
    return params + at / PORT_INTS;
}

}  // namespace hwmoe

#endif
