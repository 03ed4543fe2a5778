"""The best machine for a model on a board: searched by estimate, chosen by predicted schedule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Literal

from hwmoe.dse.backs import Found, Split
from hwmoe.dse.bounds import Bounds, bounds_of, products_of
from hwmoe.dse.exhaustive import exhaustive
from hwmoe.dse.limits import refuse_rate, refuse_space
from hwmoe.dse.machine_cycles import MachinePrediction, even_lengths, predict_machine
from hwmoe.dse.metrics import Metrics, cost_on, sized_machine
from hwmoe.dse.objective import Goal
from hwmoe.dse.resources import Cost, cost_of
from hwmoe.dse.space import GRIDS, spaces
from hwmoe.dse.two_stage import two_stage
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import Board
from hwmoe.plan.compiler import schedule_only
from hwmoe.quant.quantized import QuantizedModel

Strategy = Literal["two-stage", "exhaustive"]
Progress = Callable[[str, int, int], None]

AHEAD = 1.3  # machines estimated this near to the best are predicted
ROUNDS = 4  # of a search for a rate: until the schedule gives what the estimate promised
FULL = 2  # intervals between images that are predicted with the machine full
MINUTES = 30  # that a prediction may take


@dataclass(frozen=True)
class Options:
    """`storage`: URL of Optuna studies to go on with. `predicted`: machines at most whose schedule
    is predicted, in `jobs` processes: the best of each split, then others of the same splits.
    """

    goal: Goal = field(default_factory=Goal)
    strategy: Strategy = "two-stage"
    grid: str = "coarse"
    seed: int = 0
    storage: str | None = None
    predicted: int = 4
    jobs: int = 1


@dataclass(frozen=True)
class Plan:
    """A machine with what is known of it. `cycles`: between images, or of one image alone if that
    is the goal; `busy`: of each engine, over all predicted images."""

    model: int
    accelerator: AcceleratorConfig
    cost: Cost
    bounds: Bounds
    estimate: float
    cycles: float
    prediction: MachinePrediction
    found: Found


@dataclass(frozen=True)
class Result:
    """`plans`: those predicted, best first. `machines`: in the space. `seconds` by stage."""

    plans: tuple[Plan, ...]
    found: tuple[tuple[Found, ...], ...]
    splits: tuple[tuple[Split, ...], ...]
    machines: int
    seconds: dict[str, float]

    @property
    def best(self) -> Plan:
        return self.plans[0]

    def split_of(self, plan: Plan) -> Split:
        return next(split for split in self.splits[plan.model] if split.has(plan.found))


def search(
    models: Sequence[QuantizedModel], board: Board, options: Options, say: Progress
) -> Result:
    """`models`: one, or the same with experts of several number formats, of which one is chosen.

    `HwmoeError` says which limit binds if no machine fits, or none is fast enough.
    """
    if options.grid not in GRIDS:
        raise HwmoeError(f"grid {options.grid}: known are {', '.join(GRIDS)}")
    seconds = {"tables": 0.0, "search": 0.0, "predict": 0.0}
    start = time.perf_counter()
    splits = []
    for number, model in enumerate(models):
        say("cost tables", number, len(models))
        splits.append(splits_of(model, board, options.goal, options.grid))
    say("cost tables", len(models), len(models))
    seconds["tables"] = time.perf_counter() - start
    goal, plans = options.goal, list[Plan]()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = [
            _search(model, own, board, options, goal, say)
            for model, own in zip(models, splits, strict=True)
        ]
        seconds["search"] += time.perf_counter() - start
        start = time.perf_counter()
        plans = _predicted(models, splits, found, board, options, say)
        seconds["predict"] += time.perf_counter() - start
        limit = options.goal.cycles(board)
        if any(plan.cycles <= limit for plan in plans):
            break
        if goal.rate is None or not plans:
            break
        goal = replace(goal, rate=goal.rate * min(plan.cycles for plan in plans) / limit)
    kept = [plan for plan in plans if plan.cycles <= options.goal.cycles(board)]
    if not kept:
        refuse_rate([s for own in splits for s in own], board, options.goal, models[0].config.name)
    smallest = options.goal.kind == "size"
    kept.sort(key=lambda plan: plan.found.size if smallest else plan.cycles)
    machines = sum(split.space.size // len(split.space.stages) for own in splits for split in own)
    return Result(
        tuple(kept), tuple(map(tuple, found)), tuple(map(tuple, splits)), machines, seconds
    )


def splits_of(model: QuantizedModel, board: Board, goal: Goal, grid: str) -> list[Split]:
    """All splits in which the model fits the board; `HwmoeError` if there is none."""
    found, refused = list[Split](), list[HwmoeError]()
    for space in spaces(model, board, GRIDS[grid]):
        for stages in goal.stages(space.stages):
            try:
                if not found or found[-1].space is not space:
                    metrics = Metrics(model, board, space)
                found.append(Split(metrics, goal, stages))
            except HwmoeError as error:  # a memory of the model is too large for these lanes
                refused.append(error)
    if not any(split.some_fits() for split in found):
        refuse_space(found, refused, board, model.config.name)
    return found


def _search(
    model: QuantizedModel,
    splits: Sequence[Split],
    board: Board,
    options: Options,
    goal: Goal,
    say: Progress,
) -> list[Found]:
    for split in splits:
        split.goal = goal
    others = options.predicted - 1
    if options.strategy == "exhaustive":
        return exhaustive(splits, lambda d, n: say("every machine", d, n), others)
    asked = repr((model.config, model.experts, board, goal, options.grid, options.seed))
    name = sha256(asked.encode()).hexdigest()[:16]
    return two_stage(
        splits,
        options.seed,
        options.storage,
        name,
        lambda d, n: say("two-stage search", d, n),
        others,
    )


def predict(
    model: QuantizedModel, board: Board, acc: AcceleratorConfig, images: int
) -> tuple[MachinePrediction, Cost]:
    """The schedule of so many images of the first task, tokens spread evenly over the experts; and
    what the machine costs, its memories sized for the program."""
    program = schedule_only(model, acc)
    lengths = even_lengths(program, model.config.top_k)
    rate, latency = board.bytes_per_cycle, board.memory.latency_cycles
    found = predict_machine(program, rate, latency, [0] * images, lengths)
    return replace(found, trace=()), cost_of(program.accelerator, program.sizes)


def _predicted(
    models: Sequence[QuantizedModel],
    splits: Sequence[Sequence[Split]],
    found: Sequence[Sequence[Found]],
    board: Board,
    options: Options,
    say: Progress,
) -> list[Plan]:
    """The most promising machines, their schedules predicted; without those that do not fit."""
    smallest, alone = options.goal.kind == "size", options.goal.kind == "latency"
    everything = [(number, own) for number, several in enumerate(found) for own in several]
    everything.sort(key=lambda entry: entry[1].size if smallest else entry[1].cycles)
    everything = _best_of_splits_first(everything)
    chosen: list[tuple[int, Found, AcceleratorConfig]] = []
    for number, own in everything:
        if len(chosen) == options.predicted:
            break
        if not smallest and own.cycles > AHEAD * everything[0][1].cycles:
            continue
        at = next(split for split in splits[number] if split.has(own))
        acc = at.machine(own)
        if at.within(cost_on(models[number], acc)):
            chosen.append((number, own, acc))
    work = [
        (models[number], board, acc, 1 if alone else acc.stages + FULL) for number, _, acc in chosen
    ]
    predictions = _in_parallel(work, options.jobs, say)
    plans = []
    for (number, own, acc), (prediction, cost) in zip(chosen, predictions, strict=True):
        if not next(split for split in splits[number] if split.has(own)).within(cost):
            continue
        model = models[number]
        sized, _ = sized_machine(model, acc)
        bounds = bounds_of(sized, model, products_of(model), board.bytes_per_cycle)
        cycles = prediction.latency if alone else prediction.cycles_per_image
        plans.append(Plan(number, sized, cost, bounds, own.cycles, cycles, prediction, own))
    return plans


def _best_of_splits_first(sorted_ones: Sequence[tuple[int, Found]]) -> list[tuple[int, Found]]:
    """(number of the model, machine) from best to worst: the first of each split before others."""
    heads, others, seen = list[tuple[int, Found]](), list[tuple[int, Found]](), set[object]()
    for number, own in sorted_ones:
        split = (number, own.t_in, own.stages)
        (others if split in seen else heads).append((number, own))
        seen.add(split)
    return heads + others


def _in_parallel(
    work: Sequence[tuple[QuantizedModel, Board, AcceleratorConfig, int]], jobs: int, say: Progress
) -> list[tuple[MachinePrediction, Cost]]:
    what = "predicting schedules"
    found = []
    if jobs == 1 or len(work) < 2:
        for done, one in enumerate(work):
            say(what, done, len(work))
            found.append(predict(*one))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            waiting = [pool.submit(predict, *one) for one in work]
            for done, future in enumerate(waiting):
                say(what, done, len(work))
                found.append(future.result(timeout=60 * MINUTES))
    say(what, len(work), len(work))
    return found


def shares_of(cost: Cost, board: Board) -> dict[str, float]:
    """Of the board's resources, those it has."""
    own = board.resources
    return {
        name: value / getattr(own, name)
        for name, value in asdict(cost).items()
        if getattr(own, name, 0)
    }
