"""Train `digits`, the small two-task MoE ViT that hwmoe ships, on one CPU thread.

Every step sees the experts twice, as float and as ternary weights, so that one checkpoint
serves both. Run: ``python examples/digits/train.py [--out FILE] [--epochs N]``.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hwmoe.model import data
from hwmoe.model.checkpoint import save_checkpoint
from hwmoe.model.vit import MoE, MoEViT
from hwmoe.model.zoo import read_geometry, seeded_model
from hwmoe.quant.ternary import fake_ternary

ROOT = Path(__file__).resolve().parents[2]
GEOMETRY = Path(__file__).with_name("digits.toml")
OUT = ROOT / "hwmoe" / "model" / "weights" / "digits.safetensors"

SEED = 1
BATCH = 96
RATE = 2e-3
WEIGHT_DECAY = 0.05
SMOOTHING = 0.05
BALANCE = 0.02
EMA = 0.995
WARMUP = 0.05  # share of the steps


class Balance:
    """Load-balancing loss of Switch Transformers (eq. 4), gathered by hooks on MoE layers."""

    def __init__(self, model: MoEViT) -> None:
        self.losses: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, MoE):
                module.register_forward_hook(self._hook)

    def _hook(self, module: torch.nn.Module, args: tuple[Tensor, int], _: Tensor) -> None:
        assert isinstance(module, MoE)
        logits = module.gate_logits(args[0], args[1]).flatten(0, -2)
        chosen = F.one_hot(module.route(logits)[0], module.experts).sum(1).float()
        share = chosen.mean(0) / module.top_k
        self.losses.append(module.experts * (share * logits.softmax(-1).mean(0)).sum())

    def take(self) -> Tensor:
        """The mean loss since the last call."""
        loss = torch.stack(self.losses).mean()
        self.losses.clear()
        return loss


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Small random shifts, rotations, scales and shears, then noise; [B, 1, 8, 8] unchanged."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=random) * 2 - 1) * limit

    angle, shear = uniform(math.radians(14)), uniform(0.15)
    zoom_x, zoom_y = 1 + uniform(0.13), 1 + uniform(0.13)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Shifts are in half-widths of the image: 0.2 is 0.8 pixels.
    row_x = torch.stack([cos * zoom_x, shear - sin * zoom_y, uniform(0.2)], dim=1)
    row_y = torch.stack([sin * zoom_x, cos * zoom_y, uniform(0.2)], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    contrast = 1 + uniform(0.15).view(-1, 1, 1, 1)
    noise = 0.04 * torch.randn(moved.shape, generator=random)
    return (moved * contrast + noise).clamp(0, 1)


def step_loss(model: MoEViT, balance: Balance, images: Tensor, labels: list[Tensor]) -> Tensor:
    """Cross entropy of both tasks with float and with ternary experts, and the balance loss."""
    total = torch.zeros(())
    for transform in (None, fake_ternary):
        model.expert_transform = transform
        for task, target in enumerate(labels):
            logits = model(images, task)
            total = total + F.cross_entropy(logits, target, label_smoothing=SMOOTHING)
    model.expert_transform = None
    return total + BALANCE * len(labels) * balance.take()


def optimizer_for(model: MoEViT) -> torch.optim.Optimizer:
    """AdamW; weights decay, which keeps activations small for int8, biases and norms do not."""
    named = list(model.named_parameters())
    plain = [p for n, p in named if "bias" in n or "norm" in n or n in ("cls_token", "pos_embed")]
    kept = {id(p) for p in plain}
    decayed = [p for _, p in named if id(p) not in kept]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))


def train(epochs: int) -> MoEViT:
    """Train from scratch; returns the moving average of the weights."""
    pixels, targets = data.digits_train()
    images = torch.from_numpy(pixels)
    model = seeded_model(read_geometry(GEOMETRY)[0], SEED).train()
    labels = [torch.from_numpy(targets[task.name]) for task in model.config.tasks]
    random = torch.Generator().manual_seed(SEED)
    average = copy.deepcopy(model)
    balance = Balance(model)
    optimizer = optimizer_for(model)
    steps = epochs * (len(images) // BATCH)

    def rate(step: int) -> float:
        return min((step + 1) / (WARMUP * steps), 0.5 + 0.5 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    start = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=random)
        for pick in torch.split(order, BATCH)[: len(images) // BATCH]:
            loss = step_loss(
                model, balance, augment(images[pick], random), [y[pick] for y in labels]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                mean.data.lerp_(now.data, 1 - EMA)
        if epoch % 10 == 9 or epoch == epochs - 1:
            seconds = time.monotonic() - start
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}, {seconds:.0f} s", flush=True)
    return average.eval()


@torch.no_grad()
def report(model: MoEViT) -> None:
    """Print test accuracy with float and ternary experts, and the load of every expert."""
    images = data.digits_images()
    assert images.labels is not None
    test = torch.from_numpy(images.test)
    for task, info in enumerate(model.config.tasks):
        target = torch.from_numpy(images.labels[info.name])
        line = f"{info.name}:"
        trace: dict[str, Tensor] = {}
        for name, transform in (("ternary", fake_ternary), ("float", None)):
            model.expert_transform = transform
            right = (model(test, task, trace).argmax(-1) == target).float().mean()
            line += f" {name} experts {100 * right.item():.2f} %"
        print(line)
        for layer in model.config.moe_layers:
            chosen = trace[f"blocks.{layer}.moe.topk"].flatten()
            load = torch.bincount(chosen, minlength=model.config.experts) / len(chosen)
            shares = " ".join(f"{100 * x:.1f}" for x in load.tolist())
            print(f"  layer {layer}, load of the experts in %: {shares}")


def main() -> None:
    """Train, report, and write the checkpoint."""
    parser = argparse.ArgumentParser(description="Train the digits model that hwmoe ships.")
    parser.add_argument("--out", type=Path, default=OUT, help="checkpoint to write")
    parser.add_argument("--epochs", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    model = train(args.epochs)
    report(model)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.out, model)
    print(f"wrote {args.out} ({args.out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
