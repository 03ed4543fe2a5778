"""What runs of the stand-in machine (rtl/machine_standin.sv) are given, and what must come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import hwmoe
from hwmoe.sim.machine import Machine, MachineRun
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import MachineOptions, MachineSession
from hwmoe.sim.streams import ByteArray

_HERE = Path(__file__).parent / "rtl"
STANDIN = _HERE / "machine_standin.sv"
# The memories on chip are the machine's own: the bench looks into them.
_RTL = Path(hwmoe.__file__).parent / "templates" / "rtl" / "machine"
SOURCES = [
    STANDIN,
    _HERE / "machine_standin_ports.sv",
    *(_RTL / f"hwmoe_{name}.sv" for name in ("act_ram", "ram_bank", "round_robin")),
]
BEAT = 16
FREE = 1000.0  # bytes a cycle: no limit
READERS = ("params", "weights_0", "weights_1")
BEATS_AT, FAULT_AT, SUMS_AT = 0x300, 0x304, 0x310
ERROR_CODE = 0x200


def image_of(beats: int, beat: int = BEAT, read_only: bool = False, **sizes: int) -> MemoryImage:
    rng = np.random.default_rng(beats)
    parts: dict[str, ByteArray] = {"program": np.zeros(64, np.uint8)}
    for name in READERS:
        size = sizes.get(name, beats * beat)
        parts[name] = rng.integers(0, 256, size, dtype=np.uint8)
    parts["images"] = np.zeros(64, np.uint8)
    parts["results"] = np.full(sizes.get("results", beats * beat), 0x77, np.uint8)
    return MemoryImage.build(parts, () if read_only else ("results",))


def run(
    machine: Machine,
    beats: int,
    options: MachineOptions,
    fault: int = 0,
    image: MemoryImage | None = None,
    **more: object,
) -> MachineRun:
    setup = [(BEATS_AT, beats), (FAULT_AT, fault)]
    memory = image or image_of(beats)
    return machine.run(memory, 1, options, setup=setup, **more)  # type: ignore[arg-type]


def checksum(data: ByteArray, beat: int) -> int:
    total = 0
    for words in data.view("<u4").reshape(-1, beat // 4).tolist():
        fold = 0
        for word in words:
            fold = (fold << 1 | fold >> 31) & 0xFFFFFFFF ^ word
        total = (total << 1 | total >> 31) & 0xFFFFFFFF ^ fold
    return total


def written(beats: int, beat: int = BEAT) -> ByteArray:
    words = np.arange(beats)[:, None] + (np.arange(beat // 4)[None] << 24)
    data = words.astype("<u4").view(np.uint8)
    data[1::2, 5] = 0x77  # byte 5 of odd beats is not written
    return data.reshape(-1)


def sums_of(machine: Machine, beats: int, options: MachineOptions, image: MemoryImage) -> list[int]:
    """The checksums, by a session that is worked by hand."""
    with machine.open(image.copy(), options) as session:
        work(session, image, beats)
        return [session.read(SUMS_AT + 4 * port) for port in range(3)]


def start(session: MachineSession, image: MemoryImage, beats: int) -> None:
    """By hand, with the addresses of `image`."""
    for name, at in (("params", 0x1C), ("weights_0", 0x40), ("weights_1", 0x4C), ("results", 0x34)):
        address = image.region(name).address
        session.write(at, address & 0xFFFFFFFF)
        session.write(at + 4, address >> 32)
    session.write(BEATS_AT, beats)
    session.write(0x00, 1)


def work(session: MachineSession, image: MemoryImage, beats: int) -> None:
    """From start to end."""
    start(session, image, beats)
    assert session.wait(100_000, 60.0, poll_cycles=50) is None


def pattern(first_tick: int) -> tuple[ByteArray, ByteArray]:
    """What the vector engine leaves in act8 and y from a tick on: uint8 [32, bytes a word]."""
    tick, lane = np.arange(first_tick, first_tick + 32)[:, None], np.arange(8)[None]
    act8 = (tick * 3 + lane).astype(np.uint8)
    y = (0xAB00 + tick - lane * 257).astype("<u2").view(np.uint8)
    return act8, y
