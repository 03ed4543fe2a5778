"""`hwmoe import`: other people's models as checkpoints of ours, and what was made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwmoe.errors import HwmoeError
from hwmoe.model.average import average_experts
from hwmoe.model.checkpoint import save_checkpoint
from hwmoe.model.data import Images, images_for
from hwmoe.model.loaders.imported import Imported
from hwmoe.model.loaders.load import import_file
from hwmoe.model.loaders.module import import_module
from hwmoe.model.loaders.options import ImportOptions
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import ZOO, load_model

Result = dict[str, Any]
BATCH = 64


def import_model(
    source: str, out: Path | None, options: ImportOptions, average: bool, images: str | None
) -> Result:
    """Recognize ``source`` and write it as our checkpoint to ``out``, if given.

    A name of the zoo and a ``.toml`` geometry serve too, so that with ``average`` the experts of
    any model can be averaged; the accuracy of both is then in the result.
    """
    if out is not None and out.suffix != ".safetensors":
        raise HwmoeError(f"{out}: give --out the name of a .safetensors file")
    ours = source in ZOO or source.endswith(".toml")
    imported = import_module(load_model(source)) if ours else import_file(source, options)
    model = imported.model()
    result = _described(imported)
    if average:
        before, model = model, average_experts(model)
        result["averaged"] = _cost(before, model, images_for(before.config, images))
    if out is not None:
        save_checkpoint(out, model)
        result["file"] = str(out)
    return result


def _described(imported: Imported) -> Result:
    return {
        "family": imported.family,
        "config": imported.config.model_dump(mode="json"),
        "tokens": imported.config.tokens,
        "parameters": sum(value.numel() for value in imported.state.values()),
        "notes": [{"name": note.name, "text": note.text} for note in imported.notes],
        "keys": imported.sources,
    }


def _cost(before: MoEViT, after: MoEViT, images: Images) -> Result:
    """Top-1 of both models in percent where there are labels, and how often they agree."""
    tasks = []
    for task, about in enumerate(before.config.tasks):
        first, second = _answers(before, images.test, task), _answers(after, images.test, task)
        labels = (images.labels or {}).get(about.name)
        tasks.append(
            {
                "task": about.name,
                "images": len(images.test),
                "moe_top1": None if labels is None else 100 * float((first == labels).mean()),
                "averaged_top1": None if labels is None else 100 * float((second == labels).mean()),
                "same_answer": 100 * float((first == second).mean()),
            }
        )
    counts = [sum(value.numel() for value in m.parameters()) for m in (before, after)]
    return {"parameters": counts, "images": images.source, "tasks": tasks}


def _answers(model: MoEViT, images: npt.NDArray[np.float32], task: int) -> npt.NDArray[np.int64]:
    with torch.no_grad():
        batches = torch.split(torch.from_numpy(images), BATCH)
        return np.concatenate([model(batch, task).argmax(1).numpy() for batch in batches])


def show_import(result: Result, verbose: bool, console: Console) -> None:
    """The same for people."""
    config = result["config"]
    lines = {
        "Recognized": result["family"],
        "Image": "{} x {} pixels, {} channels, patches of {} x {}".format(
            *config["image"], config["channels"], *config["patch"]
        ),
        "Tokens": f"{result['tokens']} of {config['dim']} channels, {config['heads']} heads",
        "Layers": _layers(config),
        "Tasks": ", ".join(f"{t['name']} ({t['classes']} classes)" for t in config["tasks"]),
        "Parameters": f"{result['parameters']:,}",
    }
    for name, text in lines.items():
        console.print(f"{name:<12}{escape(text)}", highlight=False, soft_wrap=True)
    for note in result["notes"]:
        text = escape(f"{note['name']}: {note['text']}")
        console.print(f"{'Note':<12}{text}", highlight=False, soft_wrap=True)
    if verbose:
        for ours, theirs in result["keys"].items():
            console.print(escape(f"  {theirs} -> {ours}"), highlight=False, soft_wrap=True)
    if "averaged" in result:
        cost = result["averaged"]
        before, after = cost["parameters"]
        text = f"{before:,} to {after:,} parameters; {cost['images']}:"
        console.print(f"{'Averaged':<12}{escape(text)}", highlight=False, soft_wrap=True)
        console.print(_cost_table(cost))
    if "file" in result:
        console.print(f"{'Written':<12}{escape(result['file'])}", highlight=False, soft_wrap=True)


def _layers(config: Result) -> str:
    moe = config["moe_layers"]
    dense = config["depth"] - len(moe)
    parts = [f"{dense} dense (hidden {config['dense_hidden']})"] if dense else []
    if moe:
        shared = f" and a shared one of {config['shared_hidden']}"
        scores = " of a softmax over all" if config["gate_scores"] == "all" else ""
        parts.append(
            f"{len(moe)} with {config['experts']} experts, top-{config['top_k']}{scores} "
            f"(hidden {config['expert_hidden']}{shared if config['shared_hidden'] else ''}): "
            + ", ".join(map(str, moe))
        )
    return f"{config['depth']}: " + "; ".join(parts)


def _cost_table(cost: Result) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("Task", "images", "experts", "averaged", "points", "same answer"):
        table.add_column(name, justify="left" if name == "Task" else "right")
    for row in cost["tasks"]:
        first, second = row["moe_top1"], row["averaged_top1"]
        known = first is not None
        table.add_row(
            row["task"],
            str(row["images"]),
            f"{first:.1f} %" if known else "no labels",
            f"{second:.1f} %" if known else "no labels",
            f"{second - first:+.1f}" if known else "",
            f"{row['same_answer']:.1f} %",
        )
    return table
