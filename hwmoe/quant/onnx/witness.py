"""onnxruntime as a witness: the exported graph against the integer reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.quant.calibrate import batch_size
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference

TINY = 1e-30
"""Above zero, for logits that are zero altogether."""


@dataclass(frozen=True)
class Witness:
    """One task: how often both answer the same, and how far the logits are apart.

    ``rms_error`` and ``max_error`` are fractions of the root mean square, and of the largest
    magnitude, of the reference's logits.
    """

    task: str
    images: int
    same_answer: float
    rms_error: float
    max_error: float


def run_onnx(path: Path, images: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Logits of every task of an ONNX file, by onnxruntime on the CPU."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found: list[Any] = session.run(None, {session.get_inputs()[0].name: images})
    except Exception as error:
        # onnxruntime has its own exceptions for each kind of failure; all mean the same here.
        raise HwmoeError(f"onnxruntime does not run {path}: {error}") from None
    return found


def witness(model: QuantizedModel, path: Path, images: npt.NDArray[np.float32]) -> list[Witness]:
    """Compare the file at ``path`` with the integer reference on raw pixels [N, C, H, W]."""
    step = batch_size(model.config)
    parts = [run_onnx(path, images[i : i + step]) for i in range(0, len(images), step)]
    results = []
    for task, about in enumerate(model.config.tasks):
        theirs = np.concatenate([part[task] for part in parts])
        scale = np.asarray(model.scales[f"head.{task}"])
        ours = np.concatenate(
            [
                run_reference(model, model.quantize_images(images[i : i + step]), task).logits
                for i in range(0, len(images), step)
            ]
        )
        exact = (ours * scale).astype(np.float64)
        error, signal = np.abs(theirs - exact), np.abs(exact)
        results.append(
            Witness(
                about.name,
                len(images),
                float((ours.argmax(1) == theirs.argmax(1)).mean()),
                float(np.sqrt((error**2).mean() / max((signal**2).mean(), TINY))),
                float(error.max() / max(signal.max(), TINY)),
            )
        )
    return results
