"""plan.json: a machine that `hwmoe search` chose, for `hwmoe generate --plan` and `run --plan`."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from hwmoe.codegen.folder import read_json
from hwmoe.errors import HwmoeError, explain_validation
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import Board
from hwmoe.quant.quantized import QuantizedModel

PLAN = "plan.json"
KIND = "hwmoe.plan"


def read_plan(path: Path, model: QuantizedModel, board: Board) -> AcceleratorConfig:
    """The accelerator of a plan; `HwmoeError` if it was made for another board, model or format.

    `path`: the file, or the folder that `hwmoe search --out` wrote.
    """
    path = path / PLAN if path.is_dir() else path
    data = read_json(path)
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise HwmoeError(f"{path}: not a plan; `hwmoe search MODEL --board B --out DIR` writes one")
    own = {"board": board.name, "model": model.config.name, "experts": model.experts}
    problems = [
        f"{name}: the plan is for {data.get(name)}, not {value}"
        for name, value in own.items()
        if data.get(name) != value
    ]
    if problems:
        raise HwmoeError(f"{path}:\n  " + "\n  ".join(problems))
    try:
        return AcceleratorConfig.model_validate(data.get("accelerator"))
    except ValidationError as error:
        raise explain_validation(f"{path}: accelerator", error) from None
