"""AdamW and the schedule of its rate."""

from __future__ import annotations

import math

import torch

from hwmoe.model.vit import MoEViT
from hwmoe.train.settings import TrainSettings

BETAS = (0.9, 0.98)


def optimizer_for(model: MoEViT, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW; weights decay, which keeps activations small for int8, biases and norms do not."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for n, p in named if "bias" in n or "norm" in n or n in ("cls_token", "pos_embed")]
    kept = {id(p) for p in plain}
    decayed = [p for _, p in named if id(p) not in kept]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.rate, betas=BETAS)


def schedule_for(
    optimizer: torch.optim.Optimizer, settings: TrainSettings, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up under half a cosine that ends at 0 after ``steps`` steps."""

    def rate(step: int) -> float:
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        return min((step + 1) / max(settings.warmup * steps, 1.0), cosine)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
