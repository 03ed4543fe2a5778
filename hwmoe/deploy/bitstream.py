"""What configures the device: a bitstream that was built, or a placeholder for simulation."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from hwmoe.codegen.project import Project
from hwmoe.deploy.hwh import hardware_description
from hwmoe.errors import HwmoeError
from hwmoe.vendor.kernel import INSTANCE, VLNV

_MAGIC = {".bit": b"\x00\x09\x0f\xf0", ".xclbin": b"xclbin2\x00"}
_SUFFIX = {"pynq": ".bit", "xrt": ".xclbin"}
_SIMULATION = "made by hwmoe for simulation"
_KIND = {".bit": "vivado", ".xclbin": "vitis"}


@dataclass(frozen=True)
class Bitstream:
    """`kind`: simulation, vivado or vitis. `description`: the .hwh, for PYNQ. `instance`: the name
    of `hwmoe_top` in the design. `source`: rtl, or hls, whose registers are fewer."""

    kind: str
    suffix: str
    data: bytes
    description: str | None
    instance: str = INSTANCE
    source: str = "rtl"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def for_simulation(project: Project) -> Bitstream:
    """Bytes that no device takes, another for every project: PYNQ tells designs apart by them."""
    board = project.board
    pynq = board.runtime == "pynq"
    description = hardware_description(project.program, board) if pynq else None
    text = f"{_SIMULATION}\nboard {board.name}\nproject {project.digest}\n"
    if description is not None:
        text += f"description {hashlib.sha256(description.encode()).hexdigest()}\n"
    data = _bit_file(board.part, text) if pynq else text.encode()
    return Bitstream("simulation", _SUFFIX[board.runtime], data, description)


def read_bitstream(project: Project, path: Path) -> Bitstream:
    """A .bit with its .hwh beside it, or an .xclbin; `HwmoeError` if it is not for the board."""
    suffix = _SUFFIX[project.board.runtime]
    if path.suffix != suffix:
        raise HwmoeError(f"{path}: board {project.board.name} takes a {suffix} file")
    data = _read(path)
    if not data.startswith(_MAGIC[suffix]):
        raise HwmoeError(f"{path}: does not begin as a {suffix} file does")
    if _SIMULATION.encode() in data:
        raise HwmoeError(f"{path}: {_SIMULATION}; give one that Vivado or Vitis has built")
    if suffix != ".bit":
        return Bitstream(_KIND[suffix], suffix, data, None)
    beside = path.with_suffix(".hwh")
    try:
        description = _read(beside).decode()
        top = _top(ElementTree.fromstring(description))
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise HwmoeError(f"{beside}: not a hardware description of Vivado ({error})") from None
    if top is None:
        raise HwmoeError(f"{beside}: the design has no {VLNV} at its top")
    instance = top.get("FULLNAME", "").lstrip("/")
    return Bitstream(_KIND[suffix], suffix, data, description, instance, _source(top))


def _bit_file(part: str, text: str) -> bytes:
    """`text` laid out as a .bit, since PYNQ.remote takes one apart before it sends it."""
    values = (f"{_SIMULATION};Version=0", part, "1980/01/01", "00:00:00")
    fields = b"".join(
        tag + struct.pack(">H", len(value) + 1) + value.encode() + b"\0"
        for tag, value in zip((b"a", b"b", b"c", b"d"), values, strict=True)
    )
    data = text.encode() + b"\n" * (-len(text) % 4)
    start = _MAGIC[".bit"] + b"\x0f\xf0" * 3 + b"\0" + struct.pack(">H", 1)
    return start + fields + b"e" + struct.pack(">I", len(data)) + data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HwmoeError(f"{path}: cannot be read ({error.strerror})") from None


def _top(design: ElementTree.Element) -> ElementTree.Element | None:
    """The first `hwmoe_top`, if it is inside no other block."""
    for module in design.iter("MODULE"):
        if module.get("VLNV") == VLNV:
            name = module.get("FULLNAME", "").lstrip("/")
            return module if name and "/" not in name else None
    return None


def _source(top: ElementTree.Element) -> str:
    """Vitis HLS describes the registers of its IP, and there is no digest of the machine there."""
    names = [register.get("NAME", "") for register in top.iter("REGISTER")]
    return "hls" if names and not any(name.startswith("digest") for name in names) else "rtl"
