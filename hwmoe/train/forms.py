"""Forms of the routed experts that a loss or a measurement sees."""

from __future__ import annotations

import torch

from hwmoe.model.vit import MoEViT, WeightTransform
from hwmoe.quant.ternary import fake_ternary
from hwmoe.train.data import Labelled
from hwmoe.train.settings import ExpertsSeen

FLOAT: dict[str, WeightTransform | None] = {"float": None}
TERNARY: dict[str, WeightTransform | None] = {"ternary": fake_ternary}
FORMS: dict[ExpertsSeen, dict[str, WeightTransform | None]] = {
    "float": FLOAT,
    "ternary": TERNARY,
    "both": FLOAT | TERNARY,
}
BATCH = 64


@torch.no_grad()
def top1(model: MoEViT, data: Labelled, transform: WeightTransform | None) -> dict[str, float]:
    """Share of right answers by task, with the experts' weights changed by ``transform``."""
    before, model.expert_transform = model.expert_transform, transform
    try:
        right = {}
        for task, target in enumerate(data.targets(model.config)):
            parts = torch.split(torch.arange(len(data)), BATCH)
            found = [model(data.batch(part), task).argmax(-1) == target[part] for part in parts]
            right[model.config.tasks[task].name] = int(torch.cat(found).sum()) / len(data)
        return right
    finally:
        model.expert_transform = before


def measure(model: MoEViT, data: Labelled, seen: ExpertsSeen) -> dict[str, dict[str, float]]:
    """`top1` of every form that a training with ``seen`` is for, by its name."""
    return {form: top1(model, data, transform) for form, transform in FORMS[seen].items()}
