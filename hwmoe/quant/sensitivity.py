"""How much each routed expert's rounding moves the logits, all else being float."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT, Tracer
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.quant.quantized import QuantizedModel

Floats = npt.NDArray[np.float64]

MAC_BUDGET = 4e10
"""Of all forward passes together: some seconds."""
MOST_IMAGES = 64


@dataclass(frozen=True)
class Sensitivity:
    """One expert of one MoE layer with its integer weights in the float model.

    change: RMS change of the logits over their RMS; agreement: share of images with the same
    answer; tokens: how many the expert got.
    """

    task: str
    layer: str
    expert: int
    tokens: int
    change: float
    agreement: float


def image_count(config: ModelConfig) -> int:
    """Images that keep to MAC_BUDGET, at least one."""
    passes = max(1, len(config.moe_layers) * config.experts * len(config.tasks))
    return int(min(MOST_IMAGES, max(1, MAC_BUDGET / (passes * config.macs))))


def stored_weight(quantized: QuantizedModel, block: str, expert: int, fc: str) -> Floats:
    """The weights [N, K] that the integers of ``fc1`` or ``fc2`` stand for, in the float model."""
    name = f"{block}.moe.experts.{expert}"
    params = quantized.linear(f"{name}.{fc}")
    source = f"{block}.norm2" if fc == "fc1" else f"{name}.gelu"
    ratio = params.multiplier / 2.0**params.shift
    ratio = ratio * np.asarray(quantized.scales[f"{name}.{fc}"])
    scale = ratio / np.asarray(quantized.scales[source])
    weight: Floats = params.weight * scale[:, None]
    folded = quantized.folded.get(source)
    return weight if folded is None else weight / folded[0]


def sensitivities(
    model: MoEViT,
    quantized: QuantizedModel,
    images: npt.NDArray[np.float32],
    progress: Progress = no_progress,
) -> list[Sensitivity]:
    """Every expert on the first of `images` (raw pixels [N, C, H, W]), all tasks."""
    config = quantized.config
    few = torch.from_numpy(images[: image_count(config)])
    changed = copy.deepcopy(model)
    rows: list[Sensitivity] = []
    total = len(config.tasks) * len(config.moe_layers) * config.experts
    with torch.no_grad():
        for task, own in enumerate(config.tasks):
            trace: dict[str, Tensor] = {}
            exact = model(few, task, trace)
            for layer in config.moe_layers:
                before = trace[f"blocks.{layer - 1}.res2" if layer else "embed"]
                chosen = trace[f"blocks.{layer}.moe.topk"]
                for expert in range(config.experts):
                    tokens = int((chosen == expert).sum())
                    found = exact
                    if tokens:
                        found = _with_rounded(changed, quantized, before, task, layer, expert)
                    rows.append(
                        Sensitivity(
                            own.name,
                            f"blocks.{layer}",
                            expert,
                            tokens,
                            float((found - exact).norm() / exact.norm().clamp(min=1e-30)),
                            float((found.argmax(1) == exact.argmax(1)).double().mean()),
                        )
                    )
                    progress("sensitivity of experts", len(rows), total)
    return rows


def _with_rounded(
    model: MoEViT,
    quantized: QuantizedModel,
    before: Tensor,
    task: int,
    layer: int,
    expert: int,
) -> Tensor:
    """Logits from the input of `layer` on with one expert rounded; `model` is as it was after."""
    moe = model.blocks[layer].moe
    kept = {}
    for fc in ("fc1", "fc2"):
        weight = getattr(moe, fc).weight
        kept[fc] = weight[expert].clone()
        whole = stored_weight(quantized, f"blocks.{layer}", expert, fc)
        weight[expert] = torch.from_numpy(whole.astype(np.float32))
    x = before
    for block in model.blocks[layer:]:
        x = block(x, task, Tracer(None), model.expert_transform)
    for fc, weight in kept.items():
        getattr(moe, fc).weight[expert] = weight
    logits: Tensor = model.heads[task](model.norm(x[:, 0]))
    return logits
