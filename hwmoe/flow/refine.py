"""`hwmoe search --measure`: the best plans rendered, simulated and synthesized; the pick of them.

A result is kept as soon as it is there, by the digest of what it was made from. So an interrupted
run goes on where it was, and one that has everything answers at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwmoe.codegen.rtl_machine import TOP
from hwmoe.dse.limits import NAMES
from hwmoe.dse.objective import Goal
from hwmoe.dse.search import Plan, Progress
from hwmoe.dse.search import Result as Found
from hwmoe.errors import HwmoeError
from hwmoe.flow.jobs import Job, PlanJobs, jobs_of, tools
from hwmoe.flow.kept import Kept
from hwmoe.flow.measured import CELLS, Measured, Refined, allowed
from hwmoe.flow.rtl import AS_THE_BOARD, board_memory, images_that_fill
from hwmoe.flow.runners import Runner, check_scheduler, here, on_dask
from hwmoe.model.data import images_for
from hwmoe.plan.board import Board
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.synth.parts import joined
from hwmoe.synth.project import check_family
from hwmoe.synth.resources import Resources

Result = dict[str, Any]
WORK = "work"
SECONDS = 3600.0  # for one run of a tool
STAGES = {"cycles": "simulating plans", "resources": "synthesizing parts"}


@dataclass(frozen=True)
class Asked:
    """How many plans to measure, by what; `seconds` for each run of a tool. `scheduler`: address of
    a Dask scheduler instead of `processes` of this machine."""

    plans: int
    synthesis: bool = True
    seconds: float = SECONDS
    scheduler: str | None = None
    processes: int = 1

    def check(self, board: Board) -> None:
        """`HwmoeError`, before anything is searched, if it could not be measured."""
        if self.synthesis:
            try:
                check_family(board)
            except HwmoeError as error:
                raise HwmoeError(
                    f"{error}. With --without-synthesis plans are only simulated"
                ) from None
        tools(self.synthesis)
        if self.scheduler:
            check_scheduler(self.scheduler)

    def runner(self, work: Path) -> Runner:
        if self.scheduler:
            return partial(on_dask, address=self.scheduler, seconds=self.seconds)
        return partial(here, work=work, processes=self.processes, seconds=self.seconds)


def refine(
    models: Sequence[QuantizedModel],
    board: Board,
    goal: Goal,
    found: Found,
    asked: Asked,
    folder: Path,
    say: Progress,
    runner: Runner | None = None,
) -> Refined:
    """Measure the best plans of a search, and pick one. `folder` keeps results; `runner` as asked.

    `HwmoeError` with all reasons if none can be taken.
    """
    asked.check(board)
    kept, plans = Kept(folder), found.plans[: asked.plans]
    jobs, failed = _rendered(models, board, goal, plans, asked, say)
    every = {job.name: job for own in jobs.values() for job in own.all}
    failures = _run(every, kept, runner or asked.runner(folder / WORK), say)
    measured = []
    for number, plan in enumerate(plans):
        if number in jobs:
            measured.append(_measured(plan, jobs[number], kept, failures, board, goal))
        else:
            measured.append(Measured(plan, plan.cycles, None, {}, (failed[number],), (), False, {}))
    best = _pick(measured, found, board, goal, folder)
    return Refined(tuple(measured), best, {str(k): v for k, v in tools(asked.synthesis).items()})


def _rendered(
    models: Sequence[QuantizedModel],
    board: Board,
    goal: Goal,
    plans: Sequence[Plan],
    asked: Asked,
    say: Progress,
) -> tuple[dict[int, PlanJobs], dict[int, str]]:
    """Jobs by the plan's number, and why there are none."""
    jobs, failed = dict[int, PlanJobs](), dict[int, str]()
    memory, uram = board_memory(board, AS_THE_BOARD), board.resources.uram > 0
    for number, plan in enumerate(plans):
        say("rendering plans", number, len(plans))
        model = models[plan.model]
        stages = plan.accelerator.stages
        count = 1 if goal.kind == "latency" else images_that_fill(model.config, stages)
        images = images_for(model.config, test=count).test[:count]
        patches = model.quantize_images(images)
        try:
            jobs[number] = jobs_of(model, plan.accelerator, patches, memory, asked.synthesis, uram)
        except HwmoeError as error:
            failed[number] = f"rendering: {error}"
    say("rendering plans", len(plans), len(plans))
    return jobs, failed


def _run(jobs: Mapping[str, Job], kept: Kept, runner: Runner, say: Progress) -> dict[str, str]:
    """Run what is not kept; what failed, by name of the job."""
    failures = dict[str, str]()
    totals = Counter(job.kind for job in jobs.values())
    missing = [job for job in jobs.values() if not kept.has(job.name)]
    done = totals - Counter(job.kind for job in missing)
    for kind, total in totals.items():
        say(STAGES[kind], done[kind], total)
    if not missing:
        return failures
    missing.sort(key=_when)
    with closing(runner(missing)) as answers:
        for job, answer in answers:
            if isinstance(answer, HwmoeError):
                failures[job.name] = f"{job.what}: {answer}"
            elif answer.get("divergence"):
                failures[job.name] = f"DIFFERS. {answer['divergence']}"
            else:
                kept.put(job.name, answer)
            done[job.kind] += 1
            say(STAGES[job.kind], done[job.kind], totals[job.kind])
    return failures


def _when(job: Job) -> tuple[bool, int]:
    """Simulations first, the best plan's before others; then the longest synthesis."""
    synthesis = job.kind == "resources"
    return synthesis, -sum(map(len, job.files.values())) if synthesis else 0


def _measured(
    plan: Plan,
    jobs: PlanJobs,
    kept: Kept,
    failures: Mapping[str, str],
    board: Board,
    goal: Goal,
) -> Measured:
    cycles, simulated, resources = None, Result(), dict[str, float]()
    refusals = []
    if kept.has(jobs.cycles.name):
        simulated = kept.read(jobs.cycles.name)
        cycles = simulated["latency" if goal.kind == "latency" else "steady"]
        limit = goal.cycles(board)
        if cycles > limit:
            refusals.append(f"{cycles:,.0f} cycles between images, {limit:,.0f} allowed")
    if jobs.parts and all(kept.has(job.name) for job in jobs.parts.values()):
        parts = {name: Resources.from_dict(kept.read(job.name)) for name, job in jobs.parts.items()}
        cells = joined(TOP, parts).total
        resources = {
            name: getattr(cells, cell)
            for name, cell in CELLS.items()
            if getattr(board.resources, name)
        }
        caps = allowed(board, goal)
        refusals += [
            f"{NAMES[name]}: {taken:,g} taken, {caps[name]:,.0f} allowed"
            for name, taken in resources.items()
            if taken > caps[name]
        ]
    failed = tuple(failures[job.name] for job in jobs.all if job.name in failures)
    differs = failures.get(jobs.cycles.name, "").startswith("DIFFERS")
    own = jobs.predicted
    predicted = own.latency if goal.kind == "latency" else own.cycles_per_image
    return Measured(plan, predicted, cycles, resources, failed, tuple(refusals), differs, simulated)


def _pick(
    measured: Sequence[Measured], found: Found, board: Board, goal: Goal, folder: Path
) -> int:
    """The best by the objective of those without a problem."""
    fine = [number for number, own in enumerate(measured) if not own.problems]
    if not fine:
        lines = []
        for own in measured:
            lines.append(found.split_of(own.plan).says(own.plan.found))
            lines += [f"  {line}" for text in own.problems for line in text.splitlines()]
        raise HwmoeError(
            f"of {len(measured)} measured plans none can be taken:\n  "
            + "\n  ".join(lines)
            + "\nMeasure more plans, or leave the search more room with a smaller --share of what "
            f"is too much. What was measured is kept in {folder}."
        )

    def value(number: int) -> tuple[float, int]:
        own = measured[number]
        taken = own.resources or asdict(own.plan.cost)
        size = [taken[name] / getattr(board.resources, name) for name in allowed(board, goal)]
        return (sum(size) if goal.kind == "size" else own.cycles or 0.0), number

    return min(fine, key=value)
