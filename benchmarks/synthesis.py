"""What the default accelerators cost on a board, synthesized by Yosys: the table of the docs.

Run from the top of the repository (many minutes; results stay in build/synthesis):
python benchmarks/synthesis.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from hwmoe.dse.defaults import multipliers_of
from hwmoe.flow.hardware import generate
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import load_board
from hwmoe.quant.quantize import quantize
from hwmoe.report.progress import Bars
from hwmoe.synth.project import synthesize_project

MODELS = ("digits", "m3vit-tiny")
BOARD = "zcu102"
FOLDER = Path("build") / "synthesis"
IMAGES = 8  # only the sizes of the machine matter here
SHOWN = ("hwmoe_dot_cascade", "hwmoe_attn_row", "hwmoe_act_ram", "hwmoe_ram_bank")
"""Modules with a row of their own: without what stands inside them."""
COLUMNS = {"dsp": "DSP48E2", "lut_sites": "LUT", "ff": "FF", "bram36": "BRAM36"}


def main() -> int:
    torch.set_num_threads(1)
    board = load_board(BOARD)
    print(f"| model on {BOARD} | module | {' | '.join(COLUMNS.values())} |")
    print("|---|---|" + "--:|" * len(COLUMNS))
    wrong = 0
    for name in MODELS:
        model = load_model(name).eval()
        images = images_for(model.config, None).calibration[:IMAGES]
        hardware = generate(quantize(model, images, "ternary"), board, name)
        folder = hardware.write(FOLDER / name)
        with Bars() as bars:
            result = synthesize_project(folder, bars.update)
        for module in SHOWN:
            print(_row(name, module, result["modules"][module]))
        print(_row(name, "whole machine", result["total"]))
        print(_row(name, "share", result["share"], "{:.1%}"))
        # The search counts multipliers by a formula: it must be what synthesis finds.
        expected = multipliers_of(hardware.project.program.accelerator)
        if result["total"]["dsp"] != expected:
            print(f"{name}: the formula says {expected} DSP48E2", file=sys.stderr)
            wrong = 1
    return wrong


def _row(model: str, module: str, counts: dict[str, float], form: str = "{:,}") -> str:
    return f"| {model} | {module} | {' | '.join(form.format(counts[c]) for c in COLUMNS)} |"


if __name__ == "__main__":
    sys.exit(main())
