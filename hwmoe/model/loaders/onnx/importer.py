"""`import_onnx`: a file to a model of ours, or one report of everything that is in the way."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.loaders.geometry import SCORES
from hwmoe.model.loaders.imported import Imported, ImportFailed, ImportProblem, Note
from hwmoe.model.loaders.onnx.assemble import (
    activation_scales,
    assemble,
    differences,
    tensors,
)
from hwmoe.model.loaders.onnx.check import check, check_images
from hwmoe.model.loaders.onnx.execute import MAX_ELEMENTS
from hwmoe.model.loaders.onnx.fold import Folding
from hwmoe.model.loaders.onnx.graph import Array
from hwmoe.model.loaders.onnx.reading import read_graph
from hwmoe.model.loaders.onnx.trunk import match_trunk
from hwmoe.model.loaders.options import NOTHING_SAID, ImportOptions

BATCH = 2
"""Images of the run that finds all shapes, where the file leaves the batch open."""
OPEN = frozenset({"name", "tasks", "pixel_mean", "pixel_std"})
"""Options that a graph leaves open."""


def import_onnx(path: str | Path, options: ImportOptions = NOTHING_SAID) -> Imported:
    """Read an ONNX or QONNX file [N, C, H, W] -> logits, one output for each task.

    Of ``options`` the names count, and the pixel normalisation if the graph has none of its own.

    Raises `ImportFailed` (an `HwmoeError`) with every operation that is not supported, and
    `HwmoeError` for a file that is broken or hostile, or whose import computes something else.
    """
    path = Path(path)
    _only_open_questions(path, options)
    original, declared = read_graph(path)
    folding = Folding(original, path)
    graph = folding.fold(check_images((0, *_image(path, declared)), _batch(declared)))
    if folding.problems:
        raise ImportFailed(str(path), folding.problems)
    matched = [match_trunk(graph, output) for output in graph.outputs]
    problems = list(dict.fromkeys(p for _, found in matched for p in found))
    trunks = [trunk for trunk, _ in matched if trunk is not None]
    problems = problems or differences(trunks)
    if problems:
        raise ImportFailed(str(path), problems)
    config, parts = assemble(graph, trunks, options.name or path.stem)
    _all_finite(path, parts.state)
    scales = {**parts.scales, **activation_scales(parts, graph)}
    family = (
        "QONNX"
        if any(d.startswith(("qonnx", "onnx.brev", "finn")) for d in original.opsets)
        else "ONNX"
    )
    imported = Imported(
        config, tensors(parts.state), parts.notes, family, parts.sources, tensors(scales)
    )
    notes = [*folding.notes, *parts.notes, *_unused_scales(graph.activations, parts.sites)]
    notes += [*_says(trunks), *check(original, graph, trunks, imported)]
    return replace(imported, config=_with_options(path, imported.config, options), notes=notes)


def _all_finite(path: Path, state: dict[str, Array]) -> None:
    bad = [name for name, value in state.items() if not np.isfinite(value).all()]
    if bad:
        raise ImportFailed(
            str(path),
            [
                ImportProblem(name, "weight", state[name].shape, "holds NaN or infinite values")
                for name in bad
            ],
        )


def _only_open_questions(path: Path, options: ImportOptions) -> None:
    """What the graph itself says must not be said again, and perhaps otherwise."""
    given = [
        field.name
        for field in fields(options)
        if field.name not in OPEN and getattr(options, field.name) != field_default(field)
    ]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise HwmoeError(f"{path}: an ONNX file says this itself; leave out {names}")


def field_default(field: Field[Any]) -> Any:
    return field.default if field.default is not MISSING else {}


def _with_options(path: Path, config: ModelConfig, options: ImportOptions) -> ModelConfig:
    data = config.model_dump()
    if options.tasks and len(options.tasks) != len(config.tasks):
        raise HwmoeError(f"{path} has {len(config.tasks)} outputs, --tasks names {options.tasks}")
    for task, name in zip(data["tasks"], options.tasks, strict=False):
        task["name"] = name
    for key in ("pixel_mean", "pixel_std"):
        if getattr(options, key):
            if data[key]:
                raise HwmoeError(f"{path} normalises its pixels itself; leave out --pixel-mean/std")
            data[key] = getattr(options, key)
    return ModelConfig.parse(data, f"the model in {path}")


def _dims(declared: Any) -> list[Any]:
    return list(declared.type.tensor_type.shape.dim)


def _batch(declared: Any) -> int:
    first = _dims(declared)[0]
    size = int(first.dim_value) if first.HasField("dim_value") else 0
    return size or BATCH


def _image(path: Path, declared: Any) -> tuple[int, ...]:
    """Channels, height and width as the file declares them."""
    dims = _dims(declared)
    sizes = tuple(int(d.dim_value) if d.HasField("dim_value") else 0 for d in dims)
    if len(sizes) != 4 or any(size < 1 for size in sizes[1:]) or sizes[0] < 0:
        shown = [d.dim_param or d.dim_value for d in dims]
        raise HwmoeError(
            f"{path}: the input {declared.name!r} is {shown}; hwmoe needs images [N, C, H, W] "
            "with C, H and W fixed"
        )
    batch = sizes[0] or BATCH
    if batch * sizes[1] * sizes[2] * sizes[3] > MAX_ELEMENTS:
        raise HwmoeError(f"{path}: images of {list(sizes)} are too large")
    if declared.type.tensor_type.elem_type != 1:
        raise HwmoeError(f"{path}: the input {declared.name!r} must be float32")
    return sizes[1:]


def _says(trunks: Any) -> list[Note]:
    layers = trunks[0].layers
    notes = []
    for i, layer in enumerate(layers):
        block = layer.feed_forward
        if block.gate is not None:
            shared = "" if block.shared is None else " and a shared expert"
            notes.append(
                Note(
                    f"blocks.{i}.moe",
                    f"{len(block.experts)} experts{shared}, top-{block.top_k}, "
                    f"{SCORES[block.gate_scores]}: found by trying gate logits",
                )
            )
    return notes


def _unused_scales(activations: dict[str, float], sites: dict[str, list[str]]) -> list[Note]:
    known = {value for values in sites.values() for value in values}
    return [
        Note(value, "the quantizer of this value has no place in our number format; left out")
        for value in activations
        if value not in known
    ]
