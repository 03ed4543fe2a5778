"""Float against integers: the only comparison with an error budget, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hwmoe.model.vit import MoEViT
from hwmoe.quant.calibrate import Progress, batch_size, no_progress
from hwmoe.quant.numerics import Saturations
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import Trace, run_reference

Floats = npt.NDArray[np.floating[Any]]
MAX_SQNR_DB = 200.0


@dataclass(frozen=True)
class LayerError:
    """Distance of one tensor from its float twin, in the float's units."""

    name: str
    max_error: float
    sqnr_db: float
    cosine: float


def layer_error(name: str, exact: Floats, found: Floats) -> LayerError:
    """Largest error, signal to quantization noise in dB (at most 200), cosine of the two."""
    exact, found = exact.astype(np.float64), found.astype(np.float64)
    noise, signal = float(((found - exact) ** 2).sum()), float((exact**2).sum())
    sqnr = MAX_SQNR_DB
    if noise:
        sqnr = 10 * np.log10(signal / noise) if signal else -MAX_SQNR_DB
    norms = float(np.linalg.norm(exact) * np.linalg.norm(found))
    cosine = float((exact * found).sum()) / norms if norms else float(noise == 0)
    largest = float(np.abs(found - exact).max()) if exact.size else 0.0
    return LayerError(name, largest, float(min(sqnr, MAX_SQNR_DB)), cosine)


def scale_of(model: QuantizedModel, name: str, task: int) -> float | Floats | None:
    """Value of one step of a traced tensor; None if it is not a scaled number."""
    if name == "head" or name.endswith(".gate"):
        name = f"{name}.{task}"
    return model.scales.get(name)


def compare_layers(
    model: QuantizedModel, integers: Trace, floats: Mapping[str, Floats], task: int
) -> list[LayerError]:
    """Every tensor both traces hold, in network order. Experts are compared on common tokens."""
    errors = []
    for name, values in integers.items():
        scale = scale_of(model, name, task)
        if scale is None or name not in floats:
            continue
        found = values.reshape(-1, values.shape[-1]) * scale
        if name in model.folded:
            factor, offset = model.folded[name]
            found = found * factor + offset
        exact = floats[name].reshape(-1, values.shape[-1])
        if ".experts." in name:
            rows = f"{name.rpartition('.')[0]}.rows"
            _, left, right = np.intersect1d(integers[rows], floats[rows], return_indices=True)
            found, exact = found[left], exact[right]
        if len(exact):
            errors.append(layer_error(name, exact, found))
    return errors


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of the float model and of the integers; None without labels."""

    task: str
    images: int
    float_top1: float | None
    integer_top1: float | None
    agreement: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One task on a set of images, float beside integers.

    accuracy, saturations and load are of all images; layers, ranges and the two traces
    (`integers`, `floats`) of the first batch.
    """

    accuracy: Accuracy
    layers: list[LayerError]
    saturations: dict[str, int]
    ranges: dict[str, int]
    load: dict[str, dict[str, Any]]
    integers: Trace
    floats: dict[str, Floats]


def evaluate(
    model: MoEViT,
    quantized: QuantizedModel,
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
    task: int,
    progress: Progress = no_progress,
) -> Evaluation:
    """Run raw-pixel images [N, C, H, W] through both and measure the distance."""
    batch = batch_size(quantized.config)
    exact, whole = [], []
    first: tuple[Trace, dict[str, Floats]] | None = None
    saturations, load = Saturations(), _Load(quantized)
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        trace: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            exact.append(model(torch.from_numpy(part), task, trace).numpy())
        floats = {name: value.numpy() for name, value in trace.items()}
        run = run_reference(quantized, quantized.quantize_images(part), task, trace=True)
        assert run.trace is not None
        whole.append(run.logits)
        for site, count in run.saturations.items():
            saturations.count(site, count)
        load.add(run.trace, floats)
        first = first or (run.trace, floats)
        progress("comparing with PyTorch", min(start + batch, len(images)), len(images))
    assert first is not None
    accuracy = _accuracy(
        quantized.config.tasks[task].name, np.concatenate(exact), np.concatenate(whole), labels
    )
    layers = compare_layers(quantized, *first, task)
    return Evaluation(
        accuracy, layers, dict(saturations), _largest(first[0]), load.result(), *first
    )


def _accuracy(
    task: str, exact: Floats, whole: npt.NDArray[np.int16], labels: npt.NDArray[np.int64] | None
) -> Accuracy:
    ours, theirs = whole.argmax(1), exact.argmax(1)
    return Accuracy(
        task,
        len(exact),
        None if labels is None else float((theirs == labels).mean()),
        None if labels is None else float((ours == labels).mean()),
        float((ours == theirs).mean()),
    )


def _largest(trace: Trace) -> dict[str, int]:
    """Largest magnitude of each int8 or int16 tensor."""
    small = {n: v for n, v in trace.items() if v.dtype in (np.int8, np.int16) and v.size}
    return {name: int(np.abs(value.astype(np.int32)).max()) for name, value in small.items()}


class _Load:
    """Tokens an expert in each MoE layer, and how often both routings choose the same set,
    and the same first."""

    def __init__(self, model: QuantizedModel) -> None:
        self.layers = model.config.moe_layers
        self.experts = model.config.experts
        zeros = np.zeros(self.experts, np.int64)
        self.counts = {layer: [zeros.copy(), zeros.copy()] for layer in self.layers}
        self.same = dict.fromkeys(self.layers, 0)
        self.first = dict.fromkeys(self.layers, 0)
        self.tokens = dict.fromkeys(self.layers, 0)

    def add(self, integers: Trace, floats: Mapping[str, Floats]) -> None:
        for layer in self.layers:
            name = f"blocks.{layer}.moe.topk"
            ours, theirs = integers[name], floats[name].astype(np.int64)
            theirs = theirs.reshape(ours.shape)
            for counts, chosen in zip(self.counts[layer], (ours, theirs), strict=True):
                counts += np.bincount(chosen.reshape(-1), minlength=self.experts)
            same = (np.sort(ours, -1) == np.sort(theirs, -1)).all(-1)
            self.same[layer] += int(same.sum())
            self.first[layer] += int((ours[..., 0] == theirs[..., 0]).sum())
            self.tokens[layer] += same.size

    def result(self) -> dict[str, dict[str, Any]]:
        return {
            f"blocks.{layer}": {
                "integer": self.counts[layer][0].tolist(),
                "float": self.counts[layer][1].tolist(),
                "routing_agreement": self.same[layer] / self.tokens[layer],
                "first_agreement": self.first[layer] / self.tokens[layer],
            }
            for layer in self.layers
        }
