"""manifest.json of a package: all that its driver knows of the machine, the model and the files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

import hwmoe
from hwmoe.codegen.project import Project
from hwmoe.codegen.rtl_axi import ERRORS, STEP_CLIPPED, pointer_names, register_map
from hwmoe.codegen.rtl_machine import configuration_digest
from hwmoe.deploy.bitstream import Bitstream
from hwmoe.deploy.memory_image import TRACE_PROGRAM
from hwmoe.plan.image import IMAGE_HEADER
from hwmoe.plan.program import Program
from hwmoe.plan.trace import TraceProgram
from hwmoe.quant.numerics import FORMAT
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.vendor.kernel import NAME, VLNV
from hwmoe.vendor.vitis import banks

VERSION = 1
IN_HLS = ("control", "n_images")
"""Registers, besides pointers, that the accelerator has where those of the SystemVerilog are when
Vitis HLS made it."""
TIMEOUT_SECONDS = 10.0
SIMULATED_CYCLES_PER_SECOND = 1000
"""What even a large machine reaches on a slow computer."""

Manifest = dict[str, Any]


def make_manifest(
    project: Project, trace: TraceProgram, bitstream: Bitstream, predicted: Mapping[str, float]
) -> Manifest:
    """All but the entries `file` and those of the memory image and the golden data.

    predicted: `cycles_per_image` and `first_cycles`.
    """
    model, program, board = project.model, project.program, project.board
    engines, ports = program.accelerator.engines, program.accelerator.ports.w_ports
    pointers = pointer_names(ports)
    kernel: Manifest = {"name": NAME, "instance": bitstream.instance, "vlnv": VLNV}
    if board.runtime == "xrt":
        kernel["banks"] = dict(banks(board, ports))
    timeout = TIMEOUT_SECONDS
    if bitstream.kind == "simulation":
        timeout += 2 * predicted["first_cycles"] / SIMULATED_CYCLES_PER_SECOND
    return {
        "manifest": VERSION,
        "hwmoe": hwmoe.__version__,
        "project": project.digest,
        "model": model.config.name,
        "experts": model.experts,
        "board": board.name,
        "part": board.part,
        "runtime": board.runtime,
        "clock_mhz": board.clock_mhz,
        "bitstream": {
            "kind": bitstream.kind,
            "source": bitstream.source,
            "sha256": bitstream.sha256,
        },
        "kernel": kernel | {"arguments": list(pointers)},
        "hardware": {
            "format_version": FORMAT,
            "digest": configuration_digest(program.accelerator, program.sizes),
        },
        "registers": {
            register.name: {"offset": register.offset, "bits": register.bits}
            for register in register_map(ports, len(engines))
            if bitstream.source == "rtl" or register.name in IN_HLS or register.name in pointers
        },
        "errors": {str(code): text for code, text in ERRORS.items()},
        "engines": list(engines),
        "step_clipped": STEP_CLIPPED,
        "programs": {
            "main": _program(program, "program"),
            "trace": _program(trace.program, TRACE_PROGRAM) | {"tensors": _tensors(trace)},
        },
        "image": image_section(model, program),
        "tasks": [
            {
                "name": task.name,
                "outputs": task.classes,
                "scale": float(np.asarray(model.scales[f"head.{number}"])),
            }
            for number, task in enumerate(model.config.tasks)
        ],
        "predicted": dict(predicted),
        "timeout_seconds": round(timeout, 1),
    }


def image_section(model: QuantizedModel, program: Program) -> dict[str, Any]:
    """How pixels become records: `clip(floor(pixel * gain - offset + 0.5))` in float64, by channel
    (docs/numerics.md, section 8), then patches as tile-major words behind the header."""
    config = model.config
    height, width = config.image
    gain, offset = model.pixel_scales()
    return {
        "channels": config.channels,
        "height": height,
        "width": width,
        "dtype": "float32",
        "patch": list(config.patch),
        "gain": gain.tolist(),
        "offset": offset.tolist(),
        "lanes": program.accelerator.linear.t_in,
        "words": program.image_words,
        "header": IMAGE_HEADER,
    }


def file_entry(name: str, data: bytes, suffix: str) -> dict[str, Any]:
    """A file called after its content: `file`, `bytes`, `sha256`."""
    digest = hashlib.sha256(data).hexdigest()
    return {"file": f"{name}-{digest[:12]}{suffix}", "bytes": len(data), "sha256": digest}


def _program(program: Program, part: str) -> dict[str, Any]:
    return {
        "part": part,
        "image_bytes": program.loop["image_bytes"],
        "result_bytes": program.loop["logit_bytes"],
        "stages": program.loop["stages"],
        "steps": [step.name for step in program.steps],
        "engines": [step.engine for step in program.steps],
    }


def _tensors(trace: TraceProgram) -> dict[str, list[dict[str, Any]]]:
    return {
        str(task): [
            {
                "name": tap.name,
                "offset": tap.offset,
                "rows": tap.rows,
                "channels": tap.channels,
            }
            for tap in taps
        ]
        for task, taps in trace.tensors.items()
    }
