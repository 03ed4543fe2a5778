"""Verilates the whole machine together with its bench into a shared library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hwmoe.codegen.render import fixed, render
from hwmoe.sim.library import (
    HARNESS,
    PortTable,
    build_library,
    check_ports,
    library_key,
    put_in_place,
    require_little_endian,
)
from hwmoe.sim.streams import RESET_CYCLES
from hwmoe.sim.verilator import check_sources

TOP = "hwmoe_top"
LIBRARY = "libmachine.so"
OPTIMIZE = "-O1"
"""Of g++ for the machine: -O3 compiles half as long again and simulates no faster."""
_HEADERS = ("state", "memory", "axi", "lite", "events", "capture")
# Unique: what is at power-up can be chosen for each run. Savable costs no speed: the code that runs
# every cycle stays the same.
_OPTIONS = ("--x-initial", "unique", "--savable", "machine.vlt")
# What the bench looks at inside. Read only: Verilator may still optimize what drives it.
_PUBLIC = f"""\
`verilator_config
public_flat_rd -module "{TOP}" -var "ev_*"
public_flat_rd -module "hwmoe_ram_bank" -var "mem"
"""

# Ports without their prefix: name -> bits; those of the second group run against the first.
_READ_REQUEST = {"araddr": 64, "arlen": 8, "arsize": 3, "arburst": 2, "arvalid": 1, "rready": 1}
_READ_ANSWER = {"arready": 1, "rresp": 2, "rlast": 1, "rvalid": 1}
_WRITE_REQUEST = {
    "awaddr": 64, "awlen": 8, "awsize": 3, "awburst": 2, "awvalid": 1, "wlast": 1, "wvalid": 1,
    "bready": 1,
}  # fmt: skip
_WRITE_ANSWER = {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1}
# In the order of LiteWires in machine_lite.hpp.
_LITE_REQUEST = {
    "awaddr": 16, "araddr": 16, "wdata": 32, "wstrb": 4, "awvalid": 1, "wvalid": 1, "bready": 1,
    "arvalid": 1, "rready": 1,
}  # fmt: skip
_LITE_ANSWER = {
    "rdata": 32, "bresp": 2, "rresp": 2, "awready": 1, "wready": 1, "bvalid": 1, "arready": 1,
    "rvalid": 1,
}  # fmt: skip
_LITE_ORDER = (
    "awaddr", "araddr", "wdata", "rdata", "wstrb", "bresp", "rresp", "awvalid", "awready", "wvalid",
    "wready", "bvalid", "bready", "arvalid", "arready", "rvalid", "rready",
)  # fmt: skip


def read_channels(w_ports: int) -> list[str]:
    """Prefixes of the ports that read, in the order in which the library counts them."""
    return ["m_axi_gmem", *(f"m_axi_w{port}" for port in range(w_ports))]


def build_machine(
    sources: Sequence[Path],
    port_bits: int,
    w_ports: int,
    build_dir: Path,
    optimize: str = "-O3",
    seconds: float = 3600.0,
) -> Path:
    """The library of the machine in `sources`, built if `build_dir` does not hold it yet.

    Files a source includes or reads by $readmemh are not part of the cache key. HwmoeError if it
    does not build or a port differs from docs/machine.md.
    """
    path = library_path(sources, port_bits, w_ports, build_dir, optimize)
    if not path.is_file():
        bench = bench_of(port_bits, w_ports)
        check = partial(_check, port_bits, w_ports)

        def fill(work: Path) -> None:
            build_library(work, LIBRARY, TOP, sources, bench, _OPTIONS, optimize, seconds, check)

        put_in_place(path.parent, LIBRARY, fill)
    return path


def library_path(
    sources: Sequence[Path], port_bits: int, w_ports: int, build_dir: Path, optimize: str = "-O3"
) -> Path:
    """Where the library of these sources is or will be."""
    require_little_endian()
    check_sources(sources)
    key = library_key(sources, bench_of(port_bits, w_ports), _OPTIONS, optimize)
    return build_dir.resolve() / f"{TOP}-{key}" / LIBRARY


def _check(port_bits: int, w_ports: int, found: PortTable) -> None:
    wanted = {"ap_clk": ("IN", 1), "ap_rst_n": ("IN", 1), "__SYM__interrupt": ("OUT", 1)}
    asked = {f"s_axi_control_{name}": bits for name, bits in _LITE_REQUEST.items()}
    wanted |= {name: ("IN", bits) for name, bits in asked.items()}
    wanted |= {f"s_axi_control_{name}": ("OUT", bits) for name, bits in _LITE_ANSWER.items()}
    data = {"rdata": port_bits}
    for prefix in read_channels(w_ports):
        wanted |= {f"{prefix}_{name}": ("OUT", bits) for name, bits in _READ_REQUEST.items()}
        for name, bits in (_READ_ANSWER | data).items():
            wanted[f"{prefix}_{name}"] = ("IN", bits)
    for name, bits in (_WRITE_REQUEST | {"wdata": port_bits, "wstrb": port_bits // 8}).items():
        wanted[f"m_axi_gmem_{name}"] = ("OUT", bits)
    wanted |= {f"m_axi_gmem_{name}": ("IN", bits) for name, bits in _WRITE_ANSWER.items()}
    extra = (name for name in found if name.endswith("_arvalid") and name not in wanted)
    check_ports(TOP, found, wanted, [f"  {name}: a port that was not named" for name in extra])


def bench_of(port_bits: int, w_ports: int) -> dict[str, str]:
    """Files of the C++ bench of such a machine, by name."""
    simulation = render(
        "sim/machine_simulation.hpp.j2",
        reset_cycles=RESET_CYCLES,
        port_bits=port_bits,
        w_ports=w_ports,
        reads=read_channels(w_ports),
        lite=_LITE_ORDER,
    )
    headers = {f"machine_{part}.hpp": fixed(f"sim/machine_{part}.hpp") for part in _HEADERS}
    headers |= {"machine_simulation.hpp": simulation, "machine.vlt": _PUBLIC}
    return {HARNESS: fixed("sim/machine_harness.cpp"), **headers}
