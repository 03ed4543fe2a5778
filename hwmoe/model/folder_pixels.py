"""Pixels and labels of a folder of pictures, to calibrate and to test on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.folder import Pictures, open_folder, unusable

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

CALIBRATION = 256
MAX_BYTES = 1 << 30
"""Most that the float32 pixels of the test pictures may take."""


def folder_pixels(
    config: ModelConfig, path: Path, limit: int | None = None
) -> tuple[FloatArray, FloatArray, dict[str, IntArray] | None, str]:
    """Pictures to calibrate on, to test on ([N, C, H, W] each), labels by task, and a description.

    At most ``limit`` to test, evenly spread over the classes. Raises `HwmoeError` naming every
    picture that cannot be read, and for more than fits memory.
    """
    train, test = open_folder(path, config)
    first = _evenly(len(train), min(CALIBRATION, len(train)))
    second = _evenly(len(test), min(limit or len(test), len(test)))
    image = 4 * config.channels * config.image[0] * config.image[1]
    if len(second) * image > MAX_BYTES:
        raise HwmoeError(
            f"{path}: {len(second):,} pictures of {image:,} bytes are more than fit in memory; "
            f"take at most {MAX_BYTES // image:,} with --count, or a smaller folder"
        )
    problems, pixels = [], []
    parts: list[tuple[Pictures, IntArray]] = [(train, first), (test, second)]
    for part, index in parts:
        some = part.part(index)
        problems += some.problems()
        if not problems:
            pixels.append(some.batch(np.arange(len(some))))
    if problems:
        raise unusable(path, list(dict.fromkeys(problems)))
    labels = None
    if test.labels is not None and test.task is not None:
        labels = {test.task: test.labels[second]}
    unknown = "" if labels else ", labels unknown"
    return pixels[0], pixels[1], labels, f"{len(second)} pictures of {path}{unknown}"


def _evenly(count: int, wanted: int) -> IntArray:
    """``wanted`` of ``count`` numbers, evenly spread, so that every class has its share."""
    return np.arange(wanted, dtype=np.int64) * count // wanted
