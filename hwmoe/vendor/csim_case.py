"""One case for the C simulation under Vitis (vitis/hls_bench.cpp): memory, and what must come."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from hwmoe.codegen.project import Project
from hwmoe.files import replacing
from hwmoe.plan.image import constant_parts, image_records, result_bytes
from hwmoe.quant.reference import run_reference
from hwmoe.vendor.vitis import CASE

MAGIC = b"hwmoecas"
SEED = 0


def write_case(project: Project, folder: Path) -> Path:
    """Write vitis/hls_case.bin: one random image a task, with the logits of the reference."""
    path = folder / "vitis" / CASE
    with replacing(path) as beside:
        beside.write_bytes(case_bytes(project))
    return path


def case_bytes(project: Project) -> bytes:
    """Same bytes each time. Parts: program, params, images, results, count, weights by port."""
    program, config = project.program, project.model.config
    tasks = list(range(len(config.tasks)))
    shape = (len(tasks), config.channels, *config.image)
    images = np.random.default_rng(SEED).random(shape, np.float32)
    patches = project.model.quantize_images(images)
    results = np.zeros((len(tasks), result_bytes(program, 1) // 2), "<i2")
    for task in tasks:
        logits = run_reference(project.model, patches[task : task + 1], task).logits[0]
        results[task, : len(logits)] = logits
    constant = constant_parts(program)
    parts = [
        constant.pop("program").tobytes(),
        constant.pop("params").tobytes(),
        image_records(program, patches, tasks).tobytes(),
        results.tobytes(),
        struct.pack("<i", len(tasks)),
        *(part.tobytes() for part in constant.values()),
    ]
    sized = (struct.pack("<q", len(part)) + part for part in parts)
    return MAGIC + struct.pack("<q", len(parts)) + b"".join(sized)
