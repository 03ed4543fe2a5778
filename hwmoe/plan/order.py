"""The order of a program: the stages of several images merged so that engines stay busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import numpy.typing as npt

from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.effects import LISTS, Effects, Words, effects
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div
from hwmoe.plan.program import MachineSizes, Step

_TERNARY = 1 << LINEAR_FLAGS.index("ternary")
HEAD_STARTS = (7, 3)  # parts of the longest chain
MOST_RULES = 16  # for each of them
_OVERHEAD = 80  # cycles from an instruction's start to its first word, about


Numbers = npt.NDArray[np.int64]
Table = dict[str, Numbers]


class Footprints:
    """For every word of the on-chip memories a number of the last who wrote and who read it."""

    def __init__(self, sizes: MachineSizes, kinds: int = 1) -> None:
        self.kinds = kinds
        memories = sizes.memories()
        memories[LISTS] = sizes.slots
        self.written: Table = {m: np.full((kinds, n), -1, np.int64) for m, n in memories.items()}
        self.read: Table = {m: np.full((kinds, n), -1, np.int64) for m, n in memories.items()}

    def source(self, found: Effects) -> Numbers:
        """[kinds]: the largest number of those that wrote what an instruction reads."""
        return self._largest((self.written, found.reads))

    def before(self, found: Effects) -> Numbers:
        """[kinds]: the largest number of those that an instruction has to come after."""
        return self._largest(
            (self.written, found.reads), (self.written, found.writes), (self.read, found.writes)
        )

    def _largest(self, *asked: tuple[Table, Sequence[Words]]) -> Numbers:
        latest = np.full(self.kinds, -1, np.int64)
        for table, words in asked:
            for w in words:
                own = table[w.memory][:, w.first : w.stop]
                np.maximum(latest, np.maximum.reduce(own, axis=1, initial=-1), out=latest)
        return latest

    def leave(self, found: Effects, number: int, kind: int = 0) -> None:
        """The instruction's own number, wherever it reads and writes."""
        for w in found.reads:
            self.read[w.memory][kind, w.first : w.stop] = number
        for w in found.writes:
            self.written[w.memory][kind, w.first : w.stop] = number


Rank = Callable[[int, int], float]
"""(stage, cycles it still has) -> of the steps that could start first, the least rank is next."""


def merge(
    stages: Sequence[Sequence[Step]], acc: AcceleratorConfig, sizes: MachineSizes, share: int
) -> list[Step]:
    """One order for the chains of all stages: always a step that could start first is next.

    Times are estimates: an engine is free after a step's cycles, a step waits for all that
    it reads and writes. Several rules choose among steps that could start at the same time; the
    order that ends first is taken. What a stage reads of the iteration before (the residual of its
    image) is overwritten only after that. `share`: tokens that an expert is expected to get.
    """
    chains = [
        [_Timed(step, effects(step, acc), cycles(step, acc, share)) for step in chain]
        for chain in stages
    ]
    carried = [_carried(chain, chains, sizes) for chain in chains]
    longest = max(sum(timed.cycles for timed in chain) for chain in chains)
    found = [_merged(chains, carried, acc, sizes, rank) for rank in _ranks(len(chains), longest)]
    return min(found, key=lambda entry: entry[0])[1]


def _ranks(stages: int, longest: int) -> Iterator[Rank]:
    """An older image (a later stage) first; then who has most to do, with and without a head start
    of a part of the longest chain for some of the stages."""
    yield lambda stage, left: -stage
    if stages == 1:
        return
    for part in HEAD_STARTS:
        for ahead in islice(product((0, longest // part), repeat=stages), MOST_RULES):
            yield lambda stage, left, ahead=ahead: -(left + ahead[stage])  # type: ignore[misc]


@dataclass(frozen=True)
class _Timed:
    step: Step
    effects: Effects
    cycles: int


@dataclass(frozen=True)
class _Carried:
    """Words that a chain reads until its step `last`, and does not write before. `spoilers`: of
    each chain the steps that write over them."""

    last: int
    spoilers: Sequence[frozenset[int]]


def _carried(
    chain: Sequence[_Timed], chains: Sequence[Sequence[_Timed]], sizes: MachineSizes
) -> _Carried:
    own, words, last = Footprints(sizes), [], -1
    for index, timed in enumerate(chain):
        for read in timed.effects.reads:
            if own.written[read.memory][0, read.first : read.stop].min(initial=index) < 0:
                words.append(read)
                last = index
        own.leave(timed.effects, index)
    spoilers = [
        frozenset(i for i, o in enumerate(other) if any(w.meets(words) for w in o.effects.writes))
        for other in chains
    ]
    return _Carried(last, spoilers)


def _merged(
    chains: Sequence[Sequence[_Timed]],
    carried: Sequence[_Carried],
    acc: AcceleratorConfig,
    sizes: MachineSizes,
    rank: Rank,
) -> tuple[int, list[Step]]:
    """The order by one rule, and when its last step ends."""
    times = Footprints(sizes)
    free: dict[int, int] = {}
    left = [sum(timed.cycles for timed in chain) for chain in chains]
    at = [0] * len(chains)
    ready: dict[int, int] = {}  # of the next step of a stage: when all it needs is there
    order: list[Step] = []
    end = 0
    while True:
        heads = {s: chain[at[s]] for s, chain in enumerate(chains) if at[s] < len(chain)}
        if not heads:
            return end, order
        for stage in heads.keys() - ready.keys():
            ready[stage] = int(times.before(heads[stage].effects)[0])
        first, _, stage = min(
            (max(ready[s], free.get(head.step.engine, 0)), rank(s, left[s]), s)
            for s, head in heads.items()
            if not any(
                at[t] <= c.last and at[s] in c.spoilers[s] for t, c in enumerate(carried) if t != s
            )
        )
        head = heads.pop(stage)
        done = first + head.cycles
        end = max(end, done)
        free[head.step.engine] = done - (_OVERHEAD if head.step.kind in acc.linears else 0)
        times.leave(head.effects, done)
        order.append(head.step)
        left[stage] -= head.cycles
        at[stage] += 1
        late = [s for s, other in heads.items() if other.effects.after(head.effects)]
        for s in (stage, *late):
            del ready[s]


def cycles(step: Step, acc: AcceleratorConfig, share: int) -> int:
    """A rough number for ordering steps; the exact formulas are in hwmoe/dse."""
    return _OVERHEAD + _CYCLES[step.kind](step, acc, share)


def _linear(step: Step, acc: AcceleratorConfig, share: int) -> int:
    f, cfg = step.fields, acc.linears[step.kind]
    rows = min(share, f["n_list"]) if f["list_mode"] else f["n_list"]
    beats = cfg.t_out // (cfg.w_rows * (4 if f["flags"] & _TERNARY else 1))
    passes = f["in_tiles"] * f["out_tiles"] * max(ceil_div(rows, cfg.t_tok), beats)
    return max(passes, f["chunks"] * rows)


def _attention(step: Step, acc: AcceleratorConfig, share: int) -> int:
    f = step.fields
    groups = f["head_groups"] * ceil_div(f["n_tok"], acc.attention.rows)
    return groups * 2 * f["n_tok"] * f["dim_tiles"]


def _layernorm(step: Step, acc: AcceleratorConfig, share: int) -> int:
    return step.fields["count"] * ceil_div(step.fields["dim"], acc.layernorm.lanes)


def _add(step: Step, acc: AcceleratorConfig, share: int) -> int:
    f = step.fields
    return f["tiles"] * (min(share, f["count"]) if f["list_mode"] else f["count"])


def _gate(step: Step, acc: AcceleratorConfig, share: int) -> int:
    return step.fields["n_tok"] * step.fields["experts"]


def _load(step: Step, acc: AcceleratorConfig, share: int) -> int:
    width = acc.linear.t_in * (1 if step.kind == "load_image" else 2)
    return ceil_div(8 * width * step.fields["words"], acc.ports.port_bits) + 200


def _store(step: Step, acc: AcceleratorConfig, share: int) -> int:
    return 5 * ceil_div(step.fields["n_out"], acc.linear.t_in) + 200


_CYCLES = {
    "linear": _linear,
    "expert": _linear,
    "attention": _attention,
    "layernorm": _layernorm,
    "add": _add,
    "gate": _gate,
    "load_image": _load,
    "load_const": _load,
    "store": _store,
}
