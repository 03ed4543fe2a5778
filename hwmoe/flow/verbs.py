"""The single steps of `hwmoe run` as verbs of their own: plain data out, tables for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.flow.run import pick_images
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import load_board
from hwmoe.quant.calibrate import Progress
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.report.data import (
    accuracy_sections,
    cycles_section,
    hls_check,
    model_section,
    rtl_check,
)

Result = dict[str, Any]
CALIBRATION_IMAGES = 256


def quantize_file(
    source: str, out: Path, experts: Experts, images: str | None, percentile: float, say: Progress
) -> Result:
    """`hwmoe quantize`."""
    if out.is_dir():
        raise HwmoeError(f"{out} is a folder; give --out the name of a .safetensors file")
    if not out.absolute().parent.is_dir():
        raise HwmoeError(f"{out}: the folder {out.parent} does not exist")
    model = load_model(source).eval()
    found = images_for(model.config, images)
    calibration = found.calibration[:CALIBRATION_IMAGES]
    quantized = quantize(model, calibration, experts, percentile, say)
    quantized.save(out)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "file": str(out),
        "says": str(quantized),
        "experts": experts,
        "calibration": quantized.calibration,
        "model": model_section(quantized, parameters),
    }


def generate_folder(quantized: Path, board: str, out: Path) -> Result:
    """`hwmoe generate`."""
    hardware = generate(QuantizedModel.load(quantized), load_board(board), str(quantized))
    hardware.write(out)
    project = hardware.project
    return {
        "folder": str(out),
        "digest": project.digest,
        "board": project.board.name,
        "accelerator": project.program.accelerator.model_dump(),
        "files": sorted(project.files),
        "cycles": cycles_section(hardware.predict_cycles(), None),
    }


def simulate_folder(
    folder: Path, level: str, images: str | None, count: int, stall: float, say: Progress
) -> Result:
    """`hwmoe simulate`."""
    hardware = HardwareModel.load(folder)
    found = images_for(hardware.quantized.config, images).test[:count]
    hls = hardware.check_hls(found, say) if level in ("hls", "all") else None
    rtl = hardware.check_rtl(found, say, stall) if level in ("rtl", "all") else None
    runs = [run for run in (hls, rtl) if run]
    result: Result = {
        "folder": str(folder),
        "bit_exact": all(run.divergence is None for run in runs),
        "checks": {},
    }
    if hls:
        result["checks"]["hls_csim"] = hls_check(hls)
    if rtl:
        result["checks"]["rtl"] = rtl_check(rtl)
        if rtl.divergence is None and stall == 0:
            result["cycles"] = cycles_section(hardware.predict_cycles(rtl), rtl)
    return result


def compare_folder(
    folder: Path, source: str | None, images: str | None, count: int | None, say: Progress
) -> Result:
    """`hwmoe compare`."""
    hardware = HardwareModel.load(folder)
    source = source or hardware.project.source
    try:
        model = load_model(source).eval()
    except HwmoeError as error:
        raise HwmoeError(f"{error}\nSay with --model where the float model is.") from None
    found = pick_images(model, images, count, seed=0)
    evaluations = hardware.compare(model, found.test, found.labels, say)
    sections = accuracy_sections(hardware.quantized, evaluations)
    return {"folder": str(folder), "model": source, "images": found.source, **sections}


def show_project(result: Result, console: Console) -> None:
    linear, attention = (result["accelerator"][kernel] for kernel in ("linear", "attention"))
    console.print(f"{result['folder']}: {len(result['files'])} source files, {result['digest']}")
    console.print("  linear     " + ", ".join(f"{k}={v}" for k, v in linear.items()))
    console.print("  attention  " + ", ".join(f"{k}={v}" for k, v in attention.items()))
    for kernel in ("linear", "attention"):
        cycles = result["cycles"][kernel]["predicted"]
        console.print(f"  predicted  {kernel}: {cycles:,.0f} cycles an image, even routing")


def show_simulation(result: Result, console: Console) -> None:
    for name, check in result["checks"].items():
        if check["divergence"]:
            console.print(f"{name}: DIFFERS. {check['divergence']}", markup=False)
        else:
            console.print(
                f"{name}: bit-exact, {check['images']} images, {check['values']:,} values"
            )
    for kernel in ("linear", "attention"):
        if "cycles" in result:
            c = result["cycles"][kernel]
            console.print(
                f"{kernel}: {c['measured']:,.0f} cycles an image, formula {c['predicted']:,.0f} "
                f"({c['error_percent']:+.2f} %)"
            )


def show_comparison(result: Result, console: Console) -> None:
    for entry in result["accuracy"]:
        top1 = (
            f"PyTorch {entry['float_top1']:.2%}, integers {entry['integer_top1']:.2%}, "
            if entry["float_top1"] is not None
            else ""
        )
        console.print(
            f"{entry['task']}: {top1}same answer {entry['agreement']:.2%} of {entry['images']}"
        )
    table = Table("task", "tensor", "max error", "SQNR dB", "cosine")
    for row in result["layers"]:
        numbers = (f"{row['max_error']:.4g}", f"{row['sqnr_db']:.1f}", f"{row['cosine']:.5f}")
        table.add_row(row["task"], row["name"], *numbers)
    console.print(table)
