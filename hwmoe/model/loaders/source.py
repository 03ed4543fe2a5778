"""Named tensors of any origin, with shapes known before a value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from hwmoe.model.loaders.imported import Note

# 1 G float32 values: ten times the largest model of the zoo's kind. More is a mistake or an attack.
MAX_VALUES = 2**30
MAX_TENSORS = 20_000


@dataclass(frozen=True)
class Source:
    """``what`` names it in messages; ``read`` gives one tensor, on the CPU.

    ``flat``: the files know only how many values they hold, and every shape is (count,).
    """

    what: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    notes: Sequence[Note] = field(default_factory=tuple)
    flat: bool = False


def tensors_source(what: str, tensors: Mapping[str, Tensor], notes: Sequence[Note] = ()) -> Source:
    """A source of tensors that are in memory already."""
    return Source(what, {k: tuple(v.shape) for k, v in tensors.items()}, tensors.__getitem__, notes)
