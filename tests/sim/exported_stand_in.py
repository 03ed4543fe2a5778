"""Our kernel dressed as what Vitis HLS exports: file, module and port names, and how ports are
declared (UG1399). `style` axis is what `vitis/hls_linear.tcl` asks for; fifo has ap_fifo ports,
block-level control and a reset that is active high."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwmoe.codegen.project import Project
from hwmoe.sim.kernel_check import own_sources, ports_of_kernel

INSIDE = "stand_in_kernel"


def write_stand_in(project: Project, kernel: str, folder: Path, style: str = "axis") -> Path:
    """`folder`/hdl/verilog, as in an unpacked IP -> the file of the top module."""
    place = folder / "hdl" / "verilog"
    place.mkdir(parents=True)
    top = f"hwmoe_{kernel}"
    acc = project.program.accelerator
    for name in own_sources(kernel, acc):
        text = project.files[f"rtl/{name}"]
        if name == f"{top}.sv":
            name, text = f"{INSIDE}.sv", text.replace(f"module {top} (", f"module {INSIDE} (")
        (place / name).write_text(text)
    ports = ports_of_kernel(kernel, acc)
    streams = [(port, 8 * w, True) for port, w in ports.inputs.items()]
    streams += [(port, 8 * w, False) for port, w in ports.outputs.items()]
    path = place / f"{top}.v"
    path.write_text(_axis(top, streams) if style == "axis" else _fifo(top, streams))
    return path


def _axis(top: str, streams: Sequence[tuple[str, int, bool]]) -> str:
    names, declared = ["ap_clk", "ap_rst_n"], ["input   ap_clk;", "input   ap_rst_n;"]
    for port, bits, is_input in streams:
        forth, back = ("input", "output") if is_input else ("output", "input")
        names += [f"{port}_{end}" for end in ("TDATA", "TVALID", "TREADY")]
        declared += [f"{forth}  [{bits - 1}:0] {port}_TDATA;"]
        declared += [f"{forth}   {port}_TVALID;", f"{back}   {port}_TREADY;"]
    pins = [f"    .{name}({name})" for name in names]
    return _module(top, names, declared, [], pins)


def _fifo(top: str, streams: Sequence[tuple[str, int, bool]]) -> str:
    names = ["ap_clk", "ap_rst", "ap_start", "ap_done", "ap_idle", "ap_ready"]
    declared = [f"input   {name};" for name in names[:3]]
    declared += [f"output   {name};" for name in names[3:]]
    body = ["assign ap_done = 1'b0;", "assign ap_idle = !ap_start;", "assign ap_ready = 1'b0;"]
    pins = ["    .ap_clk(ap_clk)", "    .ap_rst_n(!ap_rst)"]
    for port, bits, is_input in streams:
        if is_input:
            ends = (f"{port}_dout", f"{port}_empty_n", f"{port}_read")
            declared += [f"input  [{bits - 1}:0] {ends[0]};", f"input   {ends[1]};"]
            declared += [f"output   {ends[2]};"]
            body += [f"wire {port}_go;", f"assign {ends[2]} = {port}_go & {ends[1]};"]
            held = (ends[0], f"{ends[1]} & ap_start", f"{port}_go")
        else:
            ends = (f"{port}_din", f"{port}_full_n", f"{port}_write")
            declared += [f"output  [{bits - 1}:0] {ends[0]};", f"input   {ends[1]};"]
            declared += [f"output   {ends[2]};"]
            body += [f"wire {port}_go;", f"assign {ends[2]} = {port}_go & {ends[1]};"]
            held = (ends[0], f"{port}_go", ends[1])
        names += ends
        axis = zip(("TDATA", "TVALID", "TREADY"), held, strict=True)
        pins += [f"    .{port}_{end}({signal})" for end, signal in axis]
    return _module(top, names, declared, body, pins)


def _module(
    top: str, names: Sequence[str], declared: Sequence[str], body: Sequence[str], pins: list[str]
) -> str:
    lines = ["`timescale 1 ns / 1 ps", "", f"module {top} ("]
    lines += [",\n".join(f"        {name}" for name in names), ");", "", *declared, "", *body]
    lines += [f"{INSIDE} {INSIDE}_U (", ",\n".join(pins), ");", "", f"endmodule //{top}", ""]
    return "\n".join(lines)
