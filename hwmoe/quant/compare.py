"""Float against integers: the only comparison with an error budget, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hwmoe.model.vit import MoEViT
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
    if noise == 0:
        sqnr = MAX_SQNR_DB
    else:
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
    """One task on a set of images, float beside integers."""

    accuracy: Accuracy
    layers: list[LayerError]
    saturations: dict[str, int]
    ranges: dict[str, int]
    load: dict[str, dict[str, Any]]
    logits: npt.NDArray[np.int16]
    integers: Trace
    floats: dict[str, Floats]


def float_run(
    model: MoEViT, images: npt.NDArray[np.float32], task: int, batch: int = 64
) -> tuple[Floats, dict[str, Floats]]:
    """Logits [N, classes] and the trace of the float model, joined over batches."""
    logits, parts = [], []
    tokens = model.config.tokens
    for start in range(0, len(images), batch):
        trace: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            logits.append(model(torch.from_numpy(images[start : start + batch]), task, trace))
        for name in trace:
            if name.endswith(".rows"):
                trace[name] = trace[name] + start * tokens
        parts.append(trace)
    joined = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    return torch.cat(logits).numpy(), joined


def evaluate(
    model: MoEViT,
    quantized: QuantizedModel,
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
    task: int,
) -> Evaluation:
    """Run raw-pixel images [N, C, H, W] through both and measure the distance."""
    exact, floats = float_run(model, images, task)
    run = run_reference(quantized, quantized.quantize_images(images), task, trace=True)
    assert run.trace is not None
    guesses, right = run.logits.argmax(1), exact.argmax(1)
    accuracy = Accuracy(
        quantized.config.tasks[task].name,
        len(images),
        None if labels is None else float((right == labels).mean()),
        None if labels is None else float((guesses == labels).mean()),
        float((guesses == right).mean()),
    )
    return Evaluation(
        accuracy,
        compare_layers(quantized, run.trace, floats, task),
        dict(run.saturations),
        _largest(run.trace),
        _expert_load(quantized, run.trace, floats),
        run.logits,
        run.trace,
        floats,
    )


def _largest(trace: Trace) -> dict[str, int]:
    """Largest magnitude of each int8 or int16 tensor."""
    small = {n: v for n, v in trace.items() if v.dtype in (np.int8, np.int16) and v.size}
    return {name: int(np.abs(value.astype(np.int32)).max()) for name, value in small.items()}


def _expert_load(
    model: QuantizedModel, integers: Trace, floats: Mapping[str, Floats]
) -> dict[str, dict[str, Any]]:
    """Tokens an expert in each MoE layer, and how often both routings choose the same set."""
    load = {}
    for layer in model.config.moe_layers:
        name = f"blocks.{layer}.moe.topk"
        ours, theirs = integers[name], floats[name].reshape(integers[name].shape)
        same = (np.sort(ours, -1) == np.sort(theirs, -1)).all(-1)
        experts = model.config.experts
        load[f"blocks.{layer}"] = {
            "integer": np.bincount(ours.reshape(-1), minlength=experts).tolist(),
            "float": np.bincount(theirs.reshape(-1).astype(int), minlength=experts).tolist(),
            "routing_agreement": float(same.mean()),
        }
    return load


def as_plain(error: LayerError | Accuracy) -> dict[str, Any]:
    """For report.json."""
    return asdict(error)
