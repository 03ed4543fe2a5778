"""`hwmoe upcycle` and `hwmoe train`: from a dense model to trained ternary experts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwmoe.codegen.folder import write_json
from hwmoe.errors import HwmoeError
from hwmoe.files import replacing
from hwmoe.model.checkpoint import save_checkpoint
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import load_model
from hwmoe.quant.calibrate import Progress
from hwmoe.train.curves import draw_curves
from hwmoe.train.forms import measure
from hwmoe.train.settings import TrainSettings
from hwmoe.train.sources import training_data
from hwmoe.train.state import state_path
from hwmoe.train.trainer import Keep, train
from hwmoe.train.upcycle import EXPERT_SCALE, upcycle

Result = dict[str, Any]


def upcycle_file(
    source: str,
    out: Path,
    experts: int,
    top_k: int,
    layers: Sequence[int] | None,
    hidden: int | None,
    scale: float = EXPERT_SCALE,
    seed: int = 0,
) -> Result:
    """`hwmoe upcycle`: the dense model ``source`` with experts, as a checkpoint."""
    checked_out(out)
    dense = load_model(source)
    model = upcycle(dense, experts, top_k, layers, hidden, scale, seed)
    save_checkpoint(out, model)
    return {
        "file": str(out),
        "config": model.config.model_dump(mode="json"),
        "parameters": [_parameters(dense), _parameters(model)],
    }


def train_file(
    source: str,
    out: Path,
    data: str | None,
    validation: str | None,
    settings: TrainSettings,
    teacher: str | None,
    resume: bool,
    say: Progress,
) -> Result:
    """`hwmoe train`: the trained checkpoint, and beside it a log (.json) and curves (.png).

    With distillation, ``teacher`` is a model as ``source`` is; by default the model as it starts.
    """
    checked_out(out)
    keep = Keep(state_path(out), resume)
    if not resume and keep.path.exists():
        raise HwmoeError(
            f"{keep.path} is of a run that was not finished: go on with --resume, or delete it"
        )
    model = load_model(source)
    if settings.experts != "float" and not model.config.moe_layers:
        raise HwmoeError(
            f"model {source!r} has no experts: give it some with `hwmoe upcycle`, or train it as "
            "it is with --experts float"
        )
    images, test = training_data(model.config, data, validation, settings.seed, say)
    taught = None
    if settings.needs_teacher:
        taught = load_model(teacher) if teacher else model
    before = measure(model, test, settings.experts)
    start = time.perf_counter()
    trained = train(model, images, test, settings, taught, keep, say)
    result = {
        "file": str(out),
        "model": source,
        "teacher": (teacher or source) if taught else None,
        "settings": settings.model_dump(),
        "data": {"train": images.source, "images": len(images)},
        "test": {"source": test.source, "images": len(test)},
        "before": before,
        "after": measure(trained.model, test, settings.experts),
        "history": trained.history,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {"torch": torch.__version__, "threads": torch.get_num_threads()},
    }
    save_checkpoint(out, trained.model)
    with replacing(out.with_suffix(".json")) as beside:
        write_json(beside, result)
    draw_curves(trained.history, f"{source}, seed {settings.seed}", out.with_suffix(".png"))
    keep.path.unlink(missing_ok=True)
    return result


def checked_out(out: Path) -> None:
    """`HwmoeError` unless a checkpoint can be written there; hours later would be too late."""
    if out.suffix != ".safetensors":
        raise HwmoeError(f"{out}: give --out the name of a .safetensors file")
    if not out.absolute().parent.is_dir():
        raise HwmoeError(f"{out}: the folder {out.parent} does not exist")


def _parameters(model: MoEViT) -> int:
    return sum(value.numel() for value in model.parameters())


def show_upcycle(result: Result, console: Console) -> None:
    config, (before, after) = result["config"], result["parameters"]
    layers = ", ".join(map(str, config["moe_layers"]))
    console.print(
        escape(
            f"{result['file']}: layers {layers} have {config['experts']} experts, "
            f"top-{config['top_k']} (hidden {config['expert_hidden']}), beside their trained block "
            f"(hidden {config['shared_hidden']}); {before:,} to {after:,} parameters"
        ),
        soft_wrap=True,
    )


def show_training(result: Result, console: Console) -> None:
    about = f"{result['data']['images']:,} images of {result['data']['train']}"
    console.print(escape(f"Trained on {about} in {result['seconds']:,} s"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("Task", "experts", "before", "after"):
        table.add_column(name, justify="left" if name in ("Task", "experts") else "right")
    for form, tasks in result["after"].items():
        for task, value in tasks.items():
            before = result["before"][form][task]
            table.add_row(task, form, f"{before:.2%}", f"{value:.2%}")
    console.print(table)
    test = f"on {result['test']['images']:,} images of {result['test']['source']}"
    console.print(escape(f"top-1 in PyTorch {test}"), soft_wrap=True)
    stem = Path(result["file"])
    files = ", ".join(str(stem.with_suffix(s)) for s in (".safetensors", ".json", ".png"))
    console.print(escape(f"Written {files}"), soft_wrap=True)
