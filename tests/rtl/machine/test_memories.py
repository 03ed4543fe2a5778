"""The activation memory under random traffic, against a model that knows when a write counts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from pin_bench import Built, bits

from hwmoe.codegen.render import sources
from hwmoe.sim.verilator import lint
from hwmoe.synth.yosys import synthesize

TOP = "hwmoe_act_ram"
FILES = ("hwmoe_act_ram", "hwmoe_ram_bank", "hwmoe_round_robin")
LATENCY = 3  # from a grant to its data
VISIBLE = 2  # from a write to a read that sees it


@dataclass(frozen=True)
class Shape:
    """Parameters of the module."""

    LANE_W: int
    LANES: int
    GRAIN: int
    DEPTH: int
    READERS: int
    WRITERS: int

    @property
    def lanes_mask(self) -> int:
        return (1 << self.LANE_W * self.GRAIN) - 1


SHAPES = {
    "act8": Shape(8, 16, 4, 40, 1, 4),
    "heads": Shape(8, 8, 8, 17, 2, 1),
    "res": Shape(16, 8, 8, 32, 2, 2),
    "y": Shape(16, 8, 1, 5, 3, 1),
}


def files(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources("rtl/machine", FILES).items():
        (folder / name).write_text(text)
    return [folder / f"{name}.sv" for name in FILES]


class Traffic:
    """Random requests; a requester holds its request until it is granted."""

    def __init__(self, shape: Shape, built: Built, seed: int, load: float, beyond: bool = False):
        self.shape, self.pins, self.load = shape, built.pins(seed), load
        self.rng = random.Random(seed)
        self.top = shape.DEPTH + (2 if beyond else 0)
        self.reads: list[int | None] = [None] * shape.READERS
        self.writes: list[tuple[int, int, int] | None] = [None] * shape.WRITERS
        self.words = [0] * shape.DEPTH
        self.written = [-VISIBLE] * shape.DEPTH
        self.due: dict[int, tuple[int, int, int | None]] = {}  # cycle -> reader, address, word
        self.faults: dict[int, set[int]] = {}
        self.waited: dict[tuple[str, int], int] = {}
        self.problems: list[str] = []
        self.compared = 0
        for address in range(shape.DEPTH):  # so that every word is known
            self.writes[0] = (address, self.full_mask(), self.word())
            while self.writes[0]:
                self.cycle(quiet=True)

    def full_mask(self) -> int:
        return (1 << self.shape.LANES // self.shape.GRAIN) - 1

    def word(self) -> int:
        return self.rng.getrandbits(self.shape.LANE_W * self.shape.LANES)

    def cycle(self, quiet: bool = False) -> None:
        s, pins, rng = self.shape, self.pins, self.rng
        if not quiet:
            for r in range(s.READERS):
                if self.reads[r] is None and rng.random() < self.load:
                    self.reads[r] = rng.randrange(self.top)
            for w in range(s.WRITERS):
                if self.writes[w] is None and rng.random() < self.load:
                    mask = rng.getrandbits(s.LANES // s.GRAIN)
                    self.writes[w] = (rng.randrange(self.top), mask, self.word())
        self.drive()
        self.check_data()
        self.take("read", pins["r_ready"], [r is not None for r in self.reads])
        self.take("write", pins["w_ready"], [w is not None for w in self.writes])
        pins.tick()

    def drive(self) -> None:
        s, pins = self.shape, self.pins
        word, banks = s.LANE_W * s.LANES, s.LANES // s.GRAIN
        pins["r_valid"] = sum(1 << r for r, a in enumerate(self.reads) if a is not None)
        pins["r_addr"] = sum((a or 0) << 16 * r for r, a in enumerate(self.reads))
        packed = [(0, 0, 0) if w is None else w for w in self.writes]
        pins["w_valid"] = sum(1 << w for w, x in enumerate(self.writes) if x is not None)
        pins["w_addr"] = sum(x[0] << 16 * w for w, x in enumerate(packed))
        pins["w_mask"] = sum(x[1] << banks * w for w, x in enumerate(packed))
        pins["w_data"] = sum(x[2] << word * w for w, x in enumerate(packed))

    def check_data(self) -> None:
        pins, now = self.pins, self.pins.cycle
        reader, _, want = self.due.pop(now, (None, 0, None))
        if pins["d_valid"] != (0 if reader is None else 1 << reader):
            self.problems.append(f"cycle {now}: d_valid {pins['d_valid']:b}, expected {reader}")
        elif want is not None:
            self.compared += 1
            if pins["d_data"] != want:
                self.problems.append(f"cycle {now}: {pins['d_data']:x} instead of {want:x}")
        wrong = self.faults.pop(now, set())
        if pins["fault"] != bool(wrong) or (wrong and pins["fault_addr"] not in wrong):
            self.problems.append(f"cycle {now}: fault {pins['fault']}, expected {wrong}")

    def take(self, kind: str, granted: int, asked: list[bool]) -> None:
        """At most one grant, one whenever somebody asks, and nobody is passed over for long."""
        got = bits(granted)
        if len(got) != any(asked) or any(not asked[i] for i in got):
            self.problems.append(f"cycle {self.pins.cycle}: {kind} {asked} granted {got}")
        for i, here in enumerate(asked):
            waits = self.waited.get((kind, i), 0) + 1 if here and i not in got else 0
            self.waited[kind, i] = waits
            if waits >= len(asked):
                self.problems.append(f"cycle {self.pins.cycle}: {kind} {i} waits {waits} cycles")
        for i in got:
            (self.do_read if kind == "read" else self.do_write)(i)

    def do_read(self, reader: int) -> None:
        address, now = self.reads[reader], self.pins.cycle
        assert address is not None
        self.reads[reader] = None
        known = None
        if address >= self.shape.DEPTH:
            self.faults.setdefault(now + 2, set()).add(address)
        elif now - self.written[address] >= VISIBLE:
            known = self.words[address]
        self.due[now + LATENCY] = (reader, address, known)

    def do_write(self, writer: int) -> None:
        written, now = self.writes[writer], self.pins.cycle
        assert written is not None
        self.writes[writer] = None
        address, mask, data = written
        if address >= self.shape.DEPTH:
            self.faults.setdefault(now + 2, set()).add(address)
            return
        bank = self.shape.LANE_W * self.shape.GRAIN
        lanes = sum(self.shape.lanes_mask << bank * b for b in bits(mask))
        self.words[address] = self.words[address] & ~lanes | data & lanes
        self.written[address] = now
        reader, read, _ = self.due.get(now + LATENCY, (0, -1, None))
        if read == address:  # in the same cycle: not defined
            self.due[now + LATENCY] = (reader, read, None)

    def run(self, cycles: int) -> list[str]:
        for _ in range(cycles):
            self.cycle()
        return self.problems


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memories")


def build(name: str, folder: Path, old: str = "", new: str = "") -> Built:
    """The memory of SHAPES[name]; with `old`, a fault planted in its place."""
    paths = files(folder / "rtl")
    if old:
        hits = [path for path in paths if old in path.read_text()]
        assert len(hits) == 1
        hits[0].write_text(hits[0].read_text().replace(old, new))
    return Built(TOP, paths, folder / "build", vars(SHAPES[name]))


@pytest.mark.parametrize("name", SHAPES)
def test_random_traffic(name: str, folder: Path) -> None:
    built = build(name, folder / name)
    for seed, load in enumerate((0.2, 0.7, 1.0)):
        traffic = Traffic(SHAPES[name], built, seed, load)
        assert traffic.run(1500) == []
        assert traffic.compared > 150
    assert Traffic(SHAPES[name], built, 9, 0.5, beyond=True).run(1500) == []


# what is wrong -> memory, right text, wrong text
FAULTS = {
    "mask ignored": ("act8", " & mask_1[b]", ""),
    "beyond the end is written": ("res", " & ~write_out", ""),
    "a cycle early": ("heads", "rdata <= raw;", "rdata <= mem[raddr];"),
    "always the first": ("y", "(later != '0) ? later : request", "request"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    memory, right, wrong = FAULTS[name]
    built = build(memory, tmp_path, right, wrong)
    assert Traffic(SHAPES[memory], built, 1, 0.6, beyond=True).run(1500)


@pytest.mark.parametrize("name", SHAPES)
def test_lint(name: str, tmp_path: Path) -> None:
    wrapped = files(tmp_path)
    text = wrapped[0].read_text()
    for parameter, value in vars(SHAPES[name]).items():
        head, tail = text.split(f"parameter int {parameter} = ", 1)
        text = (
            f"{head}parameter int {parameter} = {value}{tail[len(tail.split()[0].rstrip(',')) :]}"
        )
    wrapped[0].write_text(text)
    assert lint(wrapped, TOP) == ""


def test_banks_are_block_ram(tmp_path: Path) -> None:
    """16 lanes of int8 in two banks of 64 bits, 512 deep: a block of 36 Kbit each."""
    used = synthesize(files(tmp_path / "rtl"), TOP, tmp_path / "yosys", luts=False)
    assert used.total.ramb36 == 2
    assert used.total.ramb18 == used.total.lutram == used.total.latch == 0
