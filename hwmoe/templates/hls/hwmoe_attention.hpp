// The attention kernel: softmax(q k^T) v, ROWS x DIM_LANES x HEAD_UNITS multiplications a cycle.
// Ports, commands and the order of the beats: docs/kernels.md.
#ifndef HWMOE_ATTENTION_HPP
#define HWMOE_ATTENTION_HPP

#include "hwmoe_types.hpp"

// One call handles one command.
void hwmoe_attention(
    hls::stream<hwmoe::attention_cmd_t>& s_axis_cmd,
    hls::stream<hwmoe::qkv_beat_t>& s_axis_q,
    hls::stream<hwmoe::qkv_beat_t>& s_axis_k,
    hls::stream<hwmoe::qkv_beat_t>& s_axis_v,
    hls::stream<hwmoe::qkv_beat_t>& m_axis_o,
    hls::stream<hwmoe::status_beat_t>& m_axis_status
);

#endif
