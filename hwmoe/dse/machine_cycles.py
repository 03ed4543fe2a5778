"""Cycles of the whole machine: every instruction of a program placed in time, engine by engine.

The rules are the machine's: instructions are dispatched in order through bounded queues, wait for
tokens, and take what the kernels' formulas say; memory bandwidth is shared by the ports. Nothing
is simulated cycle by cycle. tests/dse compares it with the simulated SystemVerilog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwmoe.dse.clock import Clock
from hwmoe.dse.engine_time import Engine, Instruction, SimpleEngine
from hwmoe.dse.fetch_time import Fetch
from hwmoe.dse.linear_front_time import LinearFront
from hwmoe.dse.linear_time import LinearTime
from hwmoe.dse.memory_time import OffChip
from hwmoe.dse.onchip_time import MemoryPort
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import Program, Step, last_stores, steady_cycles
from hwmoe.plan.tokens import unpack_counters

Lengths = Callable[[int, int, int], int]
"""(image, step of the program, expert) -> tokens that the expert got."""


@dataclass(frozen=True)
class MachinePrediction:
    """stores: cycles from the start to the results of each image; busy: cycles by engine.

    trace: (step, image, begin, end) of every instruction that is not null.
    """

    stores: tuple[int, ...]
    busy: Mapping[str, int]
    stages: int = 1
    trace: tuple[tuple[int, int, float, float], ...] = ()

    @property
    def latency(self) -> int:
        return self.stores[0]

    @property
    def cycles_per_image(self) -> float:
        """Between results while the machine is full (`steady_cycles`)."""
        return steady_cycles(self.stores, self.stages)


def even_lengths(program: Program, top_k: int) -> Lengths:
    """Tokens spread evenly over the experts, the remainder on the first ones."""
    tokens, experts = program.sizes.max_tokens, program.sizes.max_experts

    def length(image: int, step: int, expert: int) -> int:
        share, rest = divmod(tokens * top_k, experts)
        return min(tokens, share + (expert < rest))

    return length


def predict_machine(
    program: Program,
    bytes_per_cycle: float,
    latency: float,
    tasks: Sequence[int],
    lengths: Lengths,
) -> MachinePrediction:
    """A run of images of these tasks on a memory of so many bytes a cycle.

    `latency`: cycles from a request to its first beat, on average. Cycle 0 is the start.
    """
    clock, acc = Clock(), program.accelerator
    memory = OffChip(acc, bytes_per_cycle, latency, clock)
    written = [MemoryPort(clock) for _ in instruction_set().spaces]
    read = MemoryPort(clock)  # act8, by the linear kernels
    linears = {
        name: LinearTime(acc, name, memory, client, clock, written, read)
        for client, name in enumerate(acc.linears)
    }
    trace: list[tuple[int, int, float, float]] = []
    engines: list[Engine] = []
    for number, name in enumerate(acc.engines):
        if name in linears:
            engines.append(LinearFront(number, clock, engines, trace, memory, linears[name]))
        else:
            engines.append(SimpleEngine(number, clock, engines, trace, memory, program, written))
    initial = unpack_counters(program.loop, len(engines))
    for number, engine in enumerate(engines):
        engine.tokens = [initial[len(engines) * other + number] for other in range(len(engines))]

    def instruction(step: int, image: int) -> Instruction:
        found = program.steps[step]
        null = not 0 <= image < len(tasks) or not found.fields["tasks"] >> tasks[image] & 1
        return Instruction(step, found, image, null, _rows(found, step, image, null, lengths))

    Fetch(program, memory, clock, engines, len(tasks), instruction)
    clock.run()
    last = last_stores(program)
    stores = sorted(round(end) for step, _, _, end in trace if step in last)
    if len(stores) != len(tasks) or any(engine.queue for engine in engines):
        raise AssertionError("the program stops before its end")
    busy = {name: round(engine.busy) for name, engine in zip(acc.engines, engines, strict=True)}
    busy |= {name: round(linear.busy) for name, linear in linears.items()}
    return MachinePrediction(tuple(stores), busy, program.loop["stages"], tuple(trace))


def _rows(step: Step, index: int, image: int, null: bool, lengths: Lengths) -> int | None:
    """The length of the list it uses, if any."""
    if null or not step.fields.get("list_mode"):
        return None
    return lengths(image, index, step.fields["expert"])
