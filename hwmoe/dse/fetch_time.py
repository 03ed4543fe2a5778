"""FETCH in time: instructions are read ahead in bursts and dispatched in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from hwmoe.codegen.rtl_fetch import INSTRUCTION_BITS
from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.dse.engine_time import Engine, Instruction
from hwmoe.dse.memory_time import ASK, BURST, DEPTH, REFILL, Channel, OffChip, Transfer
from hwmoe.dse.weights_time import REGISTERS
from hwmoe.plan.packing import ceil_div, pad_up
from hwmoe.plan.program import QUEUE_DEPTH, Program

TO_READ = 14  # from the start to the command that reads the loop instruction
TO_BODY = 3  # from the loop instruction to the command of the first iteration
NEXT_IMAGE = 2  # cycles between iterations, besides the beat with the image's task


class InstructionStream:
    """The beats that FETCH reads in a run of `images`, in bursts as its buffer has room."""

    def __init__(self, program: Program, memory: OffChip, images: int) -> None:
        self.memory = memory
        self.beats = INSTRUCTION_BITS // program.accelerator.ports.port_bits
        iterations = images + program.loop["stages"] - 1
        self._bursts = self._plan(len(program.steps), images, iterations)
        self._next = next(self._bursts, 0)
        self._coming: deque[tuple[int, int, Transfer]] = (
            deque()
        )  # first beat, the one after the last
        self._asked = self._used = 0

    def loop(self) -> Transfer:
        """Read the loop instruction."""
        return self.memory.general(Channel.FETCH, self.beats, TO_READ)

    def ask(self, now: float) -> None:
        """Ask for every burst that the buffer has room for."""
        while self._next and self._asked + self._next <= self._used + DEPTH + REGISTERS:
            burst = self.memory.general(Channel.FETCH, self._next, now)
            self._coming.append((self._asked, self._asked + self._next, burst))
            self._asked += self._next
            self._next = next(self._bursts, 0)

    def until_room(self, most: int) -> int:
        """After how many more beats there is room for another burst, `most` at most."""
        missing = self._asked + self._next - DEPTH - REGISTERS - self._used
        return min(missing, most) if self._next and missing > 0 else most

    def take(self, beats: int) -> None:
        """The next beats are wanted."""
        self._used += beats
        while self._coming[0][1] < self._used:
            self._coming.popleft()

    def here(self) -> float:
        """When they have come out of the buffer."""
        first, _, burst = self._coming[0]
        return burst.at(self._used - first)

    def _plan(self, steps: int, images: int, iterations: int) -> Iterator[int]:
        """Beats of every burst: an image's first, then the program in blocks of BURST beats."""
        for iteration in range(iterations):
            if iteration < images:
                yield 1
            at, stop = self.beats, (steps + 1) * self.beats
            while at < stop:
                end = min(stop, (at // BURST + 1) * BURST)
                yield end - at
                at = end


class Fetch:
    """Dispatches the instructions of a run; `instruction(step, image)` makes them."""

    def __init__(
        self,
        program: Program,
        memory: OffChip,
        clock: Clock,
        engines: Sequence[Engine],
        images: int,
        instruction: Callable[[int, int], Instruction],
    ) -> None:
        self.program, self.memory, self.clock, self.engines = program, memory, clock, engines
        self.images, self.instruction = images, instruction
        self.stream = InstructionStream(program, memory, images)
        self.work: Instruction | None = None  # waits for room in its queue
        self.moved = Happening(clock)
        clock.start(self._read_all())
        clock.start(self._dispatch())

    def _read_all(self) -> Process:
        loop = self.stream.loop()
        while loop.here > self.clock.time:
            yield loop.here
        yield self.clock.time + TO_BODY
        self.stream.ask(self.clock.time)
        for iteration in range(self.images + self.program.loop["stages"] - 1):
            if iteration < self.images:
                yield from self._read(self.clock.time + NEXT_IMAGE, 1)
            else:
                yield self.clock.time + NEXT_IMAGE
            for index, step in enumerate(self.program.steps):
                yield from self._read(self.clock.time, self.stream.beats)
                while self.work:
                    yield self.moved
                self.work = self.instruction(index, iteration - step.fields["stage"])
                self.moved.now()

    def _read(self, now: float, beats: int) -> Process:
        """Wait for the next beats, taken one a cycle from `now` on, and read ahead."""
        while beats:
            part = self.stream.until_room(beats)
            self.stream.take(part)
            yield now + part
            while self.stream.here() > self.clock.time:
                yield self.stream.here()
            self.stream.ask(self.clock.time + REFILL - ASK)
            now, beats = self.clock.time, beats - part

    def _dispatch(self) -> Process:
        lanes = self.program.accelerator.linear.t_in
        while True:
            while not self.work:
                yield self.moved
            work, f = self.work, self.work.step.fields
            yield self.clock.time + 2
            if work.step.kind == "layernorm" and not work.null:
                beats = ceil_div(8 * pad_up(f["dim"], lanes), self.memory.beat)
                address = 4 * f["params"] // self.memory.beat
                work.params = self.memory.general(Channel.NORM, beats, self.clock.time, address)
                yield self.clock.time + 1
            engine = self.engines[work.step.engine]
            while len(engine.queue) == QUEUE_DEPTH:  # the one that runs among them
                yield engine.popped
            work.head = self.clock.time + 1
            engine.push(work)
            self.work = None
            self.moved.now()
