"""How many tokens each expert gets in a run of images, by the integer reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference


def routed_lengths(
    program: Program,
    model: QuantizedModel,
    patches: npt.NDArray[np.int8],
    tasks: Sequence[int],
) -> Callable[[int, int, int], int]:
    """(image of the run, step of the program, expert) -> tokens of that expert, for int8 patches
    [N, patches, K] with a task an image."""
    tokens = model.config.tokens
    counts: dict[tuple[int, str], int] = {}
    for task in sorted(set(tasks)):
        mine = [image for image, own in enumerate(tasks) if own == task]
        trace = run_reference(model, patches[mine], task, trace=True).trace
        assert trace is not None
        for name, rows in trace.items():
            if name.endswith(".rows"):
                found = np.bincount(rows // tokens, minlength=len(mine))
                counts |= {(image, name): int(n) for image, n in zip(mine, found, strict=True)}

    def length(image: int, step: int, expert: int) -> int:
        block = ".".join(program.steps[step].name.split(".")[:2])
        return counts[image, f"{block}.moe.experts.{expert}.rows"]

    return length
