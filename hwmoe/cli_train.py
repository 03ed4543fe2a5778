"""`hwmoe upcycle` and `hwmoe train` on the command line."""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from hwmoe.errors import HwmoeError

Source = Annotated[
    str, typer.Argument(help="Zoo name, .safetensors checkpoint, or .toml configuration.")
]
Out = Annotated[Path, typer.Option("--out", help="Checkpoint to write (.safetensors).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Seen(str, Enum):
    ternary = "ternary"
    float = "float"
    both = "both"


class Augmentation(str, Enum):
    none = "none"
    affine = "affine"
    flip = "flip"


def upcycle_command(
    model: Source,
    out: Out,
    experts: Annotated[int, typer.Option("--experts", min=1, help="Routed experts a layer.")] = 8,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Experts a token goes to.")] = 1,
    layers: Annotated[
        str, typer.Option("--layers", help="Which, from 0, as 1,3,5; by default every second one.")
    ] = "",
    hidden: Annotated[
        int | None, typer.Option("--hidden", min=1, help="Channels of an expert; default: all.")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", min=0, max=1, help="Of the experts' output at the start.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of gates and experts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Give a dense model experts; its trained blocks stay as shared experts (MoTE)."""
    from hwmoe.cli import finish
    from hwmoe.flow.train import show_upcycle, upcycle_file

    if not re.fullmatch(r"([0-9]{1,4}(,[0-9]{1,4})*)?", layers):
        raise HwmoeError(f"--layers {layers!r}: give whole numbers with commas between")
    chosen = sorted({int(part) for part in layers.split(",")}) if layers else None
    result = upcycle_file(model, out, experts, top_k, chosen, hidden, scale, seed)
    finish(result, as_json, lambda console: show_upcycle(result, console))


def train_command(
    model: Source,
    out: Out,
    data: Annotated[
        str | None, typer.Option("--data", help="Class folders, or .npz with labels_TASK.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="The same to test on; else a tenth of it.")
    ] = None,
    experts: Annotated[
        Seen, typer.Option("--experts", help="As which the loss sees the routed experts.")
    ] = Seen.ternary,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 20,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a step.")] = 96,
    rate: Annotated[float, typer.Option("--rate", help="Peak of the cosine schedule.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option("--weight-decay")] = 0.05,
    warmup: Annotated[float, typer.Option("--warmup", help="Share of the steps.")] = 0.05,
    smoothing: Annotated[float, typer.Option("--smoothing", help="Of the labels.")] = 0.05,
    balance: Annotated[
        float, typer.Option("--balance", help="Weight of the load-balancing loss.")
    ] = 0.02,
    distill: Annotated[
        float, typer.Option("--distill", help="Share of the teacher in the loss; 0: none.")
    ] = 0.5,
    temperature: Annotated[float, typer.Option("--temperature", help="Of distillation.")] = 2.0,
    features: Annotated[
        float, typer.Option("--features", help="Weight of the distance to the teacher's blocks.")
    ] = 0.0,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Model; default: MODEL as it starts, in float.")
    ] = None,
    ema: Annotated[float, typer.Option("--ema", help="Decay of the averaged weights.")] = 0.98,
    augment: Annotated[
        Augmentation, typer.Option("--augment", help="affine: written signs. flip: photographs.")
    ] = Augmentation.none,
    only_experts: Annotated[
        bool, typer.Option("--only-experts", help="All but routed experts and gates stays fixed.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was stopped.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train with ternary experts (straight-through), distilled from the float model."""
    from hwmoe.cli import finish
    from hwmoe.flow.train import show_training, train_file
    from hwmoe.report.progress import Bars
    from hwmoe.train.settings import TrainSettings
    from hwmoe.train.state import state_path

    settings = TrainSettings.parse(
        {
            "experts": experts.value,
            "epochs": epochs,
            "batch": batch,
            "rate": rate,
            "weight_decay": weight_decay,
            "warmup": warmup,
            "smoothing": smoothing,
            "balance": balance,
            "distill": distill,
            "temperature": temperature,
            "features": features,
            "ema": ema,
            "augment": augment.value,
            "only_experts": only_experts,
            "seed": seed,
        }
    )
    try:
        with Bars() as bars:
            result = train_file(
                model, out, data, validation, settings, teacher, resume, bars.update
            )
    except (KeyboardInterrupt, SystemExit):
        if state_path(out).is_file():
            sys.stderr.write(f"hwmoe: {state_path(out)} is kept: go on with --resume\n")
        raise
    finish(result, as_json, lambda console: show_training(result, console))
