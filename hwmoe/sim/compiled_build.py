"""Verilates a module together with the C++ bench for its streams into a shared library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwmoe.codegen.render import render
from hwmoe.sim.library import HARNESS, PortTable, build_library, check_ports, library_key
from hwmoe.sim.streams import DRAIN_CYCLES, POISON, RESET_CYCLES

LIBRARY = "libstream.so"
TEMPLATE = "sim/stream_harness.cpp.j2"
_OPTIONS = ("--x-initial", "fast")


@dataclass(frozen=True)
class Ports:
    """Bytes a beat of every stream, by port."""

    inputs: dict[str, int]
    outputs: dict[str, int]

    def names(self) -> list[str]:
        """All ports in the order in which the library counts them."""
        return [*self.inputs, *self.outputs]


def digest(top: str, sources: Sequence[Path], ports: Ports, optimize: str) -> str:
    """Key of the build: sources, bench, flags, versions and the processor compiled for."""
    return library_key(sources, _bench(top, ports), _OPTIONS, optimize)


def build(
    work: Path, top: str, sources: Sequence[Path], ports: Ports, optimize: str, seconds: float
) -> None:
    """Put LIBRARY into the empty folder `work`; `seconds` is allowed to each of the two steps."""

    def check(found: PortTable) -> None:
        check_streams(top, found, ports)

    bench = _bench(top, ports)
    build_library(work, LIBRARY, top, sources, bench, _OPTIONS, optimize, seconds, check)


def check_streams(top: str, found: PortTable, ports: Ports) -> None:
    """HwmoeError if the streams of the verilated module are not `ports`."""
    wanted = {"ap_clk": ("IN", 1), "ap_rst_n": ("IN", 1)}
    for forth, back, group in (("IN", "OUT", ports.inputs), ("OUT", "IN", ports.outputs)):
        for port, width in group.items():
            wanted[f"{port}_TDATA"] = (forth, 8 * width)
            wanted[f"{port}_TVALID"] = (forth, 1)
            wanted[f"{port}_TREADY"] = (back, 1)
    extra = (name for name in found if name.endswith("_TVALID") and name not in wanted)
    check_ports(top, found, wanted, [f"  {name}: a stream that was not named" for name in extra])


def _bench(top: str, ports: Ports) -> dict[str, str]:
    text = render(
        TEMPLATE,
        top=top,
        inputs=list(ports.inputs.items()),
        outputs=list(ports.outputs.items()),
        reset_cycles=RESET_CYCLES,
        drain_cycles=DRAIN_CYCLES,
        poison=POISON,
    )
    return {HARNESS: text}
