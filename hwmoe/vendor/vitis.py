"""Files of the Vitis flow: HLS by Tcl and by configuration file, and the link of a card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hwmoe.codegen.hls import TOP_SOURCES
from hwmoe.codegen.project import Project
from hwmoe.codegen.render import fixed, render
from hwmoe.codegen.rtl_axi import pointer_names, register_map
from hwmoe.dse.resources import cost_of
from hwmoe.plan.board import Board
from hwmoe.vendor import kernel
from hwmoe.vendor.families import ALVEO

HLS_TCL, HLS_CONFIG = "vitis/hls.tcl", "vitis/hls_config.cfg"
LINK, KERNEL_XML = "vitis/link.cfg", "vitis/kernel.xml"
ENGINES = ("linear", "attention")
"""Engines whose kernel is a project of its own, with streams alone and no block-level control. It
is of the Vivado flow for cards too: there a struct in a stream is padded to bytes, not to four of
them (UG1399, Structs on the Interface), as our benches have it."""
BENCH, CASE = "hls_bench.cpp", "hls_case.bin"
FLAGS = "-std=c++14"
SLR_SHARE = 0.7  # assumed: of an SLR, for the machine; the shell of the platform takes some too


def vitis_files(project: Project) -> dict[str, str]:
    """Path -> text; link and kernel description for cards only."""
    context = _context(project)
    files = {f"vitis/{BENCH}": fixed(f"vitis/{BENCH}")}
    names = [HLS_TCL, HLS_CONFIG]
    if project.board.family == ALVEO:
        names += [LINK, KERNEL_XML]
    files |= {name: render(f"{name}.j2", **context) for name in names}
    for engine in ENGINES:
        own = {"engine": engine, "top": f"hwmoe_{engine}", "source": f"hwmoe_{engine}.cpp"}
        for suffix in ("tcl", "cfg"):
            text = render(f"vitis/hls_engine.{suffix}.j2", **{**context, **own})
            files[f"vitis/hls_{engine}.{suffix}"] = text
    return files


def banks(board: Board, w_ports: int) -> list[tuple[str, str]]:
    """(argument, memory bank): what is behind one master is in one bank, masters in turn."""
    kind = "HBM" if board.memory.kind.startswith("HBM") else "DDR"
    number = {master: i for i, master in enumerate(kernel.masters(w_ports))}
    return [
        (name, f"{kind}[{number[master] % board.memory.channels}]")
        for name, master in kernel.master_of(w_ports).items()
    ]


def slr_of(project: Project) -> str:
    """SLR0, next to HBM or the first DDR (UG1120); none of a board of one SLR, or if it is full."""
    board = project.board
    if board.resources.slrs == 1:
        return ""
    cost = cost_of(project.program.accelerator, project.program.sizes)
    room = SLR_SHARE * board.resources.shares[0]
    own = board.resources
    fits = all(
        need <= room * there
        for need, there in ((cost.dsp, own.dsp), (cost.bram36, own.bram36), (cost.lut, own.lut))
    )
    return "SLR0" if fits else ""


def _context(project: Project) -> dict[str, Any]:
    board, ports = project.board, project.program.accelerator.ports
    card = board.family == ALVEO
    return {
        "title": board.title,
        "part": board.part,
        "platform": board.board_part,
        "clock_mhz": f"{board.clock_mhz:g}",
        "period": f"{1e3 / board.clock_mhz:.3f}",
        "top": kernel.NAME,
        "flow": "vitis" if card else "vivado",
        "format": "xo" if card else "ip_catalog",
        "flags": FLAGS,
        "sources": TOP_SOURCES,
        "bench": BENCH,
        "case": CASE,
        "vendor": kernel.VENDOR,
        "library": kernel.LIBRARY,
        "name": kernel.NAME,
        "version": kernel.VERSION,
        "vlnv": kernel.VLNV,
        "masters": kernel.masters(ports.w_ports),
        "port_bits": ports.port_bits,
        "control_range": kernel.CONTROL_RANGE,
        "args": list(_arguments(ports.w_ports)),
        "banks": banks(board, ports.w_ports),
        "slr": slr_of(project),
        "room": f"{SLR_SHARE:.0%}",
    }


def _arguments(w_ports: int) -> Iterator[dict[str, object]]:
    """Arguments of the kernel in the order of their registers: pointers, then n_images."""
    masters, pointers = kernel.master_of(w_ports), pointer_names(w_ports)
    for register in register_map(w_ports):
        if register.name in pointers:
            yield {
                "name": register.name,
                "qualifier": 1,
                "port": masters[register.name],
                "bytes": 8,
                "offset": register.offset,
                "type": "void*",
            }
        elif register.name == "n_images":
            yield {
                "name": register.name,
                "qualifier": 0,
                "port": kernel.CONTROL,
                "bytes": 4,
                "offset": register.offset,
                "type": "uint",
            }
