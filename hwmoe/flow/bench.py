"""`hwmoe bench`: simulated machines beside published designs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.codegen.folder import KEPT, MARKER, read_json, write_json
from hwmoe.dse.defaults import multipliers_of
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.flow.rtl import (
    AS_THE_BOARD,
    RtlOptions,
    board_memory,
    default_images,
    machine_key,
)
from hwmoe.model.config import ModelConfig
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import Board, load_board
from hwmoe.quant.calibrate import Progress
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts
from hwmoe.report.summary import milliseconds, number, percent
from hwmoe.synth.project import check_family, synthesize_project, synthesized

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

Row = dict[str, Any]
RESULT = "bench.json"
PRECISIONS: tuple[Experts, ...] = ("ternary", "int8")
CALIBRATION_IMAGES = 8  # weights are random: only the sizes matter
NOTES = (
    "kcycles: between results once the machine is full; alone: of one image alone. ms and GOPS"
    " are those of kcycles. busy: useful linear MACs of those the array can do. /DSP:"
    " GOPS for each DSP.",
    "hwmoe: cycles are simulated in the SystemVerilog with the board's off-chip memory, results"
    " compared with the integer reference. ms and GOPS take the assumed clock; GOP an image is 2 x"
    " the MACs of the configuration. No bitstream was built.",
    "Others: latency, GOPS and DSP as the papers give them; cycles are latency x clock, GOP an"
    " image is GOPS x latency. They count other operations an image: compare cycles and ms.",
)


def bench_models(
    sources: Sequence[str], board: str, out: Path, synth: bool, timeout: float, say: Progress
) -> Row:
    """Every model with ternary and with int8 experts. Each result is kept in its folder below
    `out` as soon as it is there, and taken again while nothing it depends on has changed."""
    target = load_board(board)
    if synth:
        check_family(target)
    ours = [
        _bench(source.strip(), experts, target, out, synth, timeout, say)
        for source in sources
        for experts in PRECISIONS
    ]
    return {"ours": ours, "published": published(), "notes": list(NOTES), "folder": str(out)}


def published() -> list[Row]:
    """Designs of papers, with what follows from the quoted figures."""
    text = resources.files("hwmoe.report").joinpath("published.toml").read_text("utf-8")
    designs: list[Row] = tomllib.loads(text)["design"]
    for design in designs:
        ms, dsp = design["latency_ms"], design.get("dsp")
        design["cycles"] = round(1e3 * ms * design["clock_mhz"])
        design["gop"] = round(design["gops"] * ms / 1e3, 3)
        design["gops_per_dsp"] = round(design["gops"] / dsp, 4) if dsp else None
    return designs


def _bench(
    source: str,
    experts: Experts,
    board: Board,
    out: Path,
    synth: bool,
    timeout: float,
    say: Progress,
) -> Row:
    model = load_model(source).eval()
    images = images_for(model.config)
    quantized = quantize(model, images.calibration[:CALIBRATION_IMAGES], experts)
    hardware = generate(quantized, board, source)
    folder = out / f"{model.config.name}-{experts}-{board.name}"
    if _digest(folder / MARKER) == hardware.project.digest:
        hardware.folder = folder
    else:
        hardware.write(folder)
    count, rtl = default_images(hardware.project), RtlOptions(seconds=timeout)
    key = _key(hardware, folder, count)
    kept = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
    if kept.get("key") == key:
        simulated: Row = kept["simulated"]
    else:
        check = hardware.check_rtl(images.test[:count], say, rtl)
        alone = hardware.check_rtl(images.test[:1], say, replace(rtl, task=0))
        divergence = check.whole.divergence or alone.whole.divergence
        simulated = {
            "divergence": str(divergence) if divergence else None,
            "cycles": check.cycles(hardware.project),
            "alone": alone.cycles(hardware.project),
        }
        if divergence is None:
            write_json(folder / RESULT, {"key": key, "simulated": simulated})
    if synth:
        synthesize_project(folder, say, timeout)
    return _row(hardware, model.config, simulated, folder)


def _digest(path: Path) -> str | None:
    """Of what made a folder, if anything did."""
    return read_json(path).get("digest") if path.is_file() else None


def _key(hardware: HardwareModel, folder: Path, count: int) -> str:
    """All that the cycles depend on: sources, bench, program, images and memory."""
    project, memory = hardware.project, board_memory(hardware.project.board, AS_THE_BOARD)
    return f"{project.digest} {machine_key(project, folder, folder / KEPT)} {count} {memory}"


def _row(hardware: HardwareModel, config: ModelConfig, simulated: Row, folder: Path) -> Row:
    board, cycles = hardware.project.board, simulated["cycles"]
    steady = cycles["steady"]
    ternary = hardware.quantized.experts == "ternary"
    height, width = config.image
    gop = 2 * config.macs / 1e9
    gops = gop / (steady["ms"] / 1e3) if steady["measured"] else None
    total = synthesized(hardware.project, folder) or {}
    dsp = total.get("dsp", multipliers_of(hardware.project.program.accelerator))
    return {
        "name": "hwmoe",
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "model": config.name,
        "geometry": f"{height}x{width}, {config.tokens} tokens of {config.dim}",
        "bits": f"W8 A8, {'ternary' if ternary else 'int8'} experts",
        "bit_exact": simulated["divergence"] is None,
        "divergence": simulated["divergence"],
        "gop": round(gop, 4),
        "cycles": steady["measured"],
        "alone_cycles": simulated["alone"]["latency"]["measured"],
        "predicted_cycles": steady["predicted"],
        "latency_ms": steady["ms"] if steady["measured"] else None,
        "gops": gops and round(gops, 1),
        "utilization": cycles["linear_macs"]["utilization"] if steady["measured"] else None,
        "dsp": dsp,
        "dsp_counted": "dsp" in total,
        "gops_per_dsp": gops and round(gops / dsp, 4),
        "lut": total.get("lut_sites"),
        "bram36": total.get("bram36"),
        "folder": str(folder),
    }


def show_bench(result: Row, console: Console) -> None:
    """One table, ours first; then what its figures are."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("design", "board"):
        table.add_column(title, no_wrap=True)
    table.add_column("MHz", justify="right")
    table.add_column("model", no_wrap=True)
    table.add_column("bits", overflow="fold")
    for title in ("GOP", "kcycles", "alone", "ms", "GOPS", "busy", "DSP", "/DSP"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in [*result["ours"], *result["published"]]:
        table.add_row(*_cells(row))
    console.print(table, highlight=False, markup=False)
    for row in result["ours"]:
        what = f"{row['model']}, {row['bits']} ({row['geometry']})"
        if row["divergence"]:
            console.print(f"{what}: DIFFERS. {row['divergence']}", markup=False)
        if row["lut"] is not None:
            cells = f"{row['lut']:,} LUT, {row['bram36']:g} BRAM36"
            console.print(f"{what}: {cells}, by Yosys", highlight=False)
    if not all(row["dsp_counted"] for row in result["ours"]):
        console.print("* By a formula; --synth counts them.", highlight=False)
    for note in result["notes"]:
        console.print(note, highlight=False)


def _cells(row: Row) -> list[str]:
    counted = row.get("dsp_counted", True)
    thousands = (row["cycles"], row.get("alone_cycles"))
    return [
        row["name"],
        row["board"],
        f"{row['clock_mhz']:g}",
        row["model"],
        row["bits"],
        number(row["gop"], 2),
        *("" if cycles is None else number(cycles / 1e3, 1) for cycles in thousands),
        milliseconds(row["latency_ms"]).removesuffix(" ms"),
        number(row["gops"], 1),
        percent(row["utilization"]) if row.get("utilization") else "",
        (number(row["dsp"]) if row.get("dsp") else "") + ("" if counted else " *"),
        number(row["gops_per_dsp"], 3) if row.get("gops_per_dsp") else "",
    ]
