"""Verilog that Vitis HLS exported for a kernel, put into the compiled bench of our SystemVerilog.

Names of the ports are those of UG1399 (AXI4-Stream, FIFO and block-level interfaces): a stream
`p` is `p_TDATA`, `p_TVALID`, `p_TREADY`, or, as ap_fifo, `p_dout`, `p_empty_n`, `p_read` of an
input and `p_din`, `p_full_n`, `p_write` of an output.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwmoe.codegen.render import render
from hwmoe.errors import HwmoeError
from hwmoe.files import replacing
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.compiled_build import Ports
from hwmoe.sim.library import PortTable, ports_of

WRAPPER = "hwmoe_exported"
TEMPLATE = "sim/exported_kernel.sv.j2"
_SUFFIXES = (".v", ".sv")
_TABLE = re.compile(r'(\$readmem[hb]\s*\(\s*)"(?:\./)?([^"]+)"')
# Of ap_ctrl_hs and ap_ctrl_chain: started again and again, as a kernel of ours always runs.
_HIGH = {"ap_start": "1'b1", "ap_continue": "1'b1", "ap_ce": "1'b1"}
# Side channels of a stream of ap_axiu, which no kernel of ours reads: all bytes are there.
_SIDES = {"TKEEP": "'1", "TSTRB": "'1", "TLAST": "1'b0", "TUSER": "'0", "TID": "'0", "TDEST": "'0"}


@dataclass(frozen=True)
class Stream:
    """A stream of the bench; `fifo`: the exported module has it as ap_fifo."""

    port: str
    input: bool
    bits: int
    fifo: bool

    def pins(self) -> dict[str, str]:
        """Port of the exported module -> signal of the wrapper."""
        if not self.fifo:
            return {f"{self.port}_{end}": f"{self.port}_{end}" for end in _AXIS}
        if self.input:
            names = zip(_FIFO[True], _AXIS, strict=True)
            return {f"{self.port}_{own}": f"{self.port}_{axis}" for own, axis in names}
        return {f"{self.port}_{end}": f"{self.port}_{end}" for end in _FIFO[False]}


_AXIS = ("TDATA", "TVALID", "TREADY")
_FIFO = {True: ("dout", "empty_n", "read"), False: ("din", "write", "full_n")}  # by `input`


def exported_kernel(kernel: str, folder: Path, ports: Ports, build_dir: Path) -> CompiledKernel:
    """Module `kernel` of the Verilog below `folder`, compiled with our bench around it.

    `HwmoeError` with all that is wrong: no such module, ports that are missing, of another width
    or that nobody drives, tables that are not there.
    """
    files = localized(kernel, find_sources(kernel, folder), build_dir)
    found = module_ports(kernel, files, build_dir)
    wrapper = wrap(kernel, found, ports, folder)
    path = files[0].parent / f"{WRAPPER}.sv"
    with replacing(path) as beside:
        beside.write_text(wrapper)
    sources = [path, *files]
    return CompiledKernel(WRAPPER, sources, ports.inputs, ports.outputs, build_dir, optimize="-O1")


def find_sources(kernel: str, folder: Path) -> list[Path]:
    """All Verilog of the folder, anywhere below `folder`, that has `kernel`.v (or .sv)."""
    if not folder.is_dir():
        raise HwmoeError(f"{folder}: no such folder; give the one that Vitis HLS exported")
    places = sorted({p.parent for s in _SUFFIXES for p in folder.rglob(f"{kernel}{s}")})
    if not places:
        raise HwmoeError(
            f"{folder}: no {kernel}.v in it or below. It is in `syn/verilog` of the solution and in"
            " `hdl/verilog` of the exported zip, which has to be unpacked"
        )
    sets = {place: _verilog(place) for place in places}
    if len({_digest(files) for files in sets.values()}) > 1:
        raise HwmoeError(
            f"{folder}: several different {kernel}: {', '.join(map(str, places))}. Name one folder"
        )
    return sets[places[0]]


def localized(kernel: str, files: list[Path], build_dir: Path) -> list[Path]:
    """Copies of `files` in a folder of their own, named by content, whose tables are found from
    anywhere: Vitis writes $readmemh("./name.dat"), which is relative to where a simulator runs."""
    tables = sorted(p for p in files[0].parent.iterdir() if p.suffix == ".dat")
    home = build_dir.resolve() / f"{kernel}-exported-{_digest([*files, *tables])}"
    home.mkdir(parents=True, exist_ok=True)
    there, missing, copies = {table.name for table in tables}, [], []
    for table in tables:
        with replacing(home / table.name) as beside:
            beside.write_bytes(table.read_bytes())
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        names = [match[1] for match in _TABLE.findall(text)]
        missing += [f"  {name}, which {path.name} reads" for name in names if name not in there]
        with replacing(home / path.name) as beside:
            beside.write_text(_TABLE.sub(rf'\g<1>"{home}/\g<2>"', text))
        copies.append(home / path.name)
    if missing:
        raise HwmoeError(f"{files[0].parent}: tables are missing:\n" + "\n".join(missing))
    return copies


def module_ports(kernel: str, files: list[Path], build_dir: Path) -> PortTable:
    """As Verilator sees them; `HwmoeError` if the Verilog is not whole or not Verilog."""
    with tempfile.TemporaryDirectory(dir=build_dir) as work:
        return ports_of(Path(work), kernel, files)


def wrap(kernel: str, found: PortTable, ports: Ports, folder: Path) -> str:
    """SystemVerilog of the wrapper; `HwmoeError` with everything about `found` that is wrong."""
    groups = ((True, ports.inputs), (False, ports.outputs))
    streams = [
        Stream(port, is_input, 8 * width, fifo=_data(port, is_input) in found)
        for is_input, group in groups
        for port, width in group.items()
    ]
    pins = {"ap_clk": "ap_clk"}
    pins |= {"ap_rst": "!ap_rst_n"} if "ap_rst" in found else {"ap_rst_n": "ap_rst_n"}
    problems = [text for name in pins for text in _pin(name, found, ("IN", 1))]
    for stream in streams:
        problems += _stream(stream, found)
        pins |= stream.pins()
    pins |= _tied(found, {stream.port for stream in streams if stream.input})
    problems += [
        f"  {name}: an input that this bench does not drive"
        for name, (side, _) in found.items()
        if side == "IN" and name not in pins
    ]
    if problems:
        raise HwmoeError(
            f"{folder}: {kernel} does not fit the machine of this project:\n" + "\n".join(problems)
        )
    banner = "Rendered by hwmoe."
    context = {"banner": banner, "kernel": kernel, "top": WRAPPER, "streams": streams}
    return render(TEMPLATE, **context, pins=list(pins.items()))


def _data(port: str, is_input: bool) -> str:
    return f"{port}_{_FIFO[is_input][0]}"


def _stream(stream: Stream, found: PortTable) -> Iterator[str]:
    """What is wrong with the ports of a stream; one line if there are none at all."""
    if not stream.fifo and f"{stream.port}_TDATA" not in found:
        yield f"  {stream.port}: neither {stream.port}_TDATA nor {_data(stream.port, stream.input)}"
        return
    data, valid, back = _FIFO[stream.input] if stream.fifo else _AXIS
    forth, against = ("IN", "OUT") if stream.input else ("OUT", "IN")
    yield from _pin(f"{stream.port}_{data}", found, (forth, stream.bits))
    yield from _pin(f"{stream.port}_{valid}", found, (forth, 1))
    yield from _pin(f"{stream.port}_{back}", found, (against, 1))


def _pin(name: str, found: PortTable, wanted: tuple[str, int]) -> Iterator[str]:
    if (there := found.get(name)) != wanted:
        texts = [f"{p[0].lower()}put of {p[1]} bits" if p else "none" for p in (wanted, there)]
        yield f"  {name}: expected {texts[0]}, found {texts[1]}"


def _tied(found: PortTable, inputs: set[str]) -> Mapping[str, str]:
    """Inputs that get a constant."""
    tied = {name: value for name, value in _HIGH.items() if name in found}
    for port in sorted(inputs):
        sides = ((f"{port}_{side}", value) for side, value in _SIDES.items())
        tied |= {name: value for name, value in sides if name in found}
    return tied


def _verilog(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.suffix in _SUFFIXES)


def _digest(files: list[Path]) -> str:
    key = hashlib.sha256()
    for path in files:
        key.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return key.hexdigest()[:16]
