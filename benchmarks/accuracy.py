"""Accuracy of quantized models and the memory of their experts; exit 1 if a promise is broken.

Run from the top of the repository: python benchmarks/accuracy.py [--quick] [--models A,B]
[--data FOLDER|FILE.npz] [--seeds 1,2,3] [--out build/accuracy]

`digits-trained` trains the digits geometry for each seed: in float, then, from that checkpoint,
with ternary experts. What is trained is kept below --out, and a stopped run goes on. All accuracies
of integers are those of the integer reference, which HLS and SystemVerilog equal bit by bit.

Promises: int8 within 0.5 points of float, trained ternary experts within 1, every task and seed;
ternary experts take at most 1/3.9 of the bytes of int8 from the width on that is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from hwmoe.dse.defaults import default_accelerator
from hwmoe.errors import HwmoeError
from hwmoe.flow.train import train_file
from hwmoe.model.data import Images, images_for
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import load_board
from hwmoe.plan.compiler import stored_bytes_of
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.compare import evaluate
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts
from hwmoe.quant.ternary import fake_ternary
from hwmoe.report.progress import Bars
from hwmoe.train.settings import TrainSettings
from hwmoe.train.state import state_path

TRAINED = "digits-trained"
GEOMETRY = Path(__file__).resolve().parents[1] / "examples" / "digits" / "digits.toml"
FLOAT = {"experts": "float", "epochs": 16, "batch": 64, "ema": 0.98, "augment": "affine"}
TERNARY = FLOAT | {"experts": "ternary", "epochs": 6, "rate": 1e-3, "distill": 0.5}
INT8_POINTS, TERNARY_POINTS = 0.5, 1.0
MEMORY = 3.9
BOARD = "zcu102"
CALIBRATION = 256
CHANNEL_BYTES = 8  # bias and multiplier, int32 each


@dataclass(frozen=True)
class Row:
    """One model quantized in one way; shares from 0 to 1, dB, bytes."""

    model: str
    method: str
    experts: str
    tasks: list[str]
    float_top1: list[float | None]
    top1: list[float | None]
    agreement: list[float]
    sqnr: tuple[float, float]  # least and mean over the residual stream after each block
    promise: float | None = None  # points below float that are allowed


def measured(
    name: str,
    model: MoEViT,
    images: Images,
    experts: Experts,
    method: str,
    baseline: list[float | None] | None = None,
    promise: float | None = None,
    percentile: float = 100.0,
) -> Row:
    """Quantize and compare. ``baseline``: top-1 of the float model it came from, else its own."""
    quantized = quantize(model, images.calibration[:CALIBRATION], experts, percentile)
    accuracies, levels = [], []
    for task, about in enumerate(model.config.tasks):
        labels = (images.labels or {}).get(about.name)
        found = evaluate(model, quantized, images.test, labels, task)
        accuracies.append(found.accuracy)
        levels += [e.sqnr_db for e in found.layers if e.name.endswith(".res2")]
    return Row(
        name,
        method,
        experts,
        [a.task for a in accuracies],
        baseline or [a.float_top1 for a in accuracies],
        [a.integer_top1 for a in accuracies],
        [a.agreement for a in accuracies],
        (min(levels), float(np.mean(levels))),
        promise,
    )


def untrained(name: str, data: str | None) -> Iterator[Row]:
    """Post-training quantization of a model as it is."""
    model = load_model(name)
    images = images_for(model.config, data, calibration=2, test=2)
    promise = INT8_POINTS if name == "digits" and data is None else None
    yield measured(name, model, images, "int8", "min-max", promise=promise)
    if images.labels:
        yield measured(name, model, images, "int8", "percentile 99.9", percentile=99.9)
    if model.config.moe_layers:
        yield measured(name, model, images, "ternary", "min-max")


def trained(seed: int, folder: Path, bars: Bars) -> Iterator[Row]:
    """Float, then ternary from that checkpoint."""
    name = f"{TRAINED}, seed {seed}"
    geometry = folder / "digits.toml"
    geometry.write_text(f"seed = {seed}\n" + GEOMETRY.read_text(encoding="utf-8"))
    first = folder / f"seed{seed}-float.safetensors"
    second = folder / f"seed{seed}-ternary.safetensors"
    kept(str(geometry), first, FLOAT | {"seed": seed}, bars)
    model = load_model(str(first))
    images = images_for(model.config)
    row = measured(name, model, images, "int8", "min-max", promise=INT8_POINTS)
    yield row
    baseline = row.float_top1
    yield measured(name, model, images, "ternary", "min-max, not trained", baseline)
    kept(str(first), second, TERNARY | {"seed": seed}, bars)
    after = load_model(str(second))
    # Agreement and SQNR are against what was trained: the same ternary experts, in float.
    after.expert_transform = fake_ternary
    yield measured(name, after, images, "ternary", "trained", baseline, TERNARY_POINTS)


def kept(source: str, out: Path, settings: dict[str, object], bars: Bars) -> None:
    """Train, unless it was trained with these settings before; go on with a stopped run."""
    parsed = TrainSettings.parse(settings)
    log = out.with_suffix(".json")
    if out.is_file() and log.is_file():
        known = json.loads(log.read_text(encoding="utf-8"))
        if known["settings"] == parsed.model_dump() and known["model"] == source:
            return
    train_file(source, out, None, None, parsed, None, state_path(out).is_file(), bars.update)


@dataclass(frozen=True)
class Stored:
    """Bytes of a model's routed experts as the compiler packs them, padding included. Biases take
    what scales do: an int32 a channel each."""

    weights: int
    scales: int


def expert_memory(model: MoEViT) -> dict[Experts, Stored]:
    """Of int8 and of ternary experts, both packed for the machine of the ternary model."""
    images = images_for(model.config, calibration=1, test=1)
    forms: tuple[Experts, Experts] = ("ternary", "int8")
    quantized = {form: quantize(model, images.calibration[:1], form) for form in forms}
    machine = default_accelerator(quantized["ternary"], load_board(BOARD))
    found = {}
    for form in forms:
        sizes = stored_bytes_of(quantized[form], machine)
        own = [size for key, size in sizes.items() if ".experts." in key]
        found[form] = Stored(sum(w for w, _ in own), sum(p for _, p in own) // 2)
    return found


def expert_ratio(dim: int, biases: bool) -> float:
    """Bytes of int8 over bytes of ternary, of an expert dim -> 4 dim -> dim without padding."""
    weights, channels = 2 * dim * 4 * dim, 5 * dim
    extra = channels * (CHANNEL_BYTES if biases else CHANNEL_BYTES // 2)
    return (weights + extra) / (ceil_div(weights, 4) + extra)


def show_rows(rows: list[Row], console: Console) -> list[str]:
    """The table, and the promises that are broken."""
    names = ("model", "experts", "method", "task", "float", "top-1", "points", "agrees", "SQNR dB")
    table, broken = Table(*names, box=None), []
    for row in rows:
        for i, task in enumerate(row.tasks):
            exact, whole = row.float_top1[i], row.top1[i]
            cells = ["no labels", "", ""]
            if exact is not None and whole is not None:
                points = 100 * (whole - exact)
                cells = [f"{100 * exact:.2f} %", f"{100 * whole:.2f} %", f"{points:+.2f}"]
                if row.promise is not None and points < -row.promise - 1e-9:
                    broken.append(
                        f"{row.model}, {row.experts} ({row.method}), {task}: {points:+.2f} "
                        f"points, at most {row.promise:g} below float were promised"
                    )
            levels = "least {:.1f}, mean {:.1f}".format(*row.sqnr) if i == 0 else ""
            head = [row.model, row.experts, row.method] if i == 0 else ["", "", ""]
            table.add_row(*head, task, *cells, f"{100 * row.agreement[i]:.2f} %", levels)
    console.print(table)
    return broken


def show_memory(names: list[str], console: Console) -> list[str]:
    """Bytes of the experts, and the width from which on 1/3.9 holds."""
    table = Table("experts of", "int8", "ternary", "weights", "+ scales", "+ biases", box=None)
    broken = []
    for name in names:
        model = load_model(name)
        if not model.config.moe_layers:
            continue
        found = expert_memory(model)
        whole, small = found["int8"], found["ternary"]
        ratios = [
            whole.weights / small.weights,
            (whole.weights + whole.scales) / (small.weights + small.scales),
            (whole.weights + 2 * whole.scales) / (small.weights + 2 * small.scales),
        ]
        totals = [f"{s.weights + 2 * s.scales:,} bytes" for s in (whole, small)]
        table.add_row(name, *totals, *(f"1/{ratio:.2f}" for ratio in ratios))
        if ratios[0] < MEMORY:
            broken.append(f"{name}: ternary weights alone take 1/{ratios[0]:.2f} of int8")
    console.print(table)
    for biases, what in ((False, "weights and scales"), (True, "weights, scales and biases")):
        width = next(d for d in range(8, 1025) if expert_ratio(d, biases) >= MEMORY)
        console.print(
            f"{what}: 1/{MEMORY:g} from D = {width} on, for experts D x 4D; "
            f"D = 192: 1/{expert_ratio(192, biases):.2f}, "
            f"384: 1/{expert_ratio(384, biases):.2f}, 768: 1/{expert_ratio(768, biases):.2f}",
            highlight=False,
        )
    if expert_ratio(384, False) < MEMORY or expert_ratio(768, True) < MEMORY:
        broken.append("experts of ViT-Small with scales, or ViT-Base with biases, are over 1/3.9")
    return broken


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy and expert memory of quantized models.")
    parser.add_argument("--models", default=f"digits,{TRAINED},m3vit-tiny")
    parser.add_argument("--data", help="class folders or .npz, for models that are not trained")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--quick", action="store_true", help="train nothing: seconds")
    parser.add_argument("--out", type=Path, default=Path("build/accuracy"))
    return parser.parse_args()


def main() -> int:
    args, console = arguments(), Console(width=130)
    torch.set_num_threads(1)
    names = ["digits"] if args.quick else args.models.split(",")
    rows: list[Row] = []
    args.out.mkdir(parents=True, exist_ok=True)
    with Bars() as bars:
        for name in names:
            if name != TRAINED:
                rows += untrained(name, args.data)
                continue
            for seed in map(int, args.seeds.split(",")):
                rows += trained(seed, args.out, bars)
    broken = show_rows(rows, console)
    broken += show_memory([name for name in names if name != TRAINED], console)
    for problem in broken:
        print(f"BROKEN: {problem}", file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HwmoeError as error:
        sys.exit(f"accuracy: {error}")
