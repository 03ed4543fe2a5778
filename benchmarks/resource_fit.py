"""Measured cells into a data file, and that into coefficients: a few features for each module."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from resource_choices import allowed, is_shared
from resource_runs import Machine, by_module, is_known, measure
from scipy.optimize import nnls

from hwmoe.codegen.folder import write_text
from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.dse.resource_features import features
from hwmoe.dse.resource_model import SAME
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes
from hwmoe.synth.resources import Resources
from hwmoe.synth.yosys import yosys_version

COUNTED = ("lut_sites", "ff", "dsp", "bram36", "uram")
KINDS = {"lut": "lut_sites", "ff": "ff"}
MOST = 3  # features of a module
WORTH = 0.6  # one more feature must lower the error to this much of it
LEAST = 3.0  # cells; a smaller error of a module is none
Array = npt.NDArray[np.float64]


def write_measured(drawn: Mapping[str, Sequence[Machine]], kept: Path, path: Path) -> None:
    """All that is known of machines: {use: [{accelerator, sizes, parts: {part: {module: cells}}}]}.

    Of machines to check by, a part is kept as one module: the file would be large.
    """
    result: dict[str, Any] = {"tool": f"Yosys {yosys_version()}", "rtl": rtl_digest()}
    result["counted"] = list(COUNTED)
    for use, machines in drawn.items():
        entries = []
        for machine in machines:
            parts = {
                part: _counts(part, measure(machine, part, kept), by_modules=use == "fit")
                for part in machine.parts
                if is_known(machine, part, kept)
            }
            if parts:
                entries.append(
                    {
                        "accelerator": machine.acc.model_dump(),
                        "sizes": asdict(machine.sizes),
                        "parts": parts,
                    }
                )
        result[use] = entries
    rows = [f"{json.dumps(key)}: {_lines(value)}" for key, value in result.items()]
    write_text(path, "{\n" + ",\n".join(rows) + "\n}\n")


def _counts(part: str, found: Resources, by_modules: bool) -> dict[str, list[float]]:
    """What is counted of each module, or of all of a part."""
    modules = by_module(found) if by_modules else {part: found.total}
    return {name: [cells.as_dict()[kind] for kind in COUNTED] for name, cells in modules.items()}


def _lines(value: Any) -> str:
    """A machine a line."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in value) + "\n]"


def rtl_digest() -> str:
    """Over the rendered SystemVerilog of one machine: another one means to measure again."""
    total = hashlib.sha256()
    for name, text in machine_rtl(AcceleratorConfig(), SIZES).items():
        total.update(f"{name}\0{text}\0".encode())
    return total.hexdigest()[:16]


SIZES = MachineSizes(256, 256, 256, 256, 1, 8, 64, 64)


def points_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[Any, Any]]]:
    """Part -> (features, module -> counts) of each different measurement."""
    found: dict[str, dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for entry in entries:
        acc = AcceleratorConfig.model_validate(entry["accelerator"])
        values = features(acc, MachineSizes(**entry["sizes"]))
        for name, modules in entry["parts"].items():
            part = SAME.get(name, name)
            own = {module.replace(name, part): cells for module, cells in modules.items()}
            if part == "expert":
                own["linear"] = own.pop("expert")  # the same template
            point = (values[name], own)
            found[part][json.dumps(point, sort_keys=True)] = point
    return {part: list(points.values()) for part, points in found.items()}


def write_model(measured: Path, path: Path) -> None:
    """`resources.toml` from the machines to fit on."""
    data = json.loads(measured.read_text(encoding="utf-8"))
    points = points_of(data["fit"])
    lines = [
        "# Written by `python benchmarks/fit_resources.py fit`; not edited by hand.",
        "# [parts.PART.MODULE]: LUTs and flip-flops of one of each feature (resource_features.py).",
        f'tool = "{data["tool"]}"',
        f'rtl = "{data["rtl"]}"  # digest of the SystemVerilog that was synthesized',
        f"date = {datetime.now(timezone.utc).date()}",
        "",
        "[points]  # different measurements of each part",
        *(f"{part} = {len(own)}" for part, own in points.items()),
    ]
    kernels = [*points.get("linear", []), *points.get("expert", [])]
    for part, own in points.items():
        for module in sorted({name for _, modules in own for name in modules}):
            shared = part in ("linear", "expert") and is_shared(module)
            fits = {
                kind: _fit(
                    kernels if shared else own,
                    allowed(part, module, kind),
                    module,
                    COUNTED.index(name),
                )
                for kind, name in KINDS.items()
            }
            if any(fits.values()):
                lines += ["", f"[parts.{part}.{module}]"]
                lines += [f"{kind} = {_inline(found)}" for kind, found in fits.items() if found]
    write_text(path, "\n".join(lines) + "\n")


def _inline(coefficients: Mapping[str, float]) -> str:
    terms = ", ".join(f"{name} = {cost:.6g}" for name, cost in coefficients.items())
    return f"{{ {terms} }}" if terms else "{}"


def _fit(
    points: Sequence[tuple[Any, Any]], chosen: Sequence[str], module: str, column: int
) -> dict[str, float]:
    """The fewest features, with factors of 0 or more, that explain the counts of a module.

    Least squares of relative errors (Lawson and Hanson, "Solving Least Squares Problems", 1974).
    """
    counts = np.array([float(own.get(module, [0] * 9)[column]) for _, own in points])
    if not counts.any():
        return {}
    names = list(chosen or points[0][0])  # of equal fits the first is taken
    weights = 1 / np.maximum(counts, counts.max() / 20)
    table = np.array([[float(values[name]) for name in names] for values, _ in points])
    best: tuple[float, dict[str, float]] = (float("inf"), {})
    limit = min(MOST, len(names), len(points) if chosen else max(1, len(points) - 1))
    for size in range(1, limit + 1):
        found = min(
            (_solve(table, counts, weights, names, c) for c in _choices(names, size)),
            key=lambda entry: entry[0],
        )
        if found[0] < WORTH * best[0]:
            best = found
        if best[0] * counts.max() < LEAST:
            break
    return best[1]


def _choices(names: Sequence[str], size: int) -> list[tuple[int, ...]]:
    """Places of `size` features."""
    return list(combinations(range(len(names)), size))


def _solve(
    table: Array, counts: Array, weights: Array, names: Sequence[str], chosen: Sequence[int]
) -> tuple[float, dict[str, float]]:
    """(root mean square of the weighted errors, factors)."""
    matrix = table[:, chosen] * weights[:, None]
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    factors, norm = nnls(matrix / scale, counts * weights)
    kept = {
        names[place]: float(factor / by)
        for place, factor, by in zip(chosen, factors, scale, strict=True)
        if factor > 0
    }
    return float(norm) / len(counts) ** 0.5, kept
