"""A program that stores the residual stream: sound, on the machine and the constants of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import small

from hwmoe.codegen.rtl_machine import configuration_digest
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.checker import check_program
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.disassembler import listing
from hwmoe.plan.fit import check_fit
from hwmoe.plan.image import constant_parts, result_bytes
from hwmoe.plan.packing import tile_major
from hwmoe.plan.program import last_stores
from hwmoe.plan.trace import TraceProgram, trace_program
from hwmoe.quant.reference import run_reference

SHAPES = {
    "as it is": {},
    "dense": {"moe_layers": ()},
    "deep": {"depth": 5, "moe_layers": (1, 3)},
    "no shared expert": {"shared_hidden": 0, "moe_layers": (0, 1)},
    "one channel": {"dim": 1, "heads": 1},
    "many classes": {"tasks": [{"name": "a", "classes": 3}, {"name": "b", "classes": 70}]},
}


def machine(stages: int) -> AcceleratorConfig:
    return AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_epi=4),
        attention=AttentionConfig(dim_lanes=4, head_units=2),
        layernorm=LayerNormConfig(lanes=4),
        stages=stages,
    )


def traced(shape: str = "as it is", stages: int = 2) -> TraceProgram:
    model = small(**SHAPES[shape]).quantized
    return trace_program(model, machine(stages), compile_model(model, machine(stages)))


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_sound_and_of_the_same_machine(shape: str, stages: int) -> None:
    model = small(**SHAPES[shape]).quantized
    program = compile_model(model, machine(stages))
    trace = trace_program(model, machine(stages), program).program
    check_program(trace)
    check_fit(trace, program.accelerator, program.sizes)
    assert trace.loop["stages"] == 1
    assert configuration_digest(trace.accelerator, trace.sizes) == configuration_digest(
        program.accelerator, program.sizes
    )
    for name, part in constant_parts(program).items():
        assert name == "program" or np.array_equal(constant_parts(trace)[name], part)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_residual_has_its_place(shape: str) -> None:
    """Names and shapes of the reference, in its order; nothing overlaps, all is stored once."""
    net, trace = small(**SHAPES[shape]), traced(shape)
    stores = [step for step in trace.program.steps if step.kind == "store"]
    assert len(last_stores(trace.program)) == len(net.config.tasks)
    for task, kind in enumerate(net.config.tasks):
        found = run_reference(net.quantized, net.patches[:1], task, trace=True).trace
        assert found is not None
        taps = trace.tensors[task]
        wanted = [name for name in found if name == "embed" or name[-5:] in (".res1", ".res2")]
        assert [tap.name for tap in taps] == wanted
        assert all((tap.rows, tap.channels) == found[tap.name].shape[1:] for tap in taps)
        end = 2 * kind.classes
        for tap in taps:
            assert tap.offset >= end
            end = tap.offset + 2 * tap.rows * -(-tap.channels // 8) * 8
        assert end <= trace.program.loop["logit_bytes"]
        own = [step.name for step in stores if step.fields["tasks"] >> task & 1]
        assert own == [*wanted, "logits"]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_stored_is_read_back(shape: str) -> None:
    trace = traced(shape)
    rng = np.random.default_rng(1)
    results = rng.integers(0, 256, result_bytes(trace.program, 1)).astype(np.uint8)
    tensors = {}
    for tap in trace.tensors[0]:
        tensors[tap.name] = rng.integers(-(1 << 15), 1 << 15, (tap.rows, tap.channels))
        data = tile_major(tensors[tap.name], 8).astype("<i2").reshape(-1).view(np.uint8)
        results[tap.offset : tap.offset + data.size] = data
    found = trace.read(results, 0)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == np.int16
        assert np.array_equal(found[name], tensor)


def test_the_text_shows_where_to() -> None:
    trace = traced()
    lines = [line for line in listing(trace.program).splitlines() if " store " in line]
    for line, tap in zip(lines, trace.tensors[0], strict=False):
        assert line.split()[0] == tap.name
        assert line.endswith(f" offset={tap.offset} space=3 last=0")
    assert lines[-1].endswith(" offset=0 space=2 last=1")


def test_a_machine_always_has_room_for_its_trace() -> None:
    """Also one stage, whose program alone would need half the steps."""
    for depth in range(1, 9):
        model = small(depth=depth, moe_layers=(), count=1).quantized
        program = compile_model(model, machine(1))
        trace = trace_program(model, machine(1), program)
        assert len(trace.program.steps) == len(program.steps) + 2 * depth + 1
        check_fit(trace.program, program.accelerator, program.sizes)


def test_another_program_is_refused() -> None:
    model, other = small().quantized, small(seed=1).quantized
    program = compile_model(model, machine(2))
    with pytest.raises(HwmoeError, match="compiled for another machine"):
        trace_program(model, machine(1), program)
    with pytest.raises(HwmoeError, match="the program has params of another model"):
        trace_program(other, machine(2), program)
    weights = program.weights.copy()
    weights[3, 0] ^= 1
    with pytest.raises(HwmoeError, match="the program has weights of another model"):
        trace_program(model, machine(2), replace(program, weights=weights))
