"""What an instruction reads and writes on chip: the one place that knows, for all that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div
from hwmoe.plan.program import Step

LISTS = "lists"
"""The memory of token lists; its words are tables."""

_LOAD_X = 1 << LINEAR_FLAGS.index("load_x")
_SPACES = {number: name for name, number in instruction_set().spaces.items()}


@dataclass(frozen=True)
class Words:
    """Words first .. stop-1 of a memory: act8, heads, res, y or lists."""

    memory: str
    first: int
    stop: int

    def meets(self, others: Sequence[Words]) -> bool:
        """Whether one of the others has a word of these."""
        return any(
            self.memory == o.memory and self.first < o.stop and o.first < self.stop for o in others
        )


@dataclass(frozen=True)
class Effects:
    reads: tuple[Words, ...]
    writes: tuple[Words, ...]

    def after(self, other: Effects) -> bool:
        """Whether what has these effects must stay in its order with the other."""
        return any(w.meets(self.reads) or w.meets(self.writes) for w in other.writes) or any(
            r.meets(self.writes) for r in other.reads
        )


def effects(step: Step, acc: AcceleratorConfig) -> Effects:
    """Of one step; token lists count with the longest they can be."""
    return _EFFECTS[step.kind](step.fields, acc)


def _words(memory: str, base: int, tiles: int, rows: int) -> Words:
    return Words(memory, base, base + tiles * rows)


def _lists(f: Mapping[str, int]) -> Words:
    return Words(LISTS, f["slot"], f["slot"] + 1)


def _load_image(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    return Effects((), (_words("act8", f["dst"], 1, f["words"]),))


def _load_const(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    return Effects((), (_words("res", f["dst"], 1, f["words"]),))


def _layernorm(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    tiles = ceil_div(f["dim"], acc.linear.t_in)
    source = _words("res", f["src"], tiles, f["n_tok"])
    return Effects((source,), (_words("act8", f["dst"], tiles, f["count"]),))


def _linear(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    reads = [_words("act8", f["src"], f["in_tiles"], f["n_tok"])] if f["flags"] & _LOAD_X else []
    if f["list_mode"]:
        reads.append(_lists(f))
    tiles = ceil_div(f["chunks"] * acc.linear.t_epi, acc.linear.t_in)
    return Effects(tuple(reads), (_words(_SPACES[f["space"]], f["dst"], tiles, f["n_list"]),))


def _attention(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    beat = acc.attention.head_units * acc.attention.dim_lanes
    tiles = ceil_div(f["head_groups"] * f["dim_tiles"] * beat, acc.linear.t_in)
    reads = tuple(_words("heads", f[part], tiles, f["n_tok"]) for part in "qkv")
    return Effects(reads, (_words("act8", f["dst"], tiles, f["n_tok"]),))


def _add(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    reads = [
        _words("y", f["src"], f["tiles"], f["count"]),
        _words("res", f["base"], f["tiles"], f["n_tok"]),
    ]
    if f["list_mode"]:
        reads.append(_lists(f))
    return Effects(tuple(reads), (_words("res", f["dst"], f["tiles"], f["n_tok"]),))


def _gate(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    tiles = ceil_div(f["experts"], acc.linear.t_in)
    return Effects((_words("y", f["src"], tiles, f["n_tok"]),), (_lists(f),))


def _store(f: Mapping[str, int], acc: AcceleratorConfig) -> Effects:
    words = ceil_div(f["n_out"], acc.linear.t_in)
    return Effects((_words(_SPACES[f["space"]], f["src"], words, 1),), ())


_EFFECTS = {
    "load_image": _load_image,
    "load_const": _load_const,
    "layernorm": _layernorm,
    "linear": _linear,
    "expert": _linear,
    "attention": _attention,
    "add": _add,
    "gate": _gate,
    "store": _store,
}
