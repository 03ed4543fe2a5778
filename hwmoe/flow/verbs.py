"""The single steps of `hwmoe run` as verbs of their own: plain data out, tables for people."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.codegen.folder import MARKER
from hwmoe.codegen.project import PROGRAM
from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.flow.plans import read_plan
from hwmoe.flow.rtl import AS_THE_BOARD, PREDICTED_IMAGES, RtlOptions, board_memory, default_images
from hwmoe.flow.run import pick_images
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import load_board
from hwmoe.plan.disassembler import listing
from hwmoe.plan.program import Program
from hwmoe.quant.calibrate import Progress
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.quant.ranges import Calibration
from hwmoe.report.cycles import cycles_section
from hwmoe.report.data import (
    accuracy_sections,
    hls_check,
    model_section,
    rtl_check,
)
from hwmoe.report.summary import STAGES, counted, print_cycles

Result = dict[str, Any]
CALIBRATION_IMAGES = 256


def quantize_file(
    source: str,
    out: Path,
    experts: Experts,
    images: str | None,
    percentile: float,
    say: Progress,
    method: Calibration = "minmax",
) -> Result:
    """`hwmoe quantize`."""
    if out.is_dir():
        raise HwmoeError(f"{out} is a folder; give --out the name of a .safetensors file")
    if not out.absolute().parent.is_dir():
        raise HwmoeError(f"{out}: the folder {out.parent} does not exist")
    model = load_model(source).eval()
    found = images_for(model.config, images)
    calibration = found.calibration[:CALIBRATION_IMAGES]
    quantized = quantize(model, calibration, experts, percentile, say, method)
    quantized.save(out)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "file": str(out),
        "says": str(quantized),
        "experts": experts,
        "calibration": quantized.calibration,
        "ranges_chosen": [asdict(choice) for choice in quantized.choices],
        "model": model_section(quantized, parameters),
    }


def generate_folder(quantized: Path, board: str, out: Path, plan: Path | None = None) -> Result:
    """`hwmoe generate`; `plan`: of `hwmoe search`, instead of the default machine."""
    model, target = QuantizedModel.load(quantized), load_board(board)
    accelerator = read_plan(plan, model, target) if plan else None
    hardware = generate(model, target, str(quantized), accelerator)
    hardware.write(out)
    project = hardware.project
    memory, predicted = board_memory(project.board, AS_THE_BOARD), hardware.predict_cycles()
    return {
        "folder": str(out),
        "digest": project.digest,
        "board": project.board.name,
        "clock_mhz": project.board.clock_mhz,
        "accelerator": project.program.accelerator.model_dump(exclude_none=True),
        "files": sorted(project.files),
        "cycles": cycles_section(project, memory, PREDICTED_IMAGES, predicted, None),
    }


def simulate_folder(
    folder: Path,
    level: str,
    images: str | None,
    count: int | None,
    task: str | None,
    options: RtlOptions,
    say: Progress,
) -> Result:
    """`hwmoe simulate`; `count` images a task, by default few. `task`: only that one in RTL."""
    if options.resume and level == "hls":
        raise HwmoeError("--resume is of the simulation of the RTL: give --level rtl, or all")
    hardware = HardwareModel.load(folder)
    config = hardware.quantized.config
    names = [own.name for own in config.tasks]
    if task is not None:
        if task not in names:
            raise HwmoeError(f"--task {task}: the model has {', '.join(names)}")
        options = replace(options, task=names.index(task))
    limit = count or default_images(hardware.project)
    found = images_for(config, images, limit=limit).test[:limit]
    checks: Result = {}
    clock = hardware.project.board.clock_mhz
    result: Result = {"folder": str(folder), "clock_mhz": clock, "checks": checks}
    if level in ("hls", "all"):
        checks["hls_csim"] = hls_check(hardware.check_hls(found, say))
    if level in ("rtl", "all"):
        rtl = hardware.check_rtl(found, say, options)
        checks["rtl"] = rtl_check(rtl.whole)
        result["cycles"] = rtl.cycles(hardware.project)
    result["bit_exact"] = not any(check["divergence"] for check in checks.values())
    return result


def disassemble_folder(folder: Path) -> Result:
    """`hwmoe disasm`: the program of a project as text."""
    if not (folder / MARKER).is_file():
        raise HwmoeError(f"{folder}: not a project of hwmoe; `hwmoe generate` makes one")
    program = Program.load(folder / PROGRAM)
    return {"folder": str(folder), "listing": listing(program).splitlines()}


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
    console.print(f"{result['folder']}: {len(result['files'])} files, {result['digest']}")
    accelerator = dict(result["accelerator"])
    stages = accelerator.pop("stages")
    for part, sizes in accelerator.items():
        text = ", ".join(f"{name}={value}" for name, value in sizes.items())
        console.print(f"  {part:<10} {text}", highlight=False)
    console.print(f"  stages     {stages}", highlight=False)
    print_cycles(result["cycles"], result["clock_mhz"], console)


def show_simulation(result: Result, console: Console) -> None:
    for name, check in result["checks"].items():
        if check["divergence"]:
            console.print(f"{STAGES[name]}: DIFFERS. {check['divergence']}", markup=False)
        else:
            images, values = counted(check["images"], "images"), check["values"]
            console.print(
                f"{STAGES[name]}: bit-exact, {images}, {check['tensors']:,} tensors, "
                f"{values:,} values"
            )
    if "cycles" in result and not result["checks"]["rtl"]["divergence"]:
        print_cycles(result["cycles"], result["clock_mhz"], console)


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
