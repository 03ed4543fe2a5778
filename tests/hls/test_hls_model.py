"""A whole small model on the HLS: any order of engines, any mix of tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hls_cases import CONFIGS
from small_models import small

from hwmoe.codegen.hls import hls_files
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import MachineSizes, Program
from hwmoe.plan.tokens import pack_counters, unpack_counters
from hwmoe.quant.numerics import IntArray
from hwmoe.quant.reference import run_reference
from hwmoe.sim.csim import CSim
from hwmoe.sim.hls import run_hls

TASKS = [0, 1, 1, 0, 1]
ENGINES = len(instruction_set().engines) - 1  # of these machines


def machine(stages: int) -> AcceleratorConfig:
    return CONFIGS["narrow"].model_copy(update={"stages": stages})


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@cache
def built(acc: AcceleratorConfig, sizes: MachineSizes, builds: Path) -> CSim:
    return CSim(hls_files(acc, sizes), acc, builds, ["-O1"])


@pytest.mark.parametrize(("kind", "stages"), [("int8", 1), ("ternary", 2), ("int8", 3)])
def test_a_model_gives_the_logits_of_the_reference(
    builds: Path, kind: Literal["int8", "ternary"], stages: int
) -> None:
    """On memories of exactly its size, for seed after seed; so do the counts."""
    example = small(kind, count=5, depth=3, moe_layers=(0, 2))
    program = compile_model(example.quantized, machine(stages))
    sim = built(program.accelerator, program.sizes, builds)
    width = program.loop["logit_bytes"] // 2
    expected = np.zeros((5, width), np.int64)
    sites: Counter[str] = Counter()
    for task in (0, 1):
        chosen = np.array(TASKS) == task
        run = run_reference(example.quantized, example.patches[chosen], task)
        expected[chosen, : program.outputs[task]] = run.logits
        sites.update(run.saturations)
    for seed in range(12):
        result = run_hls(program, sim, example.patches, TASKS, trace=0, seed=seed)
        np.testing.assert_array_equal(result.logits, expected)
        counts: Counter[str] = Counter()
        for step, clipped in zip(program.steps, result.saturations, strict=True):
            counts[step.site] += int(clipped)
        assert +counts == +sites
        assert len(result.trace) > 20


def without_token(program: Program, index: int, source: int) -> Program:
    """Step `index` waits no more for engine `source`, and nobody signals to it for that."""
    me, steps = program.steps[index].engine, list(program.steps)

    def places(engine: int, field: str, other: int) -> list[int]:
        found = enumerate(steps)
        return [i for i, s in found if s.engine == engine and s.fields[field] >> other & 1]

    waits, signals = places(me, "wait", source), places(source, "signal", me)
    counters, pair = unpack_counters(program.loop, ENGINES), source * ENGINES + me
    held, turn = counters[pair], waits.index(index)
    counters[pair] -= turn < held
    loop = dict(program.loop) | pack_counters(counters)
    for at, field, other in (
        (index, "wait", source),
        (signals[(turn - held) % len(signals)], "signal", me),
    ):
        fields = dict(steps[at].fields)
        fields[field] &= ~(1 << other)
        steps[at] = replace(steps[at], fields=fields)
    return replace(program, steps=tuple(steps), loop=loop)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_missing_token_shows_as_wrong_data(builds: Path, stages: int) -> None:
    """Nearly all tokens of a program: some are needed only for other routings, or never."""
    example = small("int8", count=5, depth=3, moe_layers=(0, 2))
    program = compile_model(example.quantized, machine(stages))
    sim = built(program.accelerator, program.sizes, builds)
    expected = run_hls(program, sim, example.patches, TASKS).logits

    def logits(changed: Program, seed: int) -> IntArray:
        try:
            return run_hls(changed, sim, example.patches, TASKS, seed=seed).logits
        except HwmoeError:  # an address from a list that is not there yet, a deadlock
            return np.zeros(0, np.int16)

    tokens = [
        (index, source)
        for index, step in enumerate(program.steps)
        for source in range(ENGINES)
        if step.fields["wait"] >> source & 1
    ]
    caught = 0
    for index, source in tokens:
        changed = without_token(program, index, source)
        np.testing.assert_array_equal(logits(changed, 0), expected)
        caught += any(not np.array_equal(logits(changed, seed), expected) for seed in range(1, 60))
    assert len(tokens) > 40
    assert caught > 0.75 * len(tokens)
