"""Files of the Vivado project: the same scripts for all boards, and config.tcl with the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hwmoe.codegen.project import Project
from hwmoe.codegen.render import fixed, render
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import Board
from hwmoe.quant.numerics import FORMAT
from hwmoe.vendor import kernel
from hwmoe.vendor.families import Family, MemoryPort, families

BUILD, PACKAGE_XO = "vivado/build.tcl", "vivado/package_xo.tcl"
_COMMON = ("common.tcl", "package_ip.tcl")
_BLOCK_DESIGN = ("build.tcl", "design.tcl", "run.tcl")
_CARD = ("package_xo.tcl",)


def vivado_files(project: Project) -> dict[str, str]:
    """Path -> text; block design for a family with a PS, packaging of a kernel for cards."""
    family = families().get(project.board.family)
    names = (*_COMMON, *(_BLOCK_DESIGN if family else _CARD))
    files = {f"vivado/{name}": fixed(f"vivado/{name}") for name in names}
    files["vivado/config.tcl"] = render("vivado/config.tcl.j2", tcl=tcl, **_config(project, family))
    files[f"vivado/{kernel.WRAPPER}.v"] = render(
        f"vivado/{kernel.WRAPPER}.v.j2",
        banner=f"Rendered by hwmoe, number format {FORMAT}.",
        inside=kernel.NAME,
        top=kernel.WRAPPER,
        ports=_wrapper(project),
    )
    return files


def tcl(value: object) -> str:
    """One word of Tcl: a number or name as it is, a sequence as a list, other text in braces."""
    if isinstance(value, (list, tuple)):
        return "{" + " ".join(tcl(part) for part in value) + "}"
    text = str(value)
    plain = text and all(c.isalnum() or c in "_-.:/*" for c in text)
    if plain:
        return text
    if set(text) & set("{}\\"):
        raise ValueError(f"no braces or backslashes are expected in {text!r}")
    return "{" + text + "}"


def spread(
    masters: Sequence[str], board: Board, family: Family
) -> list[tuple[MemoryPort, list[str]]]:
    """Memory ports of the PS and the masters behind each, dealt in turn; as many as are needed."""
    count = min(len(masters), len(family.memory), board.axi.ports)
    return [(family.memory[i], list(masters[i::count])) for i in range(count)]


def _config(project: Project, family: Family | None) -> dict[str, Any]:
    board, ports = project.board, project.program.accelerator.ports
    masters = kernel.masters(ports.w_ports)
    config: dict[str, Any] = {
        "part": board.part,
        "board_part": board.board_part,
        "clock_mhz": f"{board.clock_mhz:g}",
        "vendor": kernel.VENDOR,
        "library": kernel.LIBRARY,
        "name": kernel.NAME,
        "version": kernel.VERSION,
        "top": kernel.WRAPPER,
        "masters": masters,
        "read_only": kernel.weight_masters(ports.w_ports),
        "control_range": kernel.CONTROL_RANGE,
        "sources": (f"vivado/{kernel.WRAPPER}.v", *project.rtl),
        "registers": list(_registers(project.program.accelerator)),
        "family": family,
    }
    if family:
        used = spread(masters, board, family)
        config["preset"] = [part for item in family.preset.items() for part in item]
        config["settings"] = list(_settings(board, family, len(used)))
        config["memory_ports"] = [(p.port, p.clock, p.segments, behind) for p, behind in used]
    return config


def _registers(acc: AcceleratorConfig) -> Iterator[tuple[str, str, int, str, str]]:
    for name, offset, register in kernel.words(acc):
        access = "read-write" if register.writable else "read-only"
        yield name, hex(offset), 32, access, f"register {register.name} of docs/machine.md"


def _settings(board: Board, family: Family, used: int) -> Iterator[tuple[str, object]]:
    """Parameters of the PS. Ports that are not used are switched off, whatever the preset says."""
    for name, value in family.settings.items():
        yield f"CONFIG.{name}", value
    yield f"CONFIG.{family.clock_setting}", f"{board.clock_mhz:g}"
    for index, port in enumerate(family.memory):
        yield f"CONFIG.{port.use}", int(index < used)
        if index < used:
            yield f"CONFIG.{port.width}", board.axi.width_bits


def _wrapper(project: Project) -> tuple[kernel.Port, ...]:
    ports = project.program.accelerator.ports
    return kernel.wrapper_ports(ports.port_bits, ports.w_ports)
