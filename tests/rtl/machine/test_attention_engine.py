"""The attention engine's core against the integer reference, bit by bit, and its cycles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attention_engine_bench import (
    Command,
    Grants,
    Job,
    Outcome,
    Shape,
    build,
    make_job,
    run,
    to_words,
    write,
)

from hwmoe.codegen.rtl_attention_engine import TOP, attention_engine_rtl
from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import ceil_div, pack_heads
from hwmoe.plan.program import HeadLayout
from hwmoe.sim.verilator import lint

OVERHEAD = 16  # cycles from go to fin beyond those of the kernel alone, at most
FIRST_WORD = 4  # these cycles, if the memory has time for the queries beside keys and values


def config(
    lanes: int, rows: int, dim_lanes: int, units: int = 1, tokens: int = 24, tiles: int = 4
) -> AcceleratorConfig:
    return AcceleratorConfig(
        linear=LinearConfig(t_in=lanes),
        attention=AttentionConfig(
            rows=rows,
            dim_lanes=dim_lanes,
            head_units=units,
            max_tokens=tokens,
            max_dim_tiles=tiles,
        ),
    )


# accelerator, lanes of a bit of the mask
CONFIGS = {
    "whole_words": (config(8, 2, 8), 8),
    "halves": (config(8, 3, 4), 2),
    "quarters": (config(16, 4, 4), 4),
    "two_units": (config(16, 2, 4, units=2), 8),
}
LINTED = {name: acc for name, (acc, _) in CONFIGS.items()} | {
    "one_row": config(8, 1, 1),
    "large": config(64, 16, 32, tokens=1024, tiles=2),
    "units": config(64, 8, 8, units=4, tokens=197, tiles=8),
}


def shapes_of(cfg: AttentionConfig, rng: np.random.Generator, count: int) -> list[Shape]:
    """One token, group boundaries, all dim tiles and head groups, then random ones."""
    most, lanes, units = cfg.max_tokens, cfg.dim_lanes, cfg.head_units
    shapes = [
        (1, 1, lanes),
        (4 * units, 1, 3 * lanes),
        (2 * units, cfg.rows + 1, 4 * lanes),
        (3 * units, 2 * cfg.rows - 1, lanes),
        (3 * units, 2 * cfg.rows + 1, 3 * lanes),
        (4 * units - 1, most, 2 * lanes - 1),
    ]
    while len(shapes) < count:
        heads, tokens = int(rng.integers(1, 4 * units + 1)), int(rng.integers(1, most + 1))
        shapes.append((heads, tokens, int(rng.integers(1, 4 * lanes + 1))))
    return shapes


def differences(job: Job, outcome: Outcome) -> list[str]:
    """What differs from the reference, in words."""
    found = []
    want = job.expected()
    for command, report in zip(job.commands, outcome.reports, strict=False):
        clipped = command.reference()[1]
        if report[2] != clipped:
            found.append(f"{command.sizes}: {report[2]} clipped values instead of {clipped}")
        words = ceil_div(command.layout.width, job.acc.linear.t_in) * command.tokens
        part = slice(command.at["dst"], command.at["dst"] + words)
        if wrong := np.count_nonzero(outcome.act8[part] != want[part]):
            found.append(f"{command.sizes}: {wrong} lanes of act8 differ")
    if not found and not np.array_equal(outcome.act8, want):
        found.append("act8 is written where no result lies")
    return found


def words_of(command: Command, lanes: int) -> tuple[int, int]:
    """Words of q, and those of k and v for one group of rows in every head group."""
    n_tok, tiles, groups = command.sizes
    parts = lanes // (command.layout.units * command.layout.dim_lanes)
    spans = [((h + 1) * tiles - 1) // parts - h * tiles // parts + 1 for h in range(groups)]
    return n_tok * sum(spans), 2 * n_tok * sum(spans)


def slow(acc: AcceleratorConfig, job: Job, outcome: Outcome) -> list[str]:
    """Commands that read more words or took more cycles than they may, at full grants.

    The first query comes four cycles later than it could. With a word for every beat of k and v,
    the queries of later groups can only be read in cycles that k and v then lack.
    """
    found = []
    for command, report in zip(job.commands, outcome.reports, strict=True):
        n_tok, tiles, groups = command.sizes
        rows = ceil_div(n_tok, acc.attention.rows)
        q_words, pass_words = words_of(command, acc.linear.t_in)
        kv_words, kv_beats = rows * pass_words, rows * 2 * n_tok * tiles * groups
        over = report[1] - report[0] - attention_cycles(acc.attention, *command.sizes)
        allowed = OVERHEAD + (q_words if kv_words == kv_beats else 0)
        if 2 * kv_words <= kv_beats:
            allowed = FIRST_WORD
        if over > allowed:
            found.append(f"{command.sizes}: {over} cycles beyond the kernel's, {allowed} allowed")
        if tuple(report[3:]) != (q_words, kv_words):
            found.append(f"{command.sizes}: {report[3:]} words instead of {q_words, kv_words}")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file, so that each configuration is compiled once."""
    return tmp_path_factory.mktemp("attention_engine")


def run_config(name: str, folder: Path, grants: Grants) -> tuple[Job, Outcome]:
    acc, grain = CONFIGS[name]
    job = make_job(
        acc, shapes_of(acc.attention, np.random.default_rng(grants.seed), 16), grants.seed
    )
    return job, run(build(acc, grain, attention_engine_rtl(acc), folder / name), job, grain, grants)


@pytest.mark.parametrize("name", LINTED)
def test_lint(name: str, tmp_path: Path) -> None:
    assert lint(write(attention_engine_rtl(LINTED[name]), tmp_path), TOP) == ""


@pytest.mark.parametrize("name", CONFIGS)
def test_exact_and_cycles_at_full_speed(name: str, folder: Path) -> None:
    job, outcome = run_config(name, folder, Grants())
    assert differences(job, outcome) == []
    assert slow(CONFIGS[name][0], job, outcome) == []
    assert any(command.reference()[1] for command in job.commands)  # saturation did happen


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "grants",
    [
        Grants(read=50, write=50, gap=6, seed=2),
        Grants(read=10, write=90, gap=1, seed=3),
        Grants(read=95, write=5, gap=0, seed=4),
    ],
    ids=["half", "slow_reads", "slow_writes"],
)
def test_exact_with_random_grants(name: str, grants: Grants, folder: Path) -> None:
    job, outcome = run_config(name, folder, grants)
    assert differences(job, outcome) == []


@pytest.mark.parametrize("abort", [1, 3, 7, 30, 90, 300])
def test_reset_in_a_command_leaves_nothing(abort: int, folder: Path) -> None:
    acc, grain = CONFIGS["halves"]
    bench = build(acc, grain, attention_engine_rtl(acc), folder / "halves")
    job = make_job(acc, [(5, 14, 11), (3, 7, 9)], abort)
    outcome = run(bench, job, grain, Grants(read=70, write=70, abort=abort))
    assert differences(job, outcome) == []


def test_empty_commands_only_finish(folder: Path) -> None:
    acc, grain = CONFIGS["halves"]
    bench = build(acc, grain, attention_engine_rtl(acc), folder / "halves")
    job = make_job(acc, [(2, 5, 4)], 1)
    isa = instruction_set()
    whole = dict.fromkeys(isa.formats["attention"].fields, 1)
    empty = [
        np.array(isa.encode("attention", whole | {name: 0}), "<i4").tobytes()
        for name in ("n_tok", "dim_tiles", "head_groups")
    ]
    outcome = run(bench, job, grain, Grants(), empty)
    assert differences(job, outcome) == []
    assert not outcome.reports[1:, 2:].any()
    took = outcome.reports[1:, 1] - outcome.reports[1:, 0]
    assert took.tolist() == 3 * [attention_cycles(acc.attention, 0, 1, 1)]


# configuration, file, right, wrong
FAULTS = {
    "above": ("halves", "hwmoe_attention_collect.sv", "(walk_last_row && word_end &&", "(1'b0 &&"),
    "places": ("halves", "hwmoe_attention_feed.sv", ".N(DEPTH)", ".N(2 * DEPTH)"),
    "early": ("halves", "hwmoe_attention_engine.sv", "status_valid & ~writing", "status_valid"),
    "bubbles": ("whole_words", "hwmoe_attention_feed.sv", "int DEPTH = 16", "int DEPTH = 4"),
    "order": ("halves", "hwmoe_attention_engine.sv", ".hold_off(~q_primed)", ".hold_off(1'b0)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, folder: Path) -> None:
    name, file, right, wrong = FAULTS[fault]
    acc, grain = CONFIGS[name]
    files = attention_engine_rtl(acc)
    assert files[file].count(right) == 1
    files[file] = files[file].replace(right, wrong)
    bench = build(acc, grain, files, folder / fault)
    job = make_job(acc, shapes_of(acc.attention, np.random.default_rng(1), 16), 1)
    assert [line for g in (Grants(), Grants(write=5)) for line in symptoms(bench, job, grain, g)]


def symptoms(bench: Path, job: Job, grain: int, grants: Grants) -> list[str]:
    """What is wrong with a run, whoever has seen it."""
    try:
        outcome = run(bench, job, grain, grants)
    except HwmoeError as error:
        if "cycle" not in str(error):  # nothing that the bench says of the engine
            raise
        return [str(error)]
    late = slow(job.acc, job, outcome) if grants == Grants() else []
    return differences(job, outcome) + late


@pytest.mark.parametrize("units", [1, 2])
def test_layout_is_the_order_of_the_kernels_beats(units: int) -> None:
    """One token: its channels, in the words' order, are the beats; one unit: heads in order."""
    cfg = AttentionConfig(dim_lanes=4, head_units=units)
    x = np.arange(3 * 12).astype(np.int8).reshape(3, 1, 12)
    words = to_words(x, HeadLayout(3, 12, 4, units), 4 * units)
    assert np.array_equal(words.view(np.uint8), pack_heads(cfg, x, 1))
    if units == 1:
        assert np.array_equal(words.reshape(-1), x.reshape(-1))


def test_a_beat_must_be_part_of_a_word() -> None:
    with pytest.raises(HwmoeError, match=r"must divide linear.t_in=16"):
        attention_engine_rtl(config(16, 2, 8, units=3))
