"""`hwmoe search` on the command line."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwmoe.errors import HwmoeError
from hwmoe.report.progress import Bars

if TYPE_CHECKING:
    from hwmoe.dse.objective import Kind
    from hwmoe.flow.refine import Asked


class Formats(str, Enum):
    int8 = "int8"
    ternary = "ternary"
    both = "both"


class Objective(str, Enum):
    throughput = "throughput"
    latency = "latency"
    size = "size"

    @property
    def kind(self) -> Kind:
        return self.value


class Strategy(str, Enum):
    two_stage = "two-stage"
    exhaustive = "exhaustive"


class GridName(str, Enum):
    coarse = "coarse"
    fine = "fine"


def search_command(
    model: Annotated[
        str, typer.Argument(help="As of `run`, or a file written by `quantize`.", metavar="MODEL")
    ],
    board: Annotated[
        str, typer.Option("--board", help="Board name, or path of a .toml file.")
    ] = "zcu102",
    experts: Annotated[
        Formats,
        typer.Option("--experts", help="Number format of routed experts; both: the better."),
    ] = Formats.int8,
    objective: Annotated[
        Objective | None,
        typer.Option("--objective", help="Default: throughput; with --rate: size, the smallest."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Images a second that the machine must do.")
    ] = None,
    strategy: Annotated[
        Strategy, typer.Option("--strategy", help="exhaustive: judge every machine of the grid.")
    ] = Strategy.two_stage,
    grid: Annotated[
        GridName, typer.Option("--grid", help="How many values each parameter may take.")
    ] = GridName.coarse,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the genetic search.")] = 0,
    share: Annotated[
        list[str] | None,
        typer.Option("--share", help="NAME=PERCENT of the board that may be used; repeatable."),
    ] = None,
    predicted: Annotated[
        int,
        typer.Option("--predicted", min=1, help="Machines whose schedule is predicted."),
    ] = 4,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Processes that predict and measure.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for plan.json and the Pareto plots.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep the genetic search beside --out, and go on with it."),
    ] = False,
    storage: Annotated[
        str | None, typer.Option("--storage", help="URL of an Optuna storage instead.")
    ] = None,
    measure: Annotated[
        int | None,
        typer.Option("--measure", min=1, help="Simulate and synthesize the best N; pick of those."),
    ] = None,
    without_synthesis: Annotated[
        bool, typer.Option("--without-synthesis", help="--measure: only simulate.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=1, help="--measure: seconds for each run of a tool; 3600."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", help="--measure: on the Dask cluster of this address."),
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="Boards to tabulate, with commas between.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the best accelerator for a model on a board, and say what limits it."""
    from hwmoe.cli import finish, verdict
    from hwmoe.dse.objective import SHARES, Goal
    from hwmoe.dse.search import Options
    from hwmoe.flow.search import compare_boards, search_model
    from hwmoe.report.search_table import show_boards, show_search

    if compare and (out or resume or measure):
        raise HwmoeError("--compare only prints a table: leave out --out, --resume and --measure")
    if resume and not out:
        raise HwmoeError("--resume keeps the search beside --out: give --out too")
    usual = Objective.throughput if rate is None else Objective.size
    chosen = (objective or usual).kind
    processes = jobs or min(2, os.cpu_count() or 1)
    asked = _asked(measure, not without_synthesis, timeout, scheduler, processes)
    options = Options(
        goal=Goal(chosen, rate, {**SHARES, **_shares(share or [])}),
        strategy=strategy.value,
        grid=grid.value,
        seed=seed,
        storage=storage,
        predicted=predicted,
        jobs=processes,
    )
    with Bars() as bars:
        if compare:
            names = [name.strip() for name in compare.split(",")]
            result = compare_boards(model, names, experts.value, options, bars.update)
        else:
            result = search_model(
                model, board, experts.value, options, out, resume, bars.update, asked
            )
    show = show_boards if compare else show_search
    finish(result, as_json, lambda console: show(result, console))
    if "measured" in result:
        verdict(not any(plan["differs"] for plan in result["measured"]["plans"]))


def _asked(
    measure: int | None,
    synthesis: bool,
    timeout: float | None,
    scheduler: str | None,
    processes: int,
) -> Asked | None:
    """What to measure, if anything."""
    from hwmoe.flow.refine import SECONDS, Asked

    if measure is None:
        given = {"--without-synthesis": not synthesis, "--timeout": timeout}
        if extra := [name for name, value in (given | {"--scheduler": scheduler}).items() if value]:
            raise HwmoeError(f"{', '.join(extra)}: of --measure N, which is not given")
        return None
    return Asked(measure, synthesis, timeout or SECONDS, scheduler, processes)


def _shares(entries: list[str]) -> dict[str, float]:
    """`lut=60` as a share of 0.6."""
    found = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        try:
            found[name.strip()] = float(value.strip().removesuffix("%")) / 100
        except ValueError:
            raise HwmoeError(f"--share {entry!r}: give NAME=PERCENT, as in lut=60") from None
    return found
