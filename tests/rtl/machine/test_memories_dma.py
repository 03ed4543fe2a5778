"""The load and store engines between a DMA channel and an activation memory, at random pace."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from dma_model import Memory, ReadChannel
from pin_bench import Built, Pins
from some import mostly_slow

from hwmoe.codegen.render import sources
from hwmoe.plan.packing import ceil_div
from hwmoe.sim.verilator import lint

IMAGES, PARAMS, RESULTS = 0x1_0000_1000, 0x7_0000_2000, 0x2_0003_0000
IMAGE_BYTES, LOGIT_BYTES = 4096, 256
LIMIT = 20_000  # cycles of an instruction
WORDS = 64  # of a memory that is stored
# lanes, port bits: beats narrower than a word of int8, between, wider than a word of int16
WIDTHS = [(16, 64), (8, 64), (16, 128), (8, 128), (8, 512), (16, 256)]


def build(
    engine: str, lanes: int, port_bits: int, folder: Path, old: str = "", new: str = ""
) -> Built:
    top = f"hwmoe_{engine}_engine"
    paths = write(folder / "rtl", top)
    if old:
        assert paths[0].read_text().count(old) == 1
        paths[0].write_text(paths[0].read_text().replace(old, new))
    return Built(top, paths, folder / "build", {"LANES": lanes, "PORT_BITS": port_bits})


def write(folder: Path, top: str) -> list[Path]:
    folder.mkdir(parents=True)
    for name, text in sources("rtl/machine", (top, "hwmoe_gearbox")).items():
        (folder / name).write_text(text)
    return [folder / f"{top}.sv", folder / "hwmoe_gearbox.sv"]


def run_start(pins: Pins, **pointers: int) -> None:
    for name, value in pointers.items():
        pins[name] = value
    pins["run_start"] = 1
    pins.tick()
    pins["run_start"] = 0


def load(pins: Pins, lanes: int, port_bits: int, pace: float, seed: int) -> list[str]:
    """Random loads; what they do not write as they should."""
    rng, data = random.Random(seed), np.random.default_rng(seed)
    memory = Memory({IMAGES: data.bytes(20 * IMAGE_BYTES), PARAMS: data.bytes(1 << 16)})
    channel = ReadChannel(pins, memory, port_bits, rng, pace)
    run_start(pins, images=IMAGES, params=PARAMS, image_bytes=IMAGE_BYTES)
    problems, image = [], 0
    for index in range(16):
        const = rng.random() < 0.5
        dst, words = rng.randrange(1000), rng.choice((0, 1, 2, 3, 5, 16, 17))
        at = 16 * rng.randrange(100)
        size = 2 * lanes if const else lanes
        source = PARAMS + 4 * at if const else IMAGES + image * IMAGE_BYTES + 64
        want = [(dst + i, memory.read(source + i * size, size)) for i in range(words)]
        image += not const
        got = one_load(pins, channel, rng, pace, (const, dst, words, at), size)
        if got != [(const, address, word) for address, word in want]:
            problems.append(f"load {index}: {words} words of {'res' if const else 'act8'}")
        if channel.beats:
            problems.append(f"load {index}: {len(channel.beats)} beats are left")
    return problems


def one_load(
    pins: Pins,
    channel: ReadChannel,
    rng: random.Random,
    pace: float,
    fields: tuple[bool, int, int, int],
    size: int,
) -> list[tuple[bool, int, bytes]]:
    """What is written: to res or not, address, word."""
    got, taken = [], False
    for name, value in zip(("go_const", "go_dst", "go_words", "go_params"), fields, strict=True):
        pins[name] = value
    for _ in range(LIMIT):
        pins["go_valid"] = not taken
        pins["act8_ready"], pins["res_ready"] = rng.random() < pace, rng.random() < pace
        channel.drive()
        taken = taken or bool(pins["go_ready"])
        for memory in ("act8", "res"):
            if pins[f"{memory}_valid"] and pins[f"{memory}_ready"]:
                word = pins[f"{memory}_data"].to_bytes(size, "little")
                got.append((memory == "res", pins["w_addr"], word))
        fin = pins["fin"]
        channel.sample()
        pins.tick()
        if fin:
            return got
    raise AssertionError("the load does not end")


def store(pins: Pins, lanes: int, port_bits: int, pace: float, seed: int) -> list[str]:
    """Random stores, several an image; what does not arrive as it should."""
    rng, data = random.Random(seed), np.random.default_rng(seed)
    memories = {
        name: data.integers(-(1 << 15), 1 << 15, (WORDS, lanes), np.int16) for name in ("y", "res")
    }
    run_start(pins, results=RESULTS, logit_bytes=LOGIT_BYTES)
    problems, image = [], 0
    sizes = [0, 1, lanes, lanes + 1, 10, 100, 33, 8 * lanes, WORDS * lanes, 0]
    for index, n_out in enumerate(sizes):
        name = rng.choice(("y", "res"))
        src = rng.randrange(WORDS - ceil_div(n_out, lanes) + 1)
        last, offset = bool(index % 3), 64 * rng.choice((0, 1, 5, (1 << 26) - 1))
        size = port_bits // 8
        beats = ceil_div(2 * n_out, size)
        values = memories[name][src:].reshape(-1)[:n_out].astype("<i2").tobytes()
        want = values.ljust(beats * size, b"\0")
        fields = {
            "go_src": src, "go_n_out": n_out, "go_offset": offset,
            "go_res": name == "res", "go_last": last,
        }  # fmt: skip
        commands, got, ended = one_store(pins, memories, rng, pace, fields, size)
        at = RESULTS + image * LOGIT_BYTES + offset
        if (commands, got, ended) != ([(at, beats)][: n_out > 0], want, last):
            problems.append(f"store {index}: {n_out} values from {name} {src}: {commands}")
        image += last
    return problems


class WordPort:
    """A read port of an activation memory: words come 3 cycles after they are asked for."""

    def __init__(
        self, pins: Pins, name: str, words: npt.NDArray[np.int16], rng: random.Random, pace: float
    ) -> None:
        self.pins, self.name, self.words, self.rng, self.pace = pins, name, words, rng, pace
        self.due: dict[int, int] = {}

    def drive(self, cycle: int) -> None:
        address = self.due.pop(cycle, None)
        junk = self.rng.randbytes(2 * self.words.shape[1])
        word = junk if address is None else self.words[address].tobytes()
        self.pins[f"{self.name}_ready"] = self.rng.random() < self.pace
        self.pins[f"{self.name}_dvalid"] = address is not None
        self.pins[f"{self.name}_data"] = int.from_bytes(word, "little")

    def sample(self, cycle: int) -> None:
        if self.pins[f"{self.name}_valid"] and self.pins[f"{self.name}_ready"]:
            self.due[cycle + 3] = self.pins["r_addr"]


def one_store(
    pins: Pins,
    memories: Mapping[str, npt.NDArray[np.int16]],
    rng: random.Random,
    pace: float,
    fields: Mapping[str, int],
    size: int,
) -> tuple[list[tuple[int, int]], bytes, bool]:
    """Commands, beats, and whether the image is done; the response comes late, and `fin` must wait
    for it."""
    for name, value in fields.items():
        pins[name] = value
    commands: list[tuple[int, int]] = []
    got, taken = b"", False
    ports = [WordPort(pins, name, memory, rng, pace) for name, memory in memories.items()]
    answer = 0  # cycles until the response
    for cycle in range(LIMIT):
        pins["go_valid"] = not taken
        for name in ("c_ready", "s_ready"):
            pins[name] = rng.random() < pace
        for port in ports:
            port.drive(cycle)
        pins["response"] = answer == 1
        answer = max(0, answer - 1)
        taken = taken or bool(pins["go_ready"])
        for port in ports:
            port.sample(cycle)
        if pins["c_valid"] and pins["c_ready"]:
            commands.append((pins["c_addr"], pins["c_len"]))
        if pins["s_valid"] and pins["s_ready"]:
            got += pins["s_data"].to_bytes(size, "little")
            if len(got) == commands[0][1] * size:
                answer = rng.randrange(2, 20)
        fin, ended, early = pins["fin"], bool(pins["image_done"]), answer > 0
        assert fin or not ended
        pins.tick()
        if fin:
            assert not early
            return commands, got, ended
    raise AssertionError("the store does not end")


ENGINES = {"load": load, "store": store}


@pytest.mark.parametrize("widths", mostly_slow(WIDTHS, [(16, 64), (8, 512)]))
@pytest.mark.parametrize("engine", ENGINES)
def test_random_instructions(engine: str, widths: tuple[int, int], tmp_path: Path) -> None:
    lanes, port_bits = widths
    built = build(engine, lanes, port_bits, tmp_path)
    for seed, pace in enumerate((0.3, 0.7, 1.0)):
        assert ENGINES[engine](built.pins(seed), lanes, port_bits, pace, seed) == []


def test_load_is_as_fast_as_its_port(tmp_path: Path) -> None:
    """A word of act8 a cycle when a beat is a word."""
    pins = build("load", 16, 128, tmp_path).pins()
    rng = random.Random(1)
    memory = Memory({IMAGES: bytes(IMAGE_BYTES)})
    run_start(pins, images=IMAGES, image_bytes=IMAGE_BYTES)
    before = pins.cycle
    one_load(pins, ReadChannel(pins, memory, 128, rng, 1.0), rng, 1.0, (False, 0, 200, 0), 16)
    assert pins.cycle - before <= 200 + 6


@pytest.mark.parametrize("speed", mostly_slow([(8, 5), (16, 5), (64, 16)], [(64, 16)]))
def test_store_is_as_fast_as_reads_and_port(speed: tuple[int, int], tmp_path: Path) -> None:
    """A word in 5 cycles, or in as many as it has beats."""
    lanes, cycles = speed
    pins = build("store", lanes, 64, tmp_path).pins()
    words = np.zeros((WORDS, lanes), np.int16)
    run_start(pins, results=RESULTS, logit_bytes=LOGIT_BYTES)
    before = pins.cycle
    one_store(pins, {"y": words, "res": words}, random.Random(1), 1.0, {"go_n_out": words.size}, 8)
    assert WORDS * cycles <= pins.cycle - before <= WORDS * cycles + 30


# engine, lanes, port bits, right text, wrong text
FAULTS = {
    "padding": ("store", 16, 128, "full | (rest > (LANE_BITS + 1)'(l))", "1'b1"),
    "the memory": ("store", 16, 128, "from_res ? res_data : y_data", "y_data"),
    "the offset": ("store", 16, 128, "result + 64'(go_offset)", "result"),
    "every store an image": ("store", 16, 128, "fin & ends_image", "fin"),
    "few values": ("store", 8, 64, "values     <= go_n_out", "values <= 32'(go_n_out[7:0])"),
    "the next image": ("load", 8, 128, "image + 64'(image_bytes)", "image"),
    "half a word": ("load", 8, 64, "{unit, low}", "{low, unit}"),
}

QUICK_FAULTS = ("padding", "the offset", "the next image")


@pytest.mark.parametrize("name", mostly_slow(FAULTS, QUICK_FAULTS))
def test_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    engine, lanes, port_bits, right, wrong = FAULTS[name]
    built = build(engine, lanes, port_bits, tmp_path, right, wrong)
    assert ENGINES[engine](built.pins(), lanes, port_bits, 0.8, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_lint(engine: str, tmp_path: Path) -> None:
    for lanes, port_bits in WIDTHS:
        folder = tmp_path / f"{lanes}_{port_bits}"
        paths = write(folder, f"hwmoe_{engine}_engine")
        text = paths[0].read_text().replace("LANES = 16", f"LANES = {lanes}")
        paths[0].write_text(text.replace("PORT_BITS = 128", f"PORT_BITS = {port_bits}"))
        assert lint(paths, f"hwmoe_{engine}_engine") == ""
