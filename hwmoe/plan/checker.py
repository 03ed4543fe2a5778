"""Refuses a program that would not compute what it says, whatever the machine's timing.

Instructions are followed over as many iterations as images are in flight, and two more, with
tokens only: which instruction is certainly complete when another begins? What an
instruction reads must have been written, for the same image, by one that is; what it overwrites
must have been read. The compiler makes tokens by other means (tokens.py), so each checks the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.plan.effects import LISTS, Words, effects
from hwmoe.plan.image import RESULT_ALIGN
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div
from hwmoe.plan.program import QUEUE_DEPTH, Program, Step
from hwmoe.plan.tokens import unpack_counters

MOST_PROBLEMS = 20
_FLAG = {name: 1 << bit for bit, name in enumerate(LINEAR_FLAGS)}
_NUMBER = instruction_set().spaces
_LINEAR_SPACES = [_NUMBER[name] for name in ("act8", "heads", "y")]
_SPACES = {
    "linear": _LINEAR_SPACES,
    "expert": _LINEAR_SPACES,
    "store": [_NUMBER[name] for name in ("y", "res")],
}

Clock = npt.NDArray[np.int64]


def check_program(program: Program) -> None:
    """`HwmoeError` with what is wrong: deadlock, a word out of range, a read of nothing or of
    another image's data, results that overlap or end early, an order that no token enforces."""
    problems = [*_out_of_range(program), *_results(program), *_unbalanced(program)]
    if not problems:
        for task in range(len(program.outputs)):
            problems += _Follower(program, task).problems()
    if problems:
        first = list(dict.fromkeys(problems))[:MOST_PROBLEMS]
        raise HwmoeError("the program is not sound:\n  " + "\n  ".join(first))


def _out_of_range(program: Program) -> Iterator[str]:
    acc, sizes = program.accelerator, program.sizes
    for index, step in enumerate(program.steps):
        space = step.fields.get("space")
        if space is not None and space not in _SPACES[step.kind]:
            yield f"{_name(index, step)}: space {space}, not one of {_SPACES[step.kind]}"
            continue
        found = effects(step, acc)
        for words in (*found.reads, *found.writes):
            limit = sizes.slots if words.memory == LISTS else sizes.words(words.memory)
            if not 0 <= words.first <= words.stop <= limit:
                yield (
                    f"{_name(index, step)}: words {words.first} to {words.stop - 1} of "
                    f"{words.memory}, which has {limit}"
                )
        yield from _constants_out_of_range(program, index, step)


def _constants_out_of_range(program: Program, index: int, step: Step) -> Iterator[str]:
    f, acc = step.fields, program.accelerator
    if not program.params.size:
        return
    asked: dict[str, tuple[int, int, int]] = {}
    if step.kind in acc.linears:
        cfg = acc.linears[step.kind]
        rows = cfg.w_rows * (4 if f["flags"] & _FLAG["ternary"] else 1)
        beats = f["in_tiles"] * f["out_tiles"] * cfg.t_out // rows
        asked["weights"] = (f["weights"], beats, len(program.weights))
        asked["params"] = (f["params"], 2 * f["chunks"] * cfg.t_epi, program.params.size)
        asked["x_base"] = (f["x_base"], f["n_tok"] * f["in_tiles"], cfg.x_words)
        if f["flags"] & _FLAG["load_table"]:
            asked["table"] = (f["table"], 64, program.params.size)
        if f["out_tiles"] != ceil_div(f["chunks"] * cfg.t_epi, cfg.t_out):
            yield f"{_name(index, step)}: out_tiles and chunks do not fit together"
        if step.kind == "expert" and not f["flags"] & _FLAG["ternary"]:
            yield f"{_name(index, step)}: the expert engine has ternary weights only"
    elif step.kind == "layernorm":
        width = 2 * acc.linear.t_in * ceil_div(f["dim"], acc.linear.t_in)
        asked["params"] = (f["params"], width, program.params.size)
    elif step.kind == "load_const":
        asked["params"] = (f["params"], f["words"] * acc.linear.t_in // 2, program.params.size)
    for name, (first, count, limit) in asked.items():
        if not 0 <= first <= first + count <= limit:
            yield f"{_name(index, step)}: {name} {first} to {first + count - 1}, of {limit}"


def _results(program: Program) -> Iterator[str]:
    """Stores beyond an image's results or over others, and results complete at any other time
    than after the last."""
    stores = [(i, step) for i, step in enumerate(program.steps) if step.kind == "store"]
    if len(stages := {step.fields["stage"] for _, step in stores}) > 1:
        yield f"stores in stages {sorted(stages)}: results of several images would mix"
    for task in range(len(program.outputs)):
        own = [(i, step) for i, step in stores if step.fields["tasks"] >> task & 1]
        if [step.fields["last"] for _, step in own] != [0] * (len(own) - 1) + [1]:
            yield f"task {task}: of its {len(own)} stores the last, and no other, must have last=1"
        end = 0
        for index, step in sorted(own, key=lambda one: one[1].fields["offset"]):
            first, size = step.fields["offset"], 2 * step.fields["n_out"]
            if first < end or first % RESULT_ALIGN or first + size > program.loop["logit_bytes"]:
                yield (
                    f"{_name(index, step)}: {size} bytes of results from {first} on, of "
                    f"{program.loop['logit_bytes']}, {end} of them taken; starts must be multiples "
                    f"of {RESULT_ALIGN}"
                )
            end = max(end, first + size)


def _unbalanced(program: Program) -> Iterator[str]:
    """A counter that an iteration raises and lowers differently runs over or dry in time."""
    names = program.accelerator.engines
    for giver in range(len(names)):
        for taker in range(len(names)):
            given = sum(s.fields["signal"] >> taker & 1 for s in program.steps if s.engine == giver)
            taken = sum(s.fields["wait"] >> giver & 1 for s in program.steps if s.engine == taker)
            if given != taken:
                yield (
                    f"{names[giver]} signals {names[taker]} {given} times an iteration, which "
                    f"waits for it {taken} times"
                )


def _name(index: int, step: Step) -> str:
    return f"step {index} ({step.kind} {step.name})"


@dataclass
class _Instance:
    """A step in one iteration. `clock[e]`: so many instructions of engine e are certainly
    complete when it begins."""

    index: int
    step: Step
    image: int
    null: bool
    order: int
    clock: Clock


class _Follower:
    def __init__(self, program: Program, task: int) -> None:
        self.program, self.task = program, task
        self.stages = program.loop["stages"]
        self.images = self.stages + 1
        acc = program.accelerator
        self.engines = len(acc.engines)
        self.linears = {acc.engines.index(name) for name in acc.linears}
        initial = unpack_counters(program.loop, self.engines)
        # Counters as queues: the clock at the end of each instruction that signalled.
        self.tokens = [deque([self._start()] * n) for n in initial]
        self.found: list[str] = []

    def problems(self) -> list[str]:
        done = self._execute()
        if not self.found:
            self._check_data(done)
        return self.found

    def _start(self) -> Clock:
        return np.zeros(self.engines, np.int64)

    # --- tokens: who certainly comes before whom ------------------------------------------------

    def _dispatch(self) -> Iterator[_Instance]:
        counts = [0] * self.engines
        for iteration in range(self.images + self.stages - 1):
            for index, step in enumerate(self.program.steps):
                image = iteration - step.fields["stage"]
                masked = not step.fields["tasks"] >> self.task & 1
                null = masked or not 0 <= image < self.images
                order = counts[step.engine]
                yield _Instance(index, step, image, null, order, self._start())
                counts[step.engine] += 1

    def _execute(self) -> list[_Instance]:
        """Run on tokens alone, instructions in fetch order through bounded queues."""
        queues: list[deque[_Instance]] = [deque() for _ in range(self.engines)]
        last: list[_Instance | None] = [None] * self.engines
        self.ends: list[list[Clock]] = [[] for _ in queues]
        source, done = self._dispatch(), []
        pending = next(source, None)
        while True:
            moved = False
            while pending and len(queues[pending.step.engine]) < QUEUE_DEPTH:
                queues[pending.step.engine].append(pending)
                pending, moved = next(source, None), True
            for engine, queue in enumerate(queues):
                while queue and self._begin(queue[0], last[engine]):
                    last[engine] = queue.popleft()
                    done.append(last[engine])
                    moved = True
            if not moved:
                waiting = [_name(q[0].index, q[0].step) for q in queues if q]
                if waiting:
                    self.found.append("deadlock: waiting for ever are " + ", ".join(waiting))
                return [instance for instance in done if instance]

    def _begin(self, one: _Instance, last: _Instance | None) -> bool:
        """Take the tokens if all are there; leave those it signals."""
        me, f = one.step.engine, one.step.fields
        ends = self.ends[me]  # of a linear engine: how it stood when each was complete
        needed = [e * self.engines + me for e in range(self.engines) if f["wait"] >> e & 1]
        if not all(self.tokens[pair] for pair in needed):
            return False
        for clock in ([last.clock] if last else []) + [self.tokens[p].popleft() for p in needed]:
            np.maximum(one.clock, clock, out=one.clock)
        if me not in self.linears:
            one.clock[me] = one.order  # one at a time
        elif f["after"] and one.order >= f["after"]:
            number = one.order - f["after"]
            np.maximum(one.clock, ends[number], out=one.clock)
            one.clock[me] = max(one.clock[me], number + 1)
        end = one.clock.copy()
        end[me] = one.order + 1  # complete in order, so all before it are too
        if me in self.linears:
            end = np.maximum(end, ends[-1]) if ends else end
            ends.append(end)
        for other in range(self.engines):
            if f["signal"] >> other & 1:
                self.tokens[me * self.engines + other].append(end)
        return True

    # --- data: in fetch order, what each word holds ---------------------------------------------

    def _check_data(self, done: list[_Instance]) -> None:
        memories = self.program.sizes.memories()
        memories[LISTS] = self.program.sizes.slots
        self.ordered = {(one.step.engine, one.order): one for one in done}
        # [kind of access, words]: order of the last write, the engine, its image; last reads.
        self.writer = {m: np.full((3, n), -1, np.int64) for m, n in memories.items()}
        self.reader = {m: np.full((self.engines, n), -1, np.int64) for m, n in memories.items()}
        self.kept: dict[tuple[int, int], tuple[int, int]] = {}
        self.table: dict[int, tuple[int, int]] = {}
        for shape in self._dispatch():
            one = self.ordered.get((shape.step.engine, shape.order))
            if one is None or one.null:
                continue
            found = effects(one.step, self.program.accelerator)
            for words in found.reads:
                self._check_read(one, words)
            for words in found.writes:
                self._check_write(one, words)
            if one.step.engine in self.linears:
                self._check_kernel(one)
            for words in found.reads:
                self.reader[words.memory][one.step.engine, words.first : words.stop] = one.order
            for words in found.writes:
                span = self.writer[words.memory][:, words.first : words.stop]
                span[:] = np.array([[one.order], [one.step.engine], [one.image]])

    def _check_read(self, one: _Instance, words: Words) -> None:
        order, engine, image = self.writer[words.memory][:, words.first : words.stop]
        what = f"{_name(one.index, one.step)} reads {words.memory} {words.first}..{words.stop - 1}"
        if (order < 0).any() and one.step.kind != "add":
            self.found.append(f"{what}, of which nobody has written all")
        written = order >= 0
        if (image[written] != one.image).any():
            self.found.append(f"{what}, which holds another image's data")
        for e in np.unique(engine[written]):
            latest = int(order[written & (engine == e)].max())
            if one.clock[e] <= latest:
                self._unordered(what, int(e), latest, "written")

    def _check_write(self, one: _Instance, words: Words) -> None:
        me = one.step.engine
        what = f"{_name(one.index, one.step)} writes {words.memory} {words.first}.."
        order, engine, _ = self.writer[words.memory][:, words.first : words.stop]
        for e in range(self.engines):
            if e == me:
                continue  # an engine's own writes come in order, and after its earlier reads
            written = order[engine == e]
            read = self.reader[words.memory][e, words.first : words.stop]
            latest = max(int(written.max(initial=-1)), int(read.max(initial=-1)))
            if one.clock[e] <= latest:
                self._unordered(what, e, latest, "used")

    def _unordered(self, what: str, engine: int, order: int, verb: str) -> None:
        other = self.ordered[engine, order]
        self.found.append(
            f"{what}, {verb} by {_name(other.index, other.step)}, but no token puts it after that"
        )

    def _check_kernel(self, one: _Instance) -> None:
        """What a linear kernel keeps: activations and the GELU table."""
        me = one.step.engine
        f, flags = one.step.fields, one.step.fields["flags"]
        first, stop = f["x_base"], f["x_base"] + f["n_tok"] * f["in_tiles"]
        words = [(me, word) for word in range(first, stop)]
        mark = (one.image, f["src"])
        if flags & _FLAG["load_x"]:
            self.kept.update(dict.fromkeys(words, mark))
        elif any(self.kept.get(word) != mark for word in words):
            self.found.append(
                f"{_name(one.index, one.step)}: its activations are not kept at x_base"
            )
        if flags & _FLAG["load_table"]:
            self.table[me] = (one.image, f["table"])
        if flags & _FLAG["gelu"] and self.table.get(me) != (one.image, f["table"]):
            self.found.append(f"{_name(one.index, one.step)}: another GELU table is loaded")
