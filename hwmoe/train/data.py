"""What a trainer draws from: images by number, and a label of each for every task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.data import FloatArray, IntArray


class Pixels(Protocol):
    """Images that need not all be in memory."""

    def __len__(self) -> int: ...

    def batch(self, index: IntArray) -> FloatArray:
        """Raw pixels float32 [len(index), C, H, W] in [0, 1]."""

    def digest(self) -> str:
        """Changes with the images."""


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """`Pixels` in an array float32 [N, C, H, W]."""

    array: FloatArray

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, index: IntArray) -> FloatArray:
        return self.array[index]

    def digest(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.array).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with int64 [N] labels for every task of a model, by its name."""

    pixels: Pixels
    labels: dict[str, IntArray]
    source: str

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.pixels.batch(index.numpy()))

    def targets(self, config: ModelConfig) -> list[Tensor]:
        """Labels in the order of the model's tasks; `HwmoeError` if they do not fit it."""
        problems = []
        for task in config.tasks:
            found = self.labels.get(task.name)
            if found is None:
                have = ", ".join(sorted(self.labels)) or "none"
                problems.append(f"no labels for task {task.name!r}; there are: {have}")
            elif len(found) != len(self):
                problems.append(f"{task.name}: {len(found)} labels for {len(self)} images")
            elif len(found) and not 0 <= int(found.min()) <= int(found.max()) < task.classes:
                problems.append(
                    f"{task.name}: labels from {found.min()} to {found.max()}, the task has "
                    f"{task.classes} classes (0 to {task.classes - 1})"
                )
        if not len(self):
            problems.append("no images")
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise HwmoeError(f"{self.source} cannot train model {config.name!r}:\n{lines}")
        return [torch.from_numpy(self.labels[task.name]) for task in config.tasks]

    def part(self, index: IntArray, source: str) -> Labelled:
        """Only the images numbered ``index``."""
        labels = {name: values[index] for name, values in self.labels.items()}
        return Labelled(_Part(self.pixels, index), labels, source)

    def digest(self) -> str:
        total = hashlib.sha256(self.pixels.digest().encode())
        for name in sorted(self.labels):
            total.update(name.encode() + np.ascontiguousarray(self.labels[name]).tobytes())
        return total.hexdigest()


@dataclass(frozen=True, eq=False)
class _Part:
    whole: Pixels
    index: IntArray

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: IntArray) -> FloatArray:
        return self.whole.batch(self.index[index])

    def digest(self) -> str:
        return self.whole.digest() + hashlib.sha256(self.index.tobytes()).hexdigest()


def held_out(data: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Split off a random ``share`` of the images to test on; ``seed`` draws them."""
    order = np.random.default_rng(seed).permutation(len(data))
    count = round(share * len(data))
    if not 1 <= count < len(data):
        raise HwmoeError(f"{data.source}: {len(data)} images are too few to hold {share:g} out")
    test, train = np.sort(order[:count]), np.sort(order[count:])
    return data.part(train, data.source), data.part(test, f"{data.source}, held out")
