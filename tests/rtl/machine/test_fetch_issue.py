"""Tokens, instruction queue and the front of an engine, each under random traffic."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import pytest
from pin_bench import Built, Pins, bits

from hwmoe.codegen.render import sources
from hwmoe.sim.verilator import lint

FILES = ("hwmoe_tokens", "hwmoe_queue", "hwmoe_issue")
CLIPPED = 0x1234


def build(top: str, folder: Path, old: str = "", new: str = "") -> Built:
    """One of FILES; with `old`, a fault planted in its place."""
    files = sources("rtl/machine", FILES) | sources("rtl/lib", ("hwmoe_fifo",))
    if old:
        assert files[f"{top}.sv"].count(old) == 1
        files[f"{top}.sv"] = files[f"{top}.sv"].replace(old, new)
    return Built(top, write(folder / "rtl", files), folder / "build")


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def tokens_traffic(pins: Pins, seed: int) -> list[str]:
    """Random signals and pops; what differs from 25 plain counters."""
    rng, problems = random.Random(seed), []
    counts, overflow = [0] * 25, False
    for cycle in range(1500):
        if rng.random() < 0.01 or cycle == 0:
            counts = [rng.choice((0, 1, 2, 254, 255)) for _ in range(25)]
            pins["initial_counts"] = int.from_bytes(bytes(counts), "little")
            pins["load"] = 1
            pins["signal"] = pins["pop"] = 0
            pins.tick()
            pins["load"], overflow = 0, False
        avail = sum((count > 0) << p for p, count in enumerate(counts))
        pop = rng.getrandbits(25) & avail
        signal = rng.getrandbits(25) & rng.getrandbits(25)
        pins["pop"], pins["signal"] = pop, signal
        if (pins["avail"], pins["overflow"]) != (avail, overflow):
            problems.append(f"cycle {cycle}: avail {pins['avail']:b}, overflow {pins['overflow']}")
        overflow = False
        for p in range(25):
            change = (signal >> p & 1) - (pop >> p & 1)
            overflow |= counts[p] + change > 255
            counts[p] = min(255, counts[p] + change)
        pins.tick()
    return problems


class Front:
    """The world around `hwmoe_issue`: a queue, tokens that come, a core; and what must happen."""

    def __init__(self, pins: Pins, seed: int, count: int) -> None:
        self.pins, self.rng, self.problems = pins, random.Random(seed), list[str]()
        bits_of = self.rng.getrandbits
        self.todo = deque((self.rng.random() < 0.3, i, bits_of(512)) for i in range(count))
        self.avail = self.finished = 0
        self.shown = False  # the head of the queue
        self.running = self.took = False  # its tokens are taken; the core has it
        self.done: deque[tuple[int, int, int, int]] = deque()

    def claim(self, ok: bool, what: str) -> None:
        if not ok:
            self.problems.append(f"cycle {self.pins.cycle}: {what}")

    def cycle(self) -> None:
        pins, rng = self.pins, self.rng
        self.avail |= rng.getrandbits(5) & rng.getrandbits(5)
        self.shown = bool(self.todo) and (self.shown or rng.random() < 0.5)
        null, step, instr = self.todo[0] if self.shown else (False, 0xAAAA, rng.getrandbits(512))
        fin = self.took and rng.random() < 0.2
        stalled = self.took and rng.random() < 0.5
        pins["i_valid"] = self.shown
        pins["i_null"], pins["i_step"], pins["i_instr"] = null, step, instr
        pins["tok_avail"], pins["go_ready"] = self.avail, not self.took and rng.random() < 0.5
        pins["fin"], pins["core_stalled"], pins["fin_clipped"] = fin, stalled, CLIPPED * fin

        wait = instr >> 16 & 31
        begins = self.shown and not self.running and not wait & ~self.avail
        self.check(null, begins, wait if begins else 0, 2 + stalled)
        self.claim(pins["i_ready"] == (fin or (begins and null)), "queue is taken from")
        self.finish()

        self.avail &= ~(wait if begins else 0)
        self.took = self.took or bool(pins["go_valid"] and pins["go_ready"])
        self.running = self.running or (begins and not null)
        if fin or (begins and null):
            self.todo.popleft()
            self.done.append((null, step, instr >> 24 & 31, CLIPPED * fin))
            self.shown = self.running = self.took = False
        pins.tick()

    def check(self, null: bool, begins: bool, taken: int, working: int) -> None:
        """Tokens, start, state and what is offered to the core."""
        pins, claim = self.pins, self.claim
        claim(pins["tok_pop"] == taken, "tokens taken")
        claim(pins["start_valid"] == (begins and not null), "start")
        claim(not pins["start_valid"] or pins["start_step"] == pins["i_step"], "start step")
        state = working if self.running else 2 if begins else int(self.shown)
        claim(pins["state"] == state, f"state {pins['state']}, expected {state}")
        claim(pins["go_valid"] == (self.running and not self.took), "go")
        claim(not pins["go_valid"] or pins["go_instr"] == pins["i_instr"], "go_instr")

    def finish(self) -> None:
        """A report in the cycle after an instruction has left, and only then."""
        names = ("done_null", "done_step", "done_signal", "done_clipped")
        self.claim(self.pins["done_valid"] == bool(self.done), "done")
        if self.done:
            want = self.done.popleft()
            self.claim(tuple(self.pins[name] for name in names) == want, f"done, not {want}")
            self.finished += 1


def issue_traffic(pins: Pins, seed: int) -> list[str]:
    """Random instructions, tokens and core; breaches of the front's contract."""
    front = Front(pins, seed, count=80)
    for _ in range(4000):
        front.cycle()
    front.claim(front.finished == 80, f"{front.finished} of 80 done")
    return front.problems


def queue_traffic(pins: Pins, seed: int) -> list[str]:
    """Order, depth and data of the queue."""
    rng, problems = random.Random(seed), []
    inside: deque[tuple[int, int, int]] = deque()
    offered, most = None, 0
    for cycle in range(2000):
        if offered is None and rng.random() < 0.6:
            offered = (rng.getrandbits(1), rng.getrandbits(16), rng.getrandbits(512))
        pins["q_valid"] = offered is not None
        pins["q_null"], pins["q_step"], pins["q_instr"] = offered or (0, 0, 0)
        pins["i_ready"] = rng.random() < (0.2 if cycle < 1000 else 0.9)
        head = (pins["i_null"], pins["i_step"], pins["i_instr"])
        if pins["i_valid"] != bool(inside) or (inside and head != inside[0]):
            problems.append(f"cycle {cycle}: {pins['i_valid']}, {len(inside)} inside")
        if pins["i_valid"] and pins["i_ready"]:
            inside.popleft()
        if pins["q_valid"] and pins["q_ready"]:
            assert offered is not None
            inside.append(offered)
            offered = None
        most = max(most, len(inside))
        pins.tick()
    return problems if most == 8 else [*problems, f"{most} places"]


TRAFFIC = {
    "hwmoe_tokens": tokens_traffic,
    "hwmoe_issue": issue_traffic,
    "hwmoe_queue": queue_traffic,
}
FAULTS = {
    "tokens lost": ("hwmoe_tokens", "signal[p] & ~pop[p] & ~lost[p]", "signal[p] & ~lost[p]"),
    "one token is enough": ("hwmoe_issue", "((wanted & ~tok_avail) == '0)", "tok_avail != '0"),
    "null goes on": ("hwmoe_issue", "running ? fin : begins & i_null", "running ? fin : 1'b0"),
}


@pytest.mark.parametrize("top", TRAFFIC)
def test_random_traffic(top: str, tmp_path: Path) -> None:
    built = build(top, tmp_path)
    for seed in range(3):
        assert TRAFFIC[top](built.pins(seed), seed) == []


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    top, right, wrong = FAULTS[name]
    assert TRAFFIC[top](build(top, tmp_path, right, wrong).pins(), 1)


def test_queue_stores_only_what_the_engine_reads(tmp_path: Path) -> None:
    files = sources("rtl/machine", ("hwmoe_queue",)) | sources("rtl/lib", ("hwmoe_fifo",))
    built = Built("hwmoe_queue", write(tmp_path / "rtl", files), tmp_path / "build", {"BITS": 70})
    pins = built.pins()
    pins.tick()
    pins["q_valid"], pins["q_instr"] = 1, (1 << 512) - 1
    pins.tick()
    pins["q_valid"] = 0
    assert pins["i_valid"]
    assert bits(pins["i_instr"]) == list(range(70))


def test_lint(tmp_path: Path) -> None:
    files = sources("rtl/machine", FILES) | sources("rtl/lib", ("hwmoe_fifo",))
    paths = {path.stem: path for path in write(tmp_path / "rtl", files)}
    for top in FILES:
        assert lint([paths[top], paths["hwmoe_fifo"]][: 1 + (top == "hwmoe_queue")], top) == ""
