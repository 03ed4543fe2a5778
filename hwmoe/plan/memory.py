"""The constants of a program: packed once, shared by all tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hwmoe.plan.packing import Beats, Ints, pad_to

PARAM_ALIGN = 16
"""int32 values: every entry starts at a multiple of 64 bytes, the widest beat of a memory port
that parameters are read through."""


@dataclass
class Memory:
    """Constants, packed as they are first needed; tasks share what they have in common."""

    params: list[npt.NDArray[np.int32]] = field(default_factory=list)
    weights: list[Beats] = field(default_factory=list)
    params_at: dict[str, int] = field(default_factory=dict)
    weights_at: dict[str, int] = field(default_factory=dict)
    n_params: int = 0
    n_weights: int = 0

    def param(self, key: str, make: Callable[[], Ints]) -> int:
        """Where the int32 values called `key` lie; made and stored the first time."""
        if key not in self.params_at:
            values = pad_to(make().astype(np.int32).reshape(-1), 0, PARAM_ALIGN)
            self.params_at[key] = self.n_params
            self.params.append(values.astype(np.int32))
            self.n_params += values.size
        return self.params_at[key]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Bytes of the weights and of the parameters stored for each key, padding included."""
        width = self.weights[0].shape[1] if self.weights else 0
        weights = _lengths(self.weights_at, self.n_weights)
        params = _lengths(self.params_at, self.n_params)
        return {
            key: (weights.get(key, 0) * width, params.get(key, 0) * 4)
            for key in weights.keys() | params.keys()
        }

    def joined(self) -> tuple[npt.NDArray[np.int32], Beats]:
        """All constants: int32 [n] and uint8 [beats, bytes]."""
        params = [np.zeros(0, np.int32), *self.params]
        weights = self.weights or [np.zeros((0, 1), np.uint8)]
        return np.concatenate(params), np.concatenate(weights)

    def weight(self, key: str, make: Callable[[], Beats]) -> int:
        """Where the beats called `key` lie; made and stored the first time."""
        if key not in self.weights_at:
            beats = make()
            self.weights_at[key] = self.n_weights
            self.weights.append(beats)
            self.n_weights += len(beats)
        return self.weights_at[key]


def _lengths(at: dict[str, int], end: int) -> dict[str, int]:
    """From where things start, one after the other, how long each is."""
    keys = sorted(at, key=at.__getitem__)
    ends = [at[key] for key in keys[1:]] + [end]
    return {key: stop - at[key] for key, stop in zip(keys, ends, strict=True)}


class NoMemory(Memory):
    """Stores nothing; every address is 0."""

    def param(self, key: str, make: Callable[[], Ints]) -> int:
        return 0

    def weight(self, key: str, make: Callable[[], Beats]) -> int:
        return 0
