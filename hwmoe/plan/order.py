"""The order of a program: the stages of several images merged so that engines stay busy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.effects import LISTS, Effects, Words, effects
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div
from hwmoe.plan.program import MachineSizes, Step

_TERNARY = 1 << LINEAR_FLAGS.index("ternary")
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
        return self._largest(self.written, found.reads)

    def before(self, found: Effects) -> Numbers:
        """[kinds]: the largest number of those that an instruction has to come after."""
        over = (self._largest(table, found.writes) for table in (self.written, self.read))
        latest: Numbers = np.max([self.source(found), *over], axis=0)
        return latest

    def _largest(self, table: Table, words: Sequence[Words]) -> Numbers:
        parts = [table[w.memory][:, w.first : w.stop].max(axis=1, initial=-1) for w in words]
        latest: Numbers = np.max([np.full(self.kinds, -1), *parts], axis=0)
        return latest

    def leave(self, found: Effects, number: int, kind: int = 0) -> None:
        """The instruction's own number, wherever it reads and writes."""
        for w in found.reads:
            self.read[w.memory][kind, w.first : w.stop] = number
        for w in found.writes:
            self.written[w.memory][kind, w.first : w.stop] = number


def merge(
    stages: Sequence[Sequence[Step]], acc: AcceleratorConfig, sizes: MachineSizes, share: int
) -> list[Step]:
    """One order for the chains of all stages: always the step that could start first is next.

    Times are estimates: an engine is free after a step's cycles, a step waits for all that
    it reads and writes. An older image (a later stage) goes first where both could start.
    `share`: tokens that an expert is expected to get.
    """
    times = Footprints(sizes)
    free: dict[int, int] = {}
    left = [list(chain) for chain in stages]
    found = [[effects(step, acc) for step in chain] for chain in stages]
    at = [0] * len(left)
    order: list[Step] = []
    while True:
        heads = [s for s in range(len(left)) if at[s] < len(left[s])]
        if not heads:
            return order

        def start(stage: int) -> int:
            step = left[stage][at[stage]]
            ready = int(times.before(found[stage][at[stage]])[0])
            return max(ready, free.get(step.engine, 0))

        first, stage = min((start(s), -s) for s in heads)
        stage = -stage
        step = left[stage][at[stage]]
        end = first + cycles(step, acc, share)
        free[step.engine] = end - (_OVERHEAD if step.kind in acc.linears else 0)
        times.leave(found[stage][at[stage]], end)
        order.append(step)
        at[stage] += 1


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
    return 200


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
