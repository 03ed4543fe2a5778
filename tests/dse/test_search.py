"""The search for a machine: its tables are the formulas, its optimum is the exhaustive one."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from small_models import small

from hwmoe.dse import two_stage as genetic
from hwmoe.dse.backs import Split
from hwmoe.dse.bounds import bounds_of
from hwmoe.dse.exhaustive import exhaustive
from hwmoe.dse.limits import binding_of
from hwmoe.dse.metrics import Metrics, cost_on, sized_machine
from hwmoe.dse.objective import Goal, estimate_of
from hwmoe.dse.resources import Cost, cost_of
from hwmoe.dse.search import Options, Result, Strategy, search, splits_of
from hwmoe.dse.space import COARSE, Grid, goes_with, spaces
from hwmoe.dse.two_stage import two_stage
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import Board, load_board
from hwmoe.plan.compiler import compile_model
from hwmoe.quant.quantized import QuantizedModel

ROUNDED = 3  # a sum of costs that were rounded each
GRID = replace(COARSE, t_out=(8, 16, 24, 64), norm_lanes=(8, 16), stages=(1, 2))
MODELS = {
    "experts in LUTs": small(
        "ternary", dim=48, heads=3, dense_hidden=192, expert_hidden=40
    ).quantized,
    "int8": small(dim=64, heads=4, experts=3, dense_hidden=256).quantized,
}


def quiet(*_: object) -> None:
    pass


def cost_of_program(model: QuantizedModel, acc: AcceleratorConfig) -> Cost:
    program = compile_model(model, acc)
    return cost_of(program.accelerator, program.sizes)


def searched(model: QuantizedModel, board: Board, goal: Goal | None = None) -> Result:
    return search([model], board, Options(goal=goal or Goal()), quiet)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("board", ["pynq-z2", "u280"])
def test_sums_are_the_formulas(name: str, board: str) -> None:
    """Any machine, asked as a whole."""
    model, target, draw = MODELS[name], load_board(board), random.Random(3)
    for space in spaces(model, target, GRID):
        metrics = Metrics(model, target, space)
        fronts = list(space.fronts())
        for _ in range(12):
            linear = draw.randrange(len(space.linears))
            wide = [e for e in space.experts if goes_with(e, space.linears[linear])]
            expert, front = draw.choice(wide), draw.choice(fronts)
            stages = draw.choice(space.stages)
            acc = space.machine(front, linear, expert, stages)
            sized, _ = sized_machine(model, acc)
            bounds = bounds_of(sized, model, metrics.products, target.bytes_per_cycle)
            whole = asdict(cost_on(model, acc)) | asdict(bounds)
            back = metrics.back(stages)[linear, space.experts.index(expert)]
            found = back + metrics.front(front, stages)[metrics.epilogues[1][linear]]
            expected = [whole[column] for column in metrics.columns.names]
            assert found == pytest.approx(expected, rel=1e-3, abs=ROUNDED)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("board", ["pynq-z2", "zcu102", "u280"])
def test_two_stages_find_the_optimum(name: str, board: str) -> None:
    splits = splits_of(MODELS[name], load_board(board), Goal(), "coarse")
    found = two_stage(splits, 0, None, "test", quiet)
    assert found == two_stage(splits, 0, None, "test", quiet)
    best = exhaustive(splits, quiet)[0]
    assert best.cycles <= found[0].cycles * 1.005 + 1e-6
    assert found[0].cycles <= 1.02 * best.cycles


def test_no_machine_is_better_than_the_exhaustive_one() -> None:
    """A sample of machines that fit, by the formulas themselves."""
    model, board, draw = MODELS["experts in LUTs"], load_board("zcu102"), random.Random(5)
    splits = splits_of(model, board, Goal(), "coarse")
    best = exhaustive(splits, quiet)[0]
    fitting = 0
    for _ in range(150):
        split = draw.choice(splits)
        space = split.space
        linear = draw.randrange(len(space.linears))
        wide = [e for e in space.experts if goes_with(e, space.linears[linear])]
        acc = space.machine(
            draw.choice(list(space.fronts())), linear, draw.choice(wide), split.stages
        )
        if split.within(cost_on(model, acc)):
            fitting += 1
            sized, _ = sized_machine(model, acc)
            products = split.metrics.products
            bounds = bounds_of(sized, model, products, board.bytes_per_cycle)
            assert estimate_of(bounds, split.stages) >= best.cycles / (1 + genetic.SLACK) - 1e-6
    assert fitting > 50


def test_the_plan_fits_and_says_what_it_costs() -> None:
    model, board = MODELS["int8"], load_board("pynq-z2")
    result = searched(model, board)
    best = result.best
    assert best.cost == cost_of_program(model, best.accelerator)
    assert best.cost.dsp <= 0.88 * board.resources.dsp
    assert best.cost.bram36 <= 0.80 * board.resources.bram36
    assert best.cost.lut <= 0.75 * board.resources.lut
    assert [p.cycles for p in result.plans] == sorted(p.cycles for p in result.plans)
    assert best.estimate == pytest.approx(estimate_of(best.bounds, best.accelerator.stages))
    again = searched(model, board)
    assert again.best.accelerator == best.accelerator


def test_what_binds() -> None:
    """With few DSPs they do; with all of the board nothing of a small model's machine does."""
    model, board = MODELS["int8"], load_board("zcu102")
    tight = searched(model, board, Goal(shares={"dsp": 0.06}))
    binding = binding_of(tight.split_of(tight.best), tight.best.found)
    assert binding
    assert binding[0].name == "dsp"
    assert tight.best.cost.dsp <= 0.06 * board.resources.dsp


@pytest.mark.parametrize("strategy", ["two-stage", "exhaustive"])
def test_more_machines(strategy: Strategy) -> None:
    """Of each split, so that there are as many as asked for."""
    model, board = MODELS["int8"], load_board("zcu102")
    options = Options(strategy=strategy, predicted=3)
    plans = search([model], board, options, quiet).plans
    assert len({plan.accelerator.model_dump_json() for plan in plans}) == len(plans) == 3
    assert all(plan.cost.dsp <= 0.88 * board.resources.dsp for plan in plans)


def test_more_machines_of_a_study_that_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genetic, "GENERATIONS", 1)
    split = splits_of(MODELS["int8"], load_board("pynq-z2"), Goal(), "coarse")[:1]
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    found = two_stage(split, 0, storage, "a", quiet, more=4)
    assert len(set(found)) == 5
    assert [own.cycles for own in found] == sorted(own.cycles for own in found)
    assert two_stage(split, 0, storage, "a", quiet, more=4) == found
    assert two_stage(split, 0, None, "a", quiet)[0] in found


def test_the_smallest_machine_of_a_rate() -> None:
    model, board = MODELS["int8"], load_board("zcu102")
    fastest = searched(model, board).best
    rate = board.clock_mhz * 1e6 / (3 * fastest.cycles)
    small_one = searched(model, board, Goal("size", rate)).best
    assert small_one.cycles <= 3 * fastest.cycles
    assert small_one.found.size < fastest.found.size
    assert small_one.cost.dsp < fastest.cost.dsp


def test_latency_has_one_image_in_flight() -> None:
    model, board = MODELS["int8"], load_board("zcu102")
    alone = searched(model, board, Goal("latency")).best
    assert alone.accelerator.stages == 1
    assert alone.cycles == alone.prediction.latency


def test_a_linear_kernel_stays_in_one_slr() -> None:
    """The same board in one piece has room for a larger one."""
    model, board = MODELS["int8"], load_board("u280")
    sizes = []
    for slrs, shares in ((3, (0.02, 0.02, 0.96)), (3, (1 / 3, 1 / 3, 1 / 3))):
        parts = {"slrs": slrs, "slr_share": shares, "dsp": 900}
        own = board.model_copy(update={"resources": board.resources.model_copy(update=parts)})
        space = max(spaces(model, own, GRID), key=lambda s: s.t_in)
        split = Split(Metrics(model, own, space), Goal(), 1)
        sizes.append(max(space.linears[i].macs_per_cycle // 2 for i in split.linear))
    # A third of the DSPs that may be used, and the least kernel that is not counted.
    assert sizes[1] <= 0.88 * 900 / 3 + 32 * 8 // 2 < sizes[0]


def test_impossible_requests_say_what_binds() -> None:
    model, board = MODELS["int8"], load_board("zcu102")
    few = board.resources.model_copy(update={"bram36": 3, "dsp": 20})
    with pytest.raises(
        HwmoeError, match=r"(?s)DSPs: \d+ at least, 18 allowed.*block RAMs"
    ) as error:
        searched(model, board.model_copy(update={"resources": few}))
    assert "Take a larger board" in str(error.value)
    slow = board.memory.model_copy(update={"peak_gb_s": 0.05})
    with pytest.raises(HwmoeError, match=r"memory: .* cycles an image at least") as error:
        searched(model, board.model_copy(update={"memory": slow}), Goal("size", 50_000))
    assert "times the bandwidth" in str(error.value)
    with pytest.raises(HwmoeError, match=r"linear: .* at least"):
        searched(model, board, Goal("size", 1e9))


def test_bad_goals_are_listed_together() -> None:
    with pytest.raises(
        HwmoeError, match=r"(?s)rate and the objective.*share of gold.*share of lut"
    ):
        Goal("throughput", 5.0, {"gold": 0.5, "lut": 2.0})
    with pytest.raises(HwmoeError, match="grid huge: known are coarse, fine"):
        search([MODELS["int8"]], load_board("u50"), Options(grid="huge"), quiet)


def test_grids_hold_what_they_say() -> None:
    model, board = MODELS["experts in LUTs"], load_board("zcu102")
    own = Grid("own", t_in=(16,), t_out=(32,), t_tok=(1,), rows=(3, 9), stages=(1, 5))
    (space,) = spaces(model, board, own)
    assert space.stages == (1,)  # the model has two layers
    assert space.rows == (3, 4, 7)  # 7 tokens
    assert len({*space.fronts()}) == space.fronts_count
    assert (
        space.size
        == sum(goes_with(e, cfg) for e in space.experts for cfg in space.linears)
        * space.fronts_count
    )
    assert np.unique([cfg.w_rows for cfg in space.linears]).tolist() == [1, 2, 4]


@pytest.mark.slow  # a minute: SQLite waits for the disk
def test_a_stopped_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the same result by the same trials as one that was not stopped."""
    monkeypatch.setattr(genetic, "GENERATIONS", 2)
    splits = splits_of(MODELS["int8"], load_board("zcu102"), Goal(), "coarse")
    whole = two_stage(splits[-1:], 7, None, "test", quiet)
    storage, asked, best = f"sqlite:///{tmp_path / 'search.db'}", [0], Split.best

    def stopped(self: Split, *arguments: object) -> object:
        asked[0] += 1
        if asked[0] == 9:
            raise KeyboardInterrupt
        return best(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Split, "best", stopped)
    with pytest.raises(KeyboardInterrupt):
        two_stage(splits[-1:], 7, storage, "test", quiet)
    assert two_stage(splits[-1:], 7, storage, "test", quiet) == whole
