"""`hwmoe simulate --engine` on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hwmoe.errors import HwmoeError
from hwmoe.report.progress import Bars

Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="ENGINE=DIR",
        help="Only this engine, linear or attention, from Verilog that Vitis HLS exported.",
    ),
]


def engine_command(
    folder: Path,
    engines: list[str],
    whole: Mapping[str, object],
    images: str | None,
    count: int | None,
    stall: float,
    seed: int,
    timeout: float,
) -> dict[str, Any]:
    """`whole`: options of the whole machine; none may be given."""
    from hwmoe.flow.engine import simulate_engines

    if given := [name for name, value in whole.items() if value]:
        raise HwmoeError(f"--engine simulates an engine alone: leave out {', '.join(given)}")
    with Bars() as bars:
        return simulate_engines(folder, engines, images, count, stall, seed, timeout, bars.update)


def show_engine_result(result: dict[str, Any], console: Console) -> None:
    from hwmoe.flow.engine import show_engines

    show_engines(result, console)
