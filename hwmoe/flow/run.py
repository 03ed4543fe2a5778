"""`hwmoe run`: the whole way from a model to a report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hwmoe.codegen.folder import staged, write_json
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.flow.plans import read_plan
from hwmoe.flow.rtl import AS_THE_BOARD, RtlOptions, default_images
from hwmoe.model.data import Images, images_for
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import load_board
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.quant.compare import Evaluation
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts
from hwmoe.quant.ranges import Calibration
from hwmoe.quant.sensitivity import sensitivities
from hwmoe.report.data import Report, build_report
from hwmoe.report.html import Pictures, write_html


@dataclass(frozen=True)
class RunOptions:
    """What to run. `images` is an .npz file, or None for the model's own; counts are limits.
    `rtl_images` a task; None: as many as show the machine full. `plan`: of `hwmoe search`."""

    source: str
    board: str = "zcu102"
    experts: Experts = "int8"
    images: str | None = None
    max_images: int | None = None
    rtl_images: int | None = None
    rtl: RtlOptions = AS_THE_BOARD
    calibration: int = 256
    method: Calibration = "minmax"
    seed: int = 0
    plan: Path | None = None


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def pick_images(model: MoEViT, spec: str | None, limit: int | None, seed: int) -> Images:
    """The model's images, at most `limit` for testing."""
    found = images_for(model.config, spec, seed=seed, limit=limit)
    if limit is None or limit >= len(found.test):
        return found
    labels = found.labels and {name: values[:limit] for name, values in found.labels.items()}
    return Images(found.calibration, found.test[:limit], labels, found.source)


def run(options: RunOptions, folder: Path, progress: Progress = no_progress) -> Report:
    """Quantize, generate, simulate, compare and report into `folder`; the report's data.

    The folder is complete or, on any error or Ctrl-C, what it was before.
    """
    clock = _Clock()
    with clock.time("total"), staged(folder) as stage:
        board = load_board(options.board)
        model = load_model(options.source).eval()
        images = pick_images(model, options.images, options.max_images, options.seed)
        with clock.time("quantize"):
            calibration = images.calibration[: options.calibration]
            quantized = quantize(
                model,
                calibration,
                options.experts,
                progress=progress,
                calibration=options.method,
            )
        with clock.time("generate"):
            accelerator = read_plan(options.plan, quantized, board) if options.plan else None
            hardware = generate(quantized, board, options.source, accelerator)
            hardware.project.write(stage)
            hardware.folder = stage
        with clock.time("compare"):
            evaluations = hardware.compare(model, images.test, images.labels, progress)
            rounded = sensitivities(model, quantized, images.test, progress)
        with clock.time("hls"):
            hls = hardware.check_hls(images.test, progress)
        with clock.time("rtl"):
            count = options.rtl_images or default_images(hardware.project)
            rtl = hardware.check_rtl(
                images.test[:count], progress, replace(options.rtl, project=folder)
            )
        report = build_report(
            hardware.project,
            sum(p.numel() for p in model.parameters()),
            evaluations,
            hls,
            rtl.whole,
            rtl.cycles(hardware.project),
            clock.seconds,
            rounded,
        )
        write_json(stage / "report.json", report)
        pictures = make_pictures(hardware, images, evaluations[0])
        write_html(report, pictures, stage / "report.html")
    report["seconds"]["total"] = round(clock.seconds["total"], 2)
    return report


def make_pictures(hardware: HardwareModel, images: Images, evaluation: Evaluation) -> Pictures:
    """Attention of the first test image in the last layer, float beside integers."""
    config = hardware.quantized.config
    layer = f"blocks.{config.depth - 1}"
    p = evaluation.integers[f"{layer}.probs"][0].astype(np.float32)
    return Pictures(
        image=images.test[0],
        grid=(config.image[0] // config.patch[0], config.image[1] // config.patch[1]),
        attention_float=np.asarray(evaluation.floats[f"{layer}.probs"][0], np.float32),
        attention_integer=p / p.sum(-1, keepdims=True),
        layer=layer,
    )
