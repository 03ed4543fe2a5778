"""`--measure`: which plan is picked, what is kept, what goes on when something fails."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_models import small

import hwmoe
from hwmoe.dse.objective import Goal
from hwmoe.dse.search import Options, Result, search
from hwmoe.errors import HwmoeError
from hwmoe.flow import refine as refining
from hwmoe.flow.jobs import Job, PlanJobs, jobs_of, tools
from hwmoe.flow.measured import Refined, section
from hwmoe.flow.refine import Asked, refine
from hwmoe.flow.runners import Answer, Answers, Runner, here, on_dask
from hwmoe.plan.board import load_board
from hwmoe.synth.resources import Cells, ModuleCells, Resources

BOARD = load_board("zcu104")
MODEL = small(dim=64, heads=4, experts=3, dense_hidden=256).quantized
Make = Callable[[Job], Answer]


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def found() -> Result:
    options = Options(predicted=2)
    result = search([MODEL], BOARD, options, quiet)
    assert len(result.plans) == 2
    return result


@pytest.fixture(scope="module")
def rendered() -> dict[tuple[Any, ...], PlanJobs]:
    return {}


@pytest.fixture(autouse=True)
def rendered_once(
    rendered: dict[tuple[Any, ...], PlanJobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering is a second a plan, and these tests are of what comes after it."""

    def memo(model: Any, acc: Any, patches: Any, memory: Any, *rest: bool) -> PlanJobs:
        key = (acc, len(patches), *rest)
        if key not in rendered:
            rendered[key] = jobs_of(model, acc, patches, memory, *rest)
        return rendered[key]

    monkeypatch.setattr(refining, "jobs_of", memo)


def cycles(steady: float, latency: float = 900.0) -> dict[str, Any]:
    run = {"steady": steady, "latency": latency, "images": 8, "tensors": 3, "values": 70}
    return run | {"tool": "Verilator", "seconds": 1.0}


def cells(job: Job, lut: int) -> dict[str, Any]:
    """Of a part; the top has every other part once."""
    top = job.task["top"]
    own = Cells(lut=lut, ff=3, dsp=2, ramb18=1)
    other = {part: 1 for part in job.task["without"]}
    return Resources(top, (ModuleCells(top, 1, own),), own, other).as_dict()


def runner(make: Make, asked: list[str]) -> Runner:
    def run(jobs: Sequence[Job]) -> Answers:
        for job in jobs:
            asked.append(job.name)
            yield job, make(job)

    return run


def by_plan(steady: Sequence[Answer], lut: int = 10) -> Make:
    """Simulations in the order in which they are asked for, all parts alike."""
    left = list(steady)

    def make(job: Job) -> Answer:
        return left.pop(0) if job.kind == "cycles" else cells(job, lut)

    return make


def refined(
    found: Result, folder: Path, make: Make, asked: list[str] | None = None, **more: Any
) -> Refined:
    goal = more.pop("goal", Goal())
    run = runner(make, [] if asked is None else asked)
    return refine([MODEL], BOARD, goal, found, Asked(2, **more), folder, quiet, run)


def never(job: Job) -> Answer:
    raise AssertionError(f"{job.name} was measured again")


def test_the_faster_by_measurement_is_picked(found: Result, tmp_path: Path) -> None:
    asked: list[str] = []
    result = refined(found, tmp_path, by_plan([cycles(300.0), cycles(200.0)]), asked)
    assert result.best == 1
    assert result.plan is found.plans[1]
    told = section(result, found, BOARD, Goal())
    assert [plan["verdict"] for plan in told["plans"]] == ["fits", "chosen"]
    assert told["ms"] == pytest.approx(200 / BOARD.clock_mhz / 1e3)
    first = told["plans"][0]["rows"]
    assert first["cycles"]["error"] == pytest.approx(result.measured[0].predicted / 300 - 1)
    parts = sum(name.startswith("resources") for name in asked) / 2
    assert first["lut"]["measured"] >= 10 * parts
    assert first["lut"]["predicted"] == found.plans[0].cost.lut
    # Everything is kept: the same answer, and nothing runs.
    again = refined(found, tmp_path, never)
    assert section(again, found, BOARD, Goal()) == told


def test_parts_that_plans_share_are_measured_once(found: Result, tmp_path: Path) -> None:
    asked: list[str] = []
    refined(found, tmp_path, by_plan([cycles(300.0), cycles(200.0)]), asked)
    assert len(asked) == len(set(asked))
    plans = len(found.plans)
    assert sum(name.startswith("cycles") for name in asked) == plans
    # Fetch and gate are the same in both.
    modules = 7
    assert plans < sum(name.startswith("resources") for name in asked) < plans * modules


def test_the_objective_decides(found: Result, tmp_path: Path) -> None:
    runs = [cycles(300.0, latency=500.0), cycles(200.0, latency=600.0)]
    assert refined(found, tmp_path / "a", by_plan(runs), goal=Goal("latency")).best == 0
    rate = Goal("size", BOARD.clock_mhz * 1e6 / 250)
    small_one = refined(found, tmp_path / "b", by_plan(runs), goal=rate)
    assert small_one.best == 1
    assert "300 cycles between images, 250 allowed" in small_one.measured[0].refusals[0]


def test_a_plan_that_does_not_fit_is_refused(
    found: Result, tmp_path: Path, rendered: dict[tuple[Any, ...], PlanJobs]
) -> None:
    """Though it is the faster one: its attention is far larger than the formula says."""
    refined(found, tmp_path / "first", by_plan([cycles(200.0), cycles(300.0)]))
    first, second = (
        next(jobs for key, jobs in rendered.items() if key[0] == plan.accelerator and jobs.parts)
        for plan in found.plans
    )
    large = first.parts["hwmoe_attention"]
    assert large.key != second.parts["hwmoe_attention"].key
    run = by_plan([cycles(200.0), cycles(300.0)])

    def make(job: Job) -> Answer:
        return cells(job, BOARD.resources.lut) if job is large else run(job)

    result = refined(found, tmp_path, make)
    assert result.best == 1
    assert result.measured[0].refusals[0].startswith("LUTs: ")
    told = section(result, found, BOARD, Goal())["plans"][0]
    assert told["verdict"] == "refused"
    assert told["rows"]["lut"]["measured"] > told["rows"]["lut"]["allowed"]


def test_none_can_be_taken(found: Result, tmp_path: Path) -> None:
    make = by_plan([cycles(200.0), cycles(300.0)], lut=BOARD.resources.lut)
    with pytest.raises(HwmoeError, match="of 2 measured plans none can be taken") as caught:
        refined(found, tmp_path, make)
    said = str(caught.value)
    assert said.count("LUTs: ") == 2
    assert "--share" in said
    assert str(tmp_path) in said


def test_one_failure_leaves_the_others(found: Result, tmp_path: Path) -> None:
    late = HwmoeError("it did not finish within 5 s")
    result = refined(found, tmp_path, by_plan([late, cycles(300.0)]))
    assert result.best == 1
    assert result.measured[0].failures == ("simulation: it did not finish within 5 s",)
    assert section(result, found, BOARD, Goal())["plans"][0]["verdict"] == "failed"
    # The next run tries that one again, and it alone.
    asked: list[str] = []
    assert refined(found, tmp_path, by_plan([cycles(200.0)]), asked).best == 0
    assert len(asked) == 1


def test_a_machine_that_differs_is_never_picked(found: Result, tmp_path: Path) -> None:
    wrong = {"divergence": "image 0, head.0[3]: expected 5, got 6"}
    result = refined(found, tmp_path, by_plan([wrong, cycles(300.0)]))
    assert result.best == 1
    assert result.measured[0].differs
    assert "expected 5, got 6" in result.measured[0].failures[0]
    asked: list[str] = []
    refined(found, tmp_path, by_plan([cycles(200.0)]), asked)
    assert len(asked) == 1


def test_interrupted_and_gone_on_with(found: Result, tmp_path: Path) -> None:
    def stops(jobs: Sequence[Job]) -> Answers:
        yield jobs[0], cycles(300.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine([MODEL], BOARD, Goal(), found, Asked(2), tmp_path, quiet, stops)
    asked: list[str] = []
    result = refined(found, tmp_path, by_plan([cycles(400.0)]), asked)
    assert result.measured[0].cycles == 300
    assert sum(name.startswith("cycles") for name in asked) == 1


def test_without_synthesis_nothing_is_synthesized(found: Result, tmp_path: Path) -> None:
    asked: list[str] = []
    runs = by_plan([cycles(300.0), cycles(200.0)])
    result = refined(found, tmp_path, runs, asked, synthesis=False)
    assert all(name.startswith("cycles") for name in asked)
    told = section(result, found, BOARD, Goal())
    assert told["plans"][1]["rows"]["lut"]["measured"] is None
    assert list(told["tools"]) == ["cycles"]


def test_a_model_that_cannot_be_rendered(
    found: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = refining.jobs_of, list[int]()

    def fails_once(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise HwmoeError("a memory is beyond its addresses")
        return own(*args)

    monkeypatch.setattr(refining, "jobs_of", fails_once)
    result = refined(found, tmp_path, by_plan([cycles(200.0)]))
    assert result.best == 1
    assert result.measured[0].failures == ("rendering: a memory is beyond its addresses",)


# ---- processes ------------------------------------------------------------------------------

SOURCE = b"module tiny (input logic clk, d, output logic q); always_ff @(posedge clk) q <= d;"


@pytest.fixture(scope="module")
def part() -> Job:
    """A synthesis of two seconds."""
    task = {"kind": "resources", "tool": tools(True)["resources"], "sources": ["tiny.sv"]}
    task |= {"hwmoe": hwmoe.__version__, "top": "tiny", "without": [], "uram": False}
    return Job("resources", "synthesis of tiny", "k", task, {"tiny.sv": SOURCE + b" endmodule"})


def test_jobs_in_processes_of_their_own(part: Job, tmp_path: Path) -> None:
    """One is well, one is rejected by Yosys, one is asked of another version."""
    bad = replace(part, key="bad", files={"tiny.sv": SOURCE})
    old = replace(part, key="old", task={**part.task, "tool": "Yosys 0.1"})
    answers = {job.key: answer for job, answer in here([part, bad, old], tmp_path, 2, 60.0)}
    assert Resources.from_dict(answers["k"]).total == Cells(ff=1)
    assert "Yosys rejects tiny" in str(answers["bad"])
    assert "Yosys 0.1 is asked for" in str(answers["old"])
    assert not (tmp_path / part.name).exists()
    assert (tmp_path / bad.name / "log.txt").is_file()
    with (tmp_path / bad.name / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (_, answer), *_ = here([bad], tmp_path, 1, 60.0)
        assert "another process is at it" in str(answer)


def test_dask_is_optional(part: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HwmoeError, match=r"pip install 'hwmoe\[dask\]'"):
        list(on_dask([part], "tcp://localhost:1", 5.0))
