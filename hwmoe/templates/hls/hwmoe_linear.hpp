// The linear kernel: y = requant(bias + x * w), T_IN x T_OUT x T_TOK multiplications a cycle.
// Ports, commands and the order of the beats: docs/kernels.md.
#ifndef HWMOE_LINEAR_HPP
#define HWMOE_LINEAR_HPP

#include "hwmoe_types.hpp"

// One call handles one command. What a command leaves in the activation memory and in the table
// stays there for the next ones.
void hwmoe_linear(
    hls::stream<hwmoe::linear_cmd_t>& s_axis_cmd,
    hls::stream<hwmoe::x_beat_t>& s_axis_x,
    hls::stream<hwmoe::list_beat_t>& s_axis_list,
    hls::stream<hwmoe::table_beat_t>& s_axis_table,
    hls::stream<hwmoe::w_beat_t>& s_axis_w,
    hls::stream<hwmoe::p_beat_t>& s_axis_p,
    hls::stream<hwmoe::y_beat_t>& m_axis_y,
    hls::stream<hwmoe::status_beat_t>& m_axis_status
);

#endif
