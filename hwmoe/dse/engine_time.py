"""The engines in time: queues and tokens in front of them, and how long an instruction takes."""

from __future__ import annotations

from collections import deque
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass

from hwmoe.codegen.rtl_vector_engine import add_settle
from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.dse.attention_feed_time import query_wait
from hwmoe.dse.bandwidth_time import FEW
from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.dse.gate_cycles import gate_cycles
from hwmoe.dse.layernorm_cycles import layernorm_cycles
from hwmoe.dse.memory_time import BURST, DEPTH, Channel, OffChip, Transfer
from hwmoe.dse.onchip_time import MemoryPort
from hwmoe.plan.image import IMAGE_HEADER
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import GATE_SCORES, ceil_div
from hwmoe.plan.program import Program, Step

ACT8, RES = (instruction_set().spaces[name] for name in ("act8", "res"))
TOKEN = 1  # from a signal until who waits for it begins
LOAD_ENGINE = instruction_set().engines.index("load")
STORE_ENGINE = instruction_set().engines.index("store")
# Cycles of an instruction around its kernel: issue, first reads, last writes, signal.
ATTENTION, LAYERNORM, GATE, ADD, EMPTY_ADD = 6, 10, 10, 20, 8
NORM_PARAMS = 19  # of a LayerNorm of one row, besides a cycle a beat of parameters
ASK_LOAD, LOAD = -1, -1  # from the begin to the first request; from the last beat to the signal
STORE, STORE_WORD = 7, 5  # besides the write's latency; for each word of results, at least

Trace = MutableSequence[tuple[int, int, float, float]]


@dataclass
class Instruction:
    """One on its way. rows: of its list, if it has one. head: when its engine sees it. params: of
    a LayerNorm, as they come."""

    index: int
    step: Step
    image: int
    null: bool
    rows: int | None
    head: float = 0.0
    params: Transfer | None = None


class Engine:
    """What all engines share. `tokens`: from each engine. `engines`: all, by number."""

    def __init__(self, number: int, clock: Clock, engines: Sequence[Engine], trace: Trace) -> None:
        self.number, self.clock, self.engines, self.trace = number, clock, engines, trace
        self.queue: deque[Instruction] = deque()
        self.tokens: list[int] = []
        self.changed = Happening(clock)  # an instruction, or a token, has come
        self.popped = Happening(clock)
        self.busy = 0.0

    def push(self, instruction: Instruction) -> None:
        self.queue.append(instruction)
        self.changed.now()

    def pop(self) -> None:
        self.queue.popleft()
        self.popped.now()

    def first(self) -> Process:
        """Wait for an instruction at the head of the queue."""
        while not self.queue:
            yield self.changed
        if self.queue[0].head > self.clock.time:
            yield self.queue[0].head

    def wait(self, step: Step) -> Process:
        """Until its tokens are there."""
        mask = step.fields["wait"]
        while any(mask >> i & 1 and not count for i, count in enumerate(self.tokens)):
            yield self.changed

    def take(self, step: Step) -> None:
        """Take its tokens."""
        for i in range(len(self.tokens)):
            self.tokens[i] -= step.fields["wait"] >> i & 1

    def finish(self, done: Instruction, begin: float, end: float) -> None:
        """It is complete at `end`."""
        if not done.null:
            self.trace.append((done.index, done.image, begin, end))
        if done.step.fields["signal"]:
            self.clock.start(self._signal(done.step.fields["signal"], end + TOKEN))

    def _signal(self, mask: int, time: float) -> Process:
        yield time
        for other in self.engines:
            if mask >> other.number & 1:
                other.tokens[self.number] += 1
                other.changed.now()


class SimpleEngine(Engine):
    """An engine that does one instruction at a time."""

    def __init__(
        self,
        number: int,
        clock: Clock,
        engines: Sequence[Engine],
        trace: Trace,
        memory: OffChip,
        program: Program,
        written: Sequence[MemoryPort],
    ) -> None:
        super().__init__(number, clock, engines, trace)
        self.written = written
        self.memory, self.acc = memory, program.accelerator
        self.image_bytes = program.loop["image_bytes"]
        clock.start(self._run())

    def _run(self) -> Process:
        while True:
            yield from self.first()
            work = self.queue[0]
            yield from self.wait(work.step)
            self.take(work.step)
            begin = self.clock.time
            self.end = begin + 1
            if not work.null:
                if work.step.engine == LOAD_ENGINE:
                    yield from self._load(work)
                elif work.step.engine == STORE_ENGINE:
                    yield from self._store(work)
                else:
                    self.end = begin + self._cycles(work)
                if work.params:
                    yield from self._norm_params(work, work.params)
                yield from self._results(work)
                yield self.end - 1
                self.busy += self.end - begin
            self.pop()
            self.finish(work, begin, self.end)
            yield self.end

    def _cycles(self, work: Instruction) -> float:
        f, lanes = work.step.fields, self.acc.linear.t_in
        kind = work.step.kind
        if kind == "attention":
            cfg = self.acc.attention
            sizes = f["n_tok"], f["dim_tiles"], f["head_groups"]
            return ATTENTION + attention_cycles(cfg, *sizes) + query_wait(cfg, lanes, *sizes)
        if kind == "layernorm":
            norm = self.acc.layernorm
            tiles = ceil_div(f["dim"], lanes) * (lanes // norm.lanes)
            return LAYERNORM + layernorm_cycles(norm, f["count"], tiles)
        if kind == "add":
            words = f["tiles"] * (f["count"] if work.rows is None else work.rows)
            return add_settle(lanes) + (ADD + words if words else EMPTY_ADD)
        scores = GATE_SCORES[f["scores"]]
        return GATE + gate_cycles(f["n_tok"], f["experts"], f["top_k"], scores)

    def _norm_params(self, work: Instruction, params: Transfer) -> Process:
        """They enter with the first row, a beat a cycle; then all other rows are to come."""
        f, lanes = work.step.fields, self.acc.linear.t_in
        tiles = ceil_div(f["dim"], lanes) * (lanes // self.acc.layernorm.lanes)
        after = (f["count"] - 1) * tiles
        self.end = max(self.end, self.clock.time + NORM_PARAMS + params.beats + after)
        while params.here + after > max(self.end, self.clock.time):
            yield params.here
            self.end = max(self.end, params.here + after)

    def _results(self, work: Instruction) -> Process:
        """They are written at an even pace up to the end, or later if the memory is busy.

        Attention's, over all of its time, are few enough never to be late.
        """
        f, lanes, kind = work.step.fields, self.acc.linear.t_in, work.step.kind
        if kind == "layernorm":
            port, pace = self.written[ACT8], self.acc.layernorm.lanes / lanes
            words = f["count"] * ceil_div(f["dim"], lanes)
        elif kind == "add":
            port, pace = self.written[RES], 1.0
            words = f["tiles"] * (f["count"] if work.rows is None else work.rows)
        elif kind == "attention":
            cfg, port = self.acc.attention, self.written[ACT8]
            beats = f["n_tok"] * f["dim_tiles"] * f["head_groups"]
            words = beats * cfg.dim_lanes * cfg.head_units // lanes
            pace = words / (self.end - self.clock.time)
        else:
            return
        if not words:
            return
        results = port.move(self.number, words, self.end - words / pace, pace)
        if kind == "attention":
            return
        yield self.end - 1
        while (end := port.end(self.number, results)) > self.end + FEW:
            self.end = end
            yield end - 1

    def _load(self, work: Instruction) -> Process:
        """A load, burst by burst: a buffer of them is under way. Leaves its end in `end`."""
        f, beat = work.step.fields, self.memory.beat
        if work.step.kind == "load_image":
            address, cycles = work.image * self.image_bytes + IMAGE_HEADER, 1
            port = self.written[ACT8]
        else:
            address, cycles = 4 * f["params"], 2  # a word in two halves
            port = self.written[RES]
        word = cycles * self.acc.linear.t_in
        address, left = address // beat, ceil_div(f["words"] * word, beat)
        yield self.clock.time + ASK_LOAD
        bursts: deque[Transfer] = deque()
        while left > 0 or bursts:
            if left > 0 and len(bursts) < DEPTH // BURST:
                beats = min(left, BURST - address % BURST)
                time = self.clock.time
                bursts.append(self.memory.general(Channel.LOAD, beats, time, address))
                address, left = address + beats, left - beats
            else:
                burst = bursts.popleft()
                words = max(1, burst.beats * beat // word)
                yield from self._written(port, burst, words, words * cycles)
        self.end = self.clock.time + LOAD

    def _written(self, port: MemoryPort, burst: Transfer, words: int, cycles: int) -> Process:
        """Until the words of a burst are written, in so many cycles at least.

        Each as it comes, if the memory is free.
        """
        while (first := burst.at(1)) > self.clock.time:
            yield first
        now = self.clock.time
        written = port.move(self.number, words, now, words / max(cycles, burst.here - now))
        while (end := max(burst.here, port.end(self.number, written))) > self.clock.time:
            yield end

    def _store(self, work: Instruction) -> Process:
        """A store, burst by burst: words are read one by one, beats leave as the memory takes
        them. Leaves its end in `end`."""
        values = work.step.fields["n_out"]
        words, left = (ceil_div(values, n) for n in (self.acc.linear.t_in, self.memory.beat // 2))
        pace = max(STORE_WORD * words / max(left, 1), 1)  # cycles a beat
        while left > 0:
            beats = min(left, BURST)
            written = self.memory.results(beats, self.clock.time, pace)
            while (end := written.moved(beats)) > self.clock.time:
                yield end
            left -= beats
        self.end = self.clock.time + STORE + self.memory.latency
