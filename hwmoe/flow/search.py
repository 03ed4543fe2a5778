"""`hwmoe search`: the best accelerator for a model on a board, why, and its plan.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hwmoe.codegen.folder import check_folder, staged, write_json
from hwmoe.dse.limits import binding_of
from hwmoe.dse.search import Options, Plan, Progress, search, shares_of
from hwmoe.dse.search import Result as Found
from hwmoe.errors import HwmoeError
from hwmoe.flow.measured import section
from hwmoe.flow.plans import KIND, PLAN
from hwmoe.flow.refine import Asked, refine
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.board import Board, load_board
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.report.search_page import write_search_page
from hwmoe.report.search_plot import front_of, write_pareto

Result = dict[str, Any]
STUDIES = "search.db"
PICTURE, PAGE = "pareto.png", "pareto.html"
FORMATS: dict[str, tuple[Experts, ...]] = {
    "int8": ("int8",),
    "ternary": ("ternary",),
    "both": ("int8", "ternary"),
}
SHOWN = 24  # fronts of a split in the plot
DOTS = 800
SHAPES = 2  # images to quantize with: only the sizes of the model matter here
MEASURED_SHAPES = 8  # to be simulated: what the gate chooses matters too
MEASURED = "measured"


def models_of(source: str, experts: str, shapes: int = SHAPES) -> list[QuantizedModel]:
    """What to search for: a file of `hwmoe quantize`, or a model in one or both formats."""
    path = Path(source)
    if path.suffix == ".safetensors" and path.is_file() and _is_quantized(path):
        return [QuantizedModel.load(path)]
    model = load_model(source).eval()
    images = images_for(model.config).calibration[:shapes]
    formats = FORMATS[experts] if model.config.moe_layers else FORMATS["int8"]
    return [quantize(model, images, one) for one in formats]


def _is_quantized(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("hwmoe.kind") == "quantized"
    except (SafetensorError, OSError):
        return False  # whoever loads it says what is wrong with it


def search_model(
    source: str,
    board: str,
    experts: str,
    options: Options,
    out: Path | None,
    resume: bool,
    say: Progress,
    asked: Asked | None = None,
) -> Result:
    """Search, and write plan.json with the plot into `out`, if given; `asked`: what to measure,
    with results kept beside `out`."""
    target = load_board(board)
    if asked:
        if not out:
            raise HwmoeError("--measure keeps its results beside --out: give --out too")
        asked.check(target)
        check_folder(out, PLAN)
        options = replace(options, predicted=max(options.predicted, asked.plans))
    models = models_of(source, experts, MEASURED_SHAPES if asked else SHAPES)
    if out and resume:
        # Beside the folder, which is complete or absent.
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        studies = out.absolute().with_name(f"{out.name}.{STUDIES}")
        options = replace(options, storage=options.storage or f"sqlite:///{studies}")
    found = search(models, target, options, say)
    if asked and out:
        folder = out.absolute().with_name(f"{out.name}.{MEASURED}")
        refined = refine(models, target, options.goal, found, asked, folder, say)
        result = describe(models, target, options, found, refined.plan)
        result[MEASURED] = section(refined, found, target, options.goal)
    else:
        result = describe(models, target, options, found, found.best)
    result = {"source": source, **result}
    if out:
        machines = candidates(models, found)
        with staged(out, PLAN) as stage:
            write_json(stage / PLAN, result)
            write_pareto(result, machines, stage / PICTURE)
            write_search_page(result, machines, stage / PAGE)
        result["folder"] = str(out)
    return result


def compare_boards(
    source: str, boards: Sequence[str], experts: str, options: Options, say: Progress
) -> Result:
    """One search a board; a board on which the model does not fit says why."""
    models, rows = models_of(source, experts), list[Result]()
    targets = [load_board(name) for name in boards]
    for board in targets:
        try:
            found = search(models, board, options, say)
            rows.append(describe(models, board, options, found, found.best))
        except HwmoeError as error:
            rows.append({"board": board.name, "clock_mhz": board.clock_mhz, "refused": str(error)})
    return {"model": models[0].config.name, "boards": rows}


def describe(
    models: Sequence[QuantizedModel], board: Board, options: Options, found: Found, best: Plan
) -> Result:
    """The plan as data: what was chosen, what it should do, and what limits it."""
    model = models[best.model]
    clock = board.clock_mhz
    binding = binding_of(found.split_of(best), best.found)
    return {
        "kind": KIND,
        "model": model.config.name,
        "experts": model.experts,
        "board": board.name,
        "clock_mhz": clock,
        "objective": options.goal.kind,
        "rate": options.goal.rate,
        "shares_allowed": dict(options.goal.shares),
        "strategy": options.strategy,
        "grid": options.grid,
        "seed": options.seed,
        "machines": found.machines,
        "seconds": {name: round(value, 2) for name, value in found.seconds.items()},
        "accelerator": best.accelerator.model_dump(exclude_none=True),
        "cycles": round(best.cycles),
        "ms": best.cycles / clock / 1e3,
        "images_a_second": clock * 1e6 / best.cycles,
        "estimate": round(best.estimate),
        "engines": _engines(best),
        "resources": asdict(best.cost),
        "shares": shares_of(best.cost, board),
        "binding": [asdict(entry) for entry in binding],
        "roofline": roofline(model, board, best),
    }


def _engines(plan: Plan) -> list[Result]:
    """What each engine does: cycles an image it must run at least, and its share of the time."""
    images, run = len(plan.prediction.stores), plan.prediction.stores[-1]
    return [
        {
            "engine": name,
            "bound": round(getattr(plan.bounds, name, 0)),
            "busy": round(busy / images),
            "running": busy / run,
        }
        for name, busy in plan.prediction.busy.items()
    ]


def roofline(model: QuantizedModel, board: Board, plan: Plan) -> Result:
    """Operations (2 a MAC) against bytes of weights: Williams, Waterman and Patterson, CACM 2009.

    Compute roof: MACs of the linear kernels and of attention, all busy. Bytes: what is read for
    one image by itself.
    """
    acc, clock = plan.accelerator, board.clock_mhz * 1e6
    macs = acc.attention.macs_per_cycle + sum(k.macs_per_cycle for k in acc.linears.values())
    operations = 2 * model.config.macs
    bytes_read = plan.bounds.memory * board.bytes_per_cycle
    intensity = operations / bytes_read
    compute, bandwidth = 2 * macs * clock / 1e9, board.bytes_per_cycle * clock / 1e9
    return {
        "operations": operations,
        "bytes": round(bytes_read),
        "memory_cycles": round(plan.bounds.memory),
        "intensity": intensity,
        "compute_gops": compute,
        "memory_gb_s": bandwidth,
        "roof_gops": min(compute, intensity * bandwidth),
        "bound": "memory" if intensity * bandwidth < compute else "compute",
        "attained_gops": operations * clock / plan.cycles / 1e9,
    }


def candidates(models: Sequence[QuantizedModel], found: Found) -> list[dict[str, Any]]:
    """For the plot: machines that no smaller one is as fast as, beside some of all fronts."""
    predicted = {(plan.model, plan.found): plan.cycles for plan in found.plans}
    rows = []
    for number, splits in enumerate(found.splits):
        for split in splits:
            fronts = list(split.space.fronts())
            shown = {*fronts[:: 1 + len(fronts) // SHOWN]}
            kept = {own for own in found.found[number] if split.has(own)}
            shown |= {own.front for own in kept}
            for entry in kept.union(*(split.ladder(front) for front in shown)):
                cycles = predicted.get((number, entry))
                rows.append(
                    {
                        "experts": models[number].experts,
                        "t_in": entry.t_in,
                        "stages": entry.stages,
                        "size": entry.size,
                        "cycles": round(entry.cycles),
                        "predicted": None if cycles is None else round(cycles),
                        "says": split.says(entry),
                    }
                )
    rows.sort(key=lambda row: (row["size"], row["cycles"]))
    best, every = {id(row) for row in front_of(rows)}, 1 + len(rows) // DOTS
    return [
        row
        for at, row in enumerate(rows)
        if id(row) in best or at % every == 0 or row["predicted"] is not None
    ]
