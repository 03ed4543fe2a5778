"""What FETCH must do with a program, and one run of it with all that is around it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from dma_model import Memory, ReadChannel
from pin_bench import Pins, bits

from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig, PortsConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import MachineSizes
from hwmoe.plan.tokens import pack_counters

SIZES = MachineSizes(64, 64, 66, 64, 4, 16, 40, 100)
PROGRAM, PARAMS, IMAGES = 0x1_0000_1000, 0x7_0000_2000, 0x2_0003_0000
LANES = 16
RESULT_BYTES = 512  # of an image
LIMIT = 100_000  # cycles of a run


def config(port_bits: int) -> AcceleratorConfig:
    linear = LinearConfig(t_in=LANES, t_out=16, w_rows=4)
    return AcceleratorConfig(
        linear=linear, ports=PortsConfig(port_bits=port_bits, w_ports=512 // port_bits)
    )


ENGINES = len(config(64).engines)


def word(op: str, **given: int) -> bytes:
    """An instruction; fields that are not given are 0."""
    isa = instruction_set()
    row = isa.encode(op, dict.fromkeys(isa.formats[op].fields, 0) | given)
    return b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in row)


@dataclass
class Job:
    """A program with its images; tasks: of each image."""

    body: list[tuple[str, dict[str, int]]]
    tasks: list[int]
    stages: int = 1
    image_bytes: int = 128
    counts: list[int] = field(default_factory=lambda: [0] * ENGINES**2)
    loop: dict[str, int] = field(default_factory=dict)  # instead of what is right
    raw: dict[int, bytes] = field(default_factory=dict)  # instructions that cannot be encoded

    def program(self) -> bytes:
        given = {
            "steps": len(self.body),
            "stages": self.stages,
            "image_bytes": self.image_bytes,
            "logit_bytes": RESULT_BYTES,
        }
        body = [self.raw.get(i, word(op, **f)) for i, (op, f) in enumerate(self.body)]
        return b"".join(
            [
                self.raw.get(-1, word("loop", **given, **pack_counters(self.counts) | self.loop)),
                *body,
            ]
        )

    def memory(self) -> Memory:
        records = [task.to_bytes(4, "little") + b"\xa5" * 252 for task in self.tasks]
        images = b"".join(record[: self.image_bytes] for record in records)
        return Memory({PROGRAM: self.program(), IMAGES: images})

    def expected(self) -> list[tuple[int, int, int]]:
        """(engine, step, null) of all that is dispatched."""
        isa, found = instruction_set(), []
        for n in range(len(self.tasks) + self.stages - 1 if self.tasks else 0):
            for step, (op, given) in enumerate(self.body):
                image = n - given["stage"]
                live = 0 <= image < len(self.tasks)
                null = not live or not given["tasks"] >> self.tasks[image] & 1
                found.append((isa.engines.index(isa.formats[op].engine), step, int(null)))
        return found


class Run:
    """One run of FETCH: queues and the LayerNorm channel are ready in a share `pace` of cycles."""

    def __init__(self, pins: Pins, job: Job, port_bits: int, pace: float, seed: int = 1):
        self.pins, self.job, self.pace, self.rng = pins, job, pace, random.Random(seed)
        self.channel = ReadChannel(pins, job.memory(), port_bits, self.rng, pace)
        self.dispatched: list[tuple[int, int, int]] = []
        self.params: list[tuple[int, int, int]] = []  # address, beats, instructions before it
        self.counts: list[int] | None = None
        self.error: tuple[int, int, int] | None = None
        self.cycles = 0
        self.last = 0  # cycle of the last dispatch
        for name, value in (("program_ptr", PROGRAM), ("params", PARAMS), ("images", IMAGES)):
            pins[name] = value
        pins["n_images"] = len(job.tasks)

    def go(self, idle_after: int = 20, until_error: int = 0) -> Run:
        """Until done, or some cycles after an error; the engines are idle `idle_after` cycles after
        a dispatch."""
        pins = self.pins
        extra = 0
        for cycle in range(LIMIT):
            pins["start"] = cycle == 0
            pins["q_ready"] = sum((self.rng.random() < self.pace) << e for e in range(5))
            pins["ln_ready"] = self.rng.random() < self.pace
            idle = cycle - self.last > idle_after
            pins["engines_idle"] = idle
            self.channel.drive()
            self.sample(cycle)
            done = pins["done"]
            assert not done or idle
            self.channel.sample()
            pins.tick()
            self.cycles = cycle
            extra += self.error is not None
            if done or extra > until_error:
                return self
        raise AssertionError("FETCH does not end")

    def sample(self, cycle: int) -> None:
        pins = self.pins
        assert len(bits(pins["q_valid"])) <= 1
        for engine in bits(pins["q_valid"] & pins["q_ready"]):
            step, null, instr = pins["q_step"], pins["q_null"], pins["q_instr"]
            self.dispatched.append((engine, step, null))
            self.last = cycle
            start = 64 * (step + 1)
            assert instr.to_bytes(64, "little") == self.job.program()[start : start + 64]
        if pins["ln_valid"] and pins["ln_ready"]:
            self.params.append((pins["ln_addr"], pins["ln_len"], len(self.dispatched)))
        if pins["tok_load"]:
            self.counts = list(pins["tok_counts"].to_bytes(ENGINES**2, "little"))
        if pins["err_valid"]:
            assert self.error is None
            self.error = (pins["err_code"], pins["err_step"], pins["err_detail"])
