"""`hwmoe import` on the command line: what the weights do not say, as options."""

from __future__ import annotations

import re
from math import inf, isfinite
from pathlib import Path
from typing import Annotated

import typer

from hwmoe.errors import HwmoeError
from hwmoe.model.config import GateScores
from hwmoe.model.loaders.options import ImportOptions

SIZE = "HEIGHTxWIDTH, or one number"


def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER",
            help=".safetensors, .pt, .pth, .onnx, a folder in Edge-MoE's layout, a model of ours.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Checkpoint to write (.safetensors).")
    ] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads of attention.")] = None,
    image: Annotated[str | None, typer.Option(help=f"Pixels: {SIZE}.")] = None,
    patch: Annotated[str | None, typer.Option(help=f"Pixels of a patch: {SIZE}.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Experts a token goes to.")] = None,
    gate_scores: Annotated[
        GateScores | None,
        typer.Option(
            help="The gates' softmax is over the chosen experts (topk) or over all, if it is not "
            "what the package has."
        ),
    ] = None,
    tasks: Annotated[str, typer.Option(help="Names of the tasks, with commas between.")] = "",
    classes: Annotated[
        str, typer.Option(help="Without classifiers: add untrained ones, classes a task.")
    ] = "",
    norm_eps: Annotated[float | None, typer.Option(help="Of all LayerNorms.")] = None,
    pixel_mean: Annotated[str, typer.Option(help="A number a channel, commas between.")] = "",
    pixel_std: Annotated[str, typer.Option(help="A number a channel, commas between.")] = "",
    ignore: Annotated[
        list[str] | None, typer.Option(help="Pattern of keys to leave out; may be repeated.")
    ] = None,
    entry: Annotated[
        str | None, typer.Option(help="Which entry of a training checkpoint has the weights.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Which of several models in a file.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; else the file's.")] = None,
    average_experts: Annotated[
        bool, typer.Option("--average-experts", help="Make it dense, and show what that costs.")
    ] = False,
    images: Annotated[
        str | None, typer.Option("--images", help=".npz to measure the cost of averaging on.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Every key and what it became.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Recognize another package's model by its keys, and write it as a checkpoint of ours."""
    from hwmoe.cli import finish
    from hwmoe.flow.imports import import_model, show_import

    options = ImportOptions(
        name=name,
        heads=heads,
        image=_size("--image", image),
        patch=_size("--patch", patch),
        top_k=top_k,
        gate_scores=gate_scores,
        tasks=tuple(tasks.split(",")) if tasks else (),
        classes=_counts("--classes", classes),
        norm_eps=norm_eps,
        pixel_mean=_numbers("--pixel-mean", pixel_mean),
        pixel_std=_numbers("--pixel-std", pixel_std),
        ignore=tuple(ignore or ()),
        entry=entry,
        prefix=prefix,
    )
    result = import_model(source, out, options, average_experts, images)
    finish(result, as_json, lambda console: show_import(result, verbose, console))


def _size(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", text)
    if found is None:
        raise HwmoeError(f"{option} {text!r}: give {SIZE}, as in 128x256")
    return int(found[1]), int(found[2] or found[1])


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        values = (inf,)
    if not all(map(isfinite, values)):
        raise HwmoeError(f"{option} {text!r}: give numbers with commas between")
    return values


def _counts(option: str, text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"([0-9]{1,6}(,[0-9]{1,6})*)?", text):
        raise HwmoeError(f"{option} {text!r}: give whole numbers with commas between")
    return tuple(int(part) for part in text.split(",")) if text else ()
