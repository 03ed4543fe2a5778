"""Whole models of many shapes through quantizer, compiler and HLS C++, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flow_machines import MACHINES
from small_models import Small, small

from hwmoe.plan.compiler import compile_model
from hwmoe.plan.program import Program
from hwmoe.quant.calibrate import no_progress
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.csim import ALL_IMAGES, CSim
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.hls import run_hls, simulate_hls, traced_tensors

SHAPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "odd everything": {
        "dim": 35, "heads": 5, "dense_hidden": 41, "expert_hidden": 13, "shared_hidden": 1,
        "channels": 3, "image": (9, 15), "patch": (3, 5),
    },
    "one head": {"dim": 22, "heads": 1},
    "heads of one": {"dim": 9, "heads": 9},
    "one channel": {"dim": 1, "heads": 1, "dense_hidden": 1, "expert_hidden": 1},
    "one patch": {"image": (4, 4)},
    "one expert": {"experts": 1, "top_k": 1},
    "all experts": {"experts": 4, "top_k": 4, "shared_hidden": 0},
    "dense": {"moe_layers": ()},
    "all moe": {"moe_layers": (0, 1, 2), "depth": 3},
    "all moe, no shared": {"moe_layers": (0, 1), "shared_hidden": 0},
    "three tasks": {
        "tasks": [{"name": n, "classes": k} for n, k in (("a", 1), ("b", 30), ("c", 7))],
    },
    "more experts than tokens": {"experts": 16, "top_k": 1, "image": (4, 8)},
    "top 8": {"experts": 11, "top_k": 8},
    "scores of all": {"experts": 11, "top_k": 2, "gate_scores": "all"},
    "score of the best": {"experts": 16, "top_k": 1, "gate_scores": "all", "moe_layers": (0, 1)},
    "scores of all, all chosen": {"experts": 4, "top_k": 4, "gate_scores": "all"},
}  # fmt: skip


def check(net: Small, model: QuantizedModel, csim: CSim, machine: str) -> Program:
    """Every tensor, length, logit and count of all images and tasks."""
    program = compile_model(model, MACHINES[machine])
    tasks = range(len(net.config.tasks))
    patches = model.quantize_images(net.images)
    run = simulate_hls(program, model, csim, patches, tasks, no_progress)
    assert run.divergence is None, str(run.divergence)
    assert run.images == len(tasks) * len(net.images)
    steps = [s for t in tasks for _, s in program.of_task(t) if s.result.space != "none"]
    residuals = sum(s.kind == "add" for s in steps)
    assert run.tensors >= len(net.images) * (len(steps) - residuals) * 0.4
    assert run.seconds > 0
    return program


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["int8", "ternary"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str, kind: Any, machine: str, csim: Callable[[str], CSim]) -> None:
    net = small(kind, count=3, **SHAPES[shape])
    check(net, net.quantized, csim(machine), machine)


def drawn(seed: int) -> dict[str, Any]:
    """A random shape within the limits of the simulators."""
    rng = np.random.default_rng(seed)
    heads, head_dim = int(rng.integers(1, 6)), int(rng.integers(1, 11))
    depth, experts = int(rng.integers(1, 4)), int(rng.integers(1, 9))
    patch = rng.integers(1, 5, 2)
    grid = rng.integers(1, 5, 2)
    return {
        "channels": int(rng.integers(1, 4)),
        "patch": tuple(patch.tolist()),
        "image": tuple((patch * grid).tolist()),
        "dim": heads * head_dim,
        "heads": heads,
        "depth": depth,
        "dense_hidden": int(rng.integers(1, 50)),
        "moe_layers": tuple(i for i in range(depth) if rng.random() < 0.6),
        "experts": experts,
        "top_k": int(rng.integers(1, min(experts, 8) + 1)),
        "expert_hidden": int(rng.integers(1, 40)),
        "shared_hidden": int(rng.integers(0, 2) * rng.integers(1, 40)),
        "tasks": [
            {"name": f"t{i}", "classes": int(rng.integers(1, 20))}
            for i in range(rng.integers(1, 4))
        ],
    }


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(seed: int, machine: str, csim: Callable[[str], CSim]) -> None:
    net = small("ternary" if seed % 2 else "int8", seed=seed, count=2, **drawn(seed))
    check(net, net.quantized, csim(machine), machine)


def clipping(model: QuantizedModel, starved: int) -> QuantizedModel:
    """Multipliers four times as large, so that values clip; nobody chooses expert `starved`."""
    ops = dict(model.ops)
    for name, p in ops.items():
        if not isinstance(p, LinearParams):
            continue
        if ".gate." in name:
            bias = p.bias.copy()
            bias[starved] = -(2**25)
            ops[name] = replace(p, bias=bias)
        else:
            larger = np.minimum(4 * p.multiplier.astype(np.int64), 2**17 - 1)
            ops[name] = replace(p, multiplier=larger.astype(np.int32))
    return replace(model, ops=ops, position=model.position * 3)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("starved", [0, 4])
def test_clipped_values_and_an_expert_without_tokens(
    machine: str, starved: int, csim: Callable[[str], CSim]
) -> None:
    net = small(moe_layers=(0, 1))
    model = clipping(net.quantized, starved)
    reference = run_reference(model, net.patches, 0, trace=True)
    assert reference.trace is not None
    assert not len(reference.trace[f"blocks.0.moe.experts.{starved}.rows"])
    clipped = {site.rpartition(".")[2] for site, n in reference.saturations.items() if n}
    assert clipped >= {"embed", "qkv", "fc1", "fc2", "res2"}
    check(net, model, csim(machine), machine)


def test_a_library_keeps_nothing_from_the_model_before(csim: Callable[[str], CSim]) -> None:
    """Another model between two runs of one changes nothing."""
    first, second = small(), small("ternary", seed=1, **SHAPES["odd everything"])
    program = compile_model(first.quantized, MACHINES["plain"])
    before = run_hls(program, csim("plain"), first.patches, 1).logits
    check(second, second.quantized, csim("plain"), "plain")
    assert np.array_equal(run_hls(program, csim("plain"), first.patches, 1).logits, before)


def test_scores_and_lists_of_the_gate(csim: Callable[[str], CSim]) -> None:
    """Rows are compared by `simulate_hls`; the scores beside them here."""
    net = small()
    program = compile_model(net.quantized, MACHINES["plain"])
    one = net.patches[:1]
    trace = run_reference(net.quantized, one, 0, trace=True).trace
    assert trace is not None
    result = run_hls(program, csim("plain"), one, 0, ALL_IMAGES)
    (gate,) = (record for record in result.trace if record.space == "lists")
    chosen, scores = trace["blocks.1.moe.topk"][0], trace["blocks.1.moe.scores"][0]
    for expert, (rows, values) in enumerate(gate.lists):
        want_rows, slot = np.nonzero(chosen == expert)
        assert rows.tolist() == want_rows.tolist()
        assert values.tolist() == scores[want_rows, slot].tolist()


def wrong(model: QuantizedModel, op: str) -> QuantizedModel:
    """One bias of one operation another."""
    p = model.linear(op)
    bias = p.bias.copy()
    bias[1] += 1 << 20
    return replace(model, ops={**model.ops, op: replace(p, bias=bias)})


@pytest.mark.parametrize(
    ("op", "tensor"),
    [
        ("blocks.0.qkv", "blocks.0.qkv"),
        ("blocks.0.mlp.fc1", "blocks.0.mlp.gelu"),
        ("blocks.1.moe.shared.fc2", "blocks.1.moe.shared.fc2"),
        ("heads.0", "head"),
    ],
)
def test_a_wrong_constant_is_named(op: str, tensor: str, csim: Callable[[str], CSim]) -> None:
    """The program was made from a model with another bias than the reference has."""
    net = small()
    program = compile_model(wrong(net.quantized, op), MACHINES["plain"])
    for traced in (0, 8):
        run = simulate_hls(
            program, net.quantized, csim("plain"), net.patches, [0], no_progress, traced
        )
        found = run.divergence
        assert found is not None
        assert found.tensor == tensor
        assert found.index[-1] % net.config.dim == 1
        assert "HLS small/a image 0" in str(found)


def test_the_image_and_task_of_a_difference_are_named(csim: Callable[[str], CSim]) -> None:
    """In a run of several tasks only one of them has a wrong constant."""
    net = small()
    program = compile_model(wrong(net.quantized, "heads.1"), MACHINES["odd"])
    run = simulate_hls(
        program, net.quantized, csim("odd"), net.patches, [0, 1], no_progress, traced=0
    )
    assert "HLS small/b image 0" in str(run.divergence)
    assert run.images == 8


def test_an_order_that_only_luck_keeps_is_found(csim: Callable[[str], CSim]) -> None:
    """Without tokens the engines still run in order when traced, but not in every order."""
    net = small()
    program = compile_model(net.quantized, MACHINES["odd"])
    steps = [replace(s, fields={**s.fields, "wait": 0, "signal": 0}) for s in program.steps]
    bad = replace(program, steps=tuple(steps))
    tasks = [0, 1, 0, 1]
    whole = run_hls(program, csim("odd"), net.patches, tasks).logits
    assert np.array_equal(run_hls(bad, csim("odd"), net.patches, tasks).logits, whole)
    run = simulate_hls(bad, net.quantized, csim("odd"), net.patches, [0, 1], no_progress)
    assert run.divergence is not None
    assert isinstance(run.divergence, SimulationFault) or run.divergence.tensor == "logits"


def test_wrong_counts_behind_right_logits_are_traced(csim: Callable[[str], CSim]) -> None:
    """The logits clip, so a wrong tensor before them shows in the counts alone."""
    net = small()
    p = net.quantized.linear("heads.0")
    constant = replace(p, weight=np.zeros_like(p.weight))
    model = replace(net.quantized, ops={**net.quantized.ops, "heads.0": constant})
    loud = replace(wrong(model, "blocks.0.qkv"), position=model.position)
    program = compile_model(loud, MACHINES["plain"])
    assert np.array_equal(
        run_reference(loud, net.patches).logits, run_reference(model, net.patches).logits
    )
    found = simulate_hls(
        program, model, csim("plain"), net.patches, [0], no_progress, traced=0
    ).divergence
    assert found is not None
    assert found.tensor == "blocks.0.qkv"


def test_another_routing_is_named(csim: Callable[[str], CSim]) -> None:
    """A gate that sends all tokens elsewhere changes the length of lists; still a clear answer."""
    net = small(shared_hidden=0)
    program = compile_model(net.quantized, MACHINES["plain"])
    gate = next(i for i, s in enumerate(program.steps) if s.kind == "gate")
    step = program.steps[gate]
    steps = list(program.steps)
    steps[gate] = replace(step, fields={**step.fields, "top_k": 1})
    bad = replace(program, steps=tuple(steps))
    run = simulate_hls(bad, net.quantized, csim("plain"), net.patches, [0], no_progress)
    assert run.divergence is not None
    assert run.divergence.tensor.startswith("blocks.1.moe.experts.")
    assert "rows" in run.divergence.tensor


def test_progress_and_images_a_second(csim: Callable[[str], CSim]) -> None:
    net = small()
    program = compile_model(net.quantized, MACHINES["plain"])
    seen: list[tuple[str, int, int]] = []
    run = simulate_hls(
        program,
        net.quantized,
        csim("plain"),
        net.patches,
        [0, 1],
        lambda *entry: seen.append(entry),
        traced=1,
    )
    assert seen[-1] == ("simulating HLS", 8, 8)
    assert run.images_per_second == run.images / run.seconds
    records = run_hls(program, csim("plain"), net.patches[:1], 0, ALL_IMAGES).trace
    tensors = dict(traced_tensors(program, records))
    assert tensors["head"].shape == (1, 4)
