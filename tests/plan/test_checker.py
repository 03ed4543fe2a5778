"""The checker passes what the compiler makes and refuses it with any one thing broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from small_models import small

from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.checker import check_program
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import Program, Step
from hwmoe.plan.tokens import pack_counters, unpack_counters
from hwmoe.plan.trace import trace_program

ENGINES = len(instruction_set().engines) - 1  # of these machines

SHAPES = {
    "as it is": {},
    "dense": {"moe_layers": ()},
    "deep": {"depth": 5, "moe_layers": (1, 3)},
    "no shared expert": {"shared_hidden": 0, "moe_layers": (0, 1)},
    "one token more than none": {"image": (4, 4), "experts": 1, "top_k": 1},
}


def compiled(shape: str = "as it is", stages: int = 2) -> Program:
    acc = AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_epi=4),
        attention=AttentionConfig(dim_lanes=4, head_units=2),
        layernorm=LayerNormConfig(lanes=4),
        stages=stages,
    )
    return compile_model(small(**SHAPES[shape]).quantized, acc)


def traced() -> Program:
    """With several stores."""
    return trace_program(small().quantized, compiled().accelerator, compiled()).program


def changed(program: Program, index: int, **fields: int) -> Program:
    steps = list(program.steps)
    steps[index] = replace(steps[index], fields={**steps[index].fields, **fields})
    return replace(program, steps=tuple(steps))


def find(program: Program, name: str, stage: int = 0) -> tuple[int, Step]:
    return next((i, s) for i, s in enumerate(program.steps) if s.name == name)


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_compiler_makes_is_sound(shape: str, stages: int) -> None:
    check_program(compiled(shape, stages))


def bits(mask: int) -> Iterator[int]:
    return (1 << e for e in range(5) if mask >> e & 1)


@pytest.mark.parametrize("make", [compiled, traced])
def test_every_token_is_needed(make: Callable[[], Program]) -> None:
    program = make()
    for index, step in enumerate(program.steps):
        for kind in ("wait", "signal"):
            for bit in bits(step.fields[kind]):
                with pytest.raises(HwmoeError, match="not sound"):
                    check_program(changed(program, index, **{kind: step.fields[kind] & ~bit}))


def dropped_pair(program: Program) -> Iterator[tuple[Step, Program]]:
    """Programs without one wait and the signal that belongs to it: the counters still balance."""
    for index, step in enumerate(program.steps):
        for bit in bits(step.fields["wait"]):
            giver, me = bit.bit_length() - 1, 1 << step.engine
            takers = [
                s for s in program.steps[: index + 1] if s.engine == step.engine
                and s.fields["wait"] & bit
            ]  # fmt: skip
            givers = [
                i for i, s in enumerate(program.steps)
                if s.engine == giver and s.fields["signal"] & me
            ]  # fmt: skip
            number = (len(takers) - 1 - initial(program, giver, step.engine)) % len(givers)
            at = givers[number]
            one = changed(program, index, wait=step.fields["wait"] & ~bit)
            yield step, changed(one, at, signal=one.steps[at].fields["signal"] & ~me)


def initial(program: Program, giver: int, taker: int) -> int:
    return unpack_counters(program.loop, ENGINES)[ENGINES * giver + taker]


def test_a_missing_pair_of_wait_and_signal_is_an_order_that_nothing_enforces() -> None:
    found = passed = 0
    for _, program in dropped_pair(compiled("as it is", 2)):
        try:
            check_program(program)
        except HwmoeError:
            found += 1
        else:
            passed += 1
    assert found > 20
    assert passed <= 2, "tokens implied by others"


def test_a_residual_is_stored_before_it_is_overwritten() -> None:
    """A store waits for the addition, and the next addition to that place for the store."""
    stored = overwritten = 0
    for step, program in dropped_pair(traced()):
        try:
            check_program(program)
        except HwmoeError as error:
            stored += step.kind == "store"
            overwritten += step.kind == "add" and "(store blocks" in str(error)
    assert stored >= 5
    assert overwritten >= 2


FAULTS: dict[str, tuple[Callable[[Program], Program], str]] = {
    "deadlock": (
        lambda p: replace(p, loop={**p.loop, **pack_counters([])}),
        "deadlock: waiting for ever are step",
    ),
    "range": (
        lambda p: changed(p, find(p, "blocks.0.proj")[0], dst=10**6),
        r"step \d+ \(linear blocks.0.proj\): words 1000000 to \d+ of y, which has",
    ),
    "weights": (
        lambda p: changed(p, find(p, "blocks.0.proj")[0], weights=10**6),
        r"weights 1000000 to",
    ),
    "never written": (
        lambda p: replace(
            changed(p, find(p, "blocks.0.qkv")[0], dst=find(p, "blocks.1.qkv")[1].fields["dst"])
        ),
        "of which nobody has written all|another image",
    ),
    "stale kernel state": (
        lambda p: changed(p, find(p, "blocks.1.moe.experts.2.gelu")[0], x_base=0),
        "not kept at x_base",
    ),
    "table": (
        lambda p: changed(p, find(p, "blocks.1.moe.experts.0.gelu")[0], flags=6),
        "another GELU table",
    ),
    "after": (
        lambda p: changed(p, find(p, "blocks.0.mlp.fc2")[0], after=0),
        "no token puts it after",
    ),
}


def store(program: Program, number: int, **fields: int) -> Program:
    """Its store of that number changed."""
    stores = [i for i, step in enumerate(program.steps) if step.kind == "store"]
    return changed(program, stores[number], **fields)


RESULTS: dict[str, tuple[dict[str, int], str]] = {
    "of heads": ({"space": 1}, r"step \d+ \(store blocks.0.res1\): space 1, not one of \[2, 3\]"),
    "beyond res": ({"n_out": 10**6}, r"blocks.0.res1\): words \d+ to \d+ of res, which has"),
    "over another": ({"offset": 128}, r"bytes of results from 128 on, .*, \d+ of them taken"),
    "over the logits": ({"offset": 0}, r"bytes of results from 0 on, "),
    "not a whole beat": ({"offset": 32}, "starts must be multiples of 64"),
    "beyond the results": ({"offset": 64 * 10**5}, "bytes of results from 6400000 on"),
    "too early": ({"last": 1}, r"task 0: of its 6 stores the last, and no other, must have last=1"),
    "of a stage of its own": ({"stage": 1}, r"stores in stages \[0, 1\]"),
}


@pytest.mark.parametrize("fault", RESULTS)
def test_stores_that_spoil_results_are_named(fault: str) -> None:
    fields, message = RESULTS[fault]
    program = traced()
    check_program(program)
    with pytest.raises(HwmoeError, match=message):
        check_program(store(program, 1, **fields))


def test_results_that_never_end_are_named() -> None:
    with pytest.raises(HwmoeError, match=r"task 1: of its 6 stores the last"):
        check_program(store(traced(), -1, last=0))


def test_linear_writes_no_residual() -> None:
    program = compiled()
    with pytest.raises(HwmoeError, match=r"blocks.0.proj\): space 3, not one of \[0, 1, 2\]"):
        check_program(changed(program, find(program, "blocks.0.proj")[0], space=3))


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault: str) -> None:
    break_, message = FAULTS[fault]
    with pytest.raises(HwmoeError, match=message):
        check_program(break_(compiled()))


def test_all_problems_at_once() -> None:
    program = compiled()
    for name in ("blocks.0.proj", "blocks.1.proj"):
        program = changed(program, find(program, name)[0], dst=10**6)
    with pytest.raises(HwmoeError) as caught:
        check_program(program)
    assert str(caught.value).count("1000000 to") == 2
