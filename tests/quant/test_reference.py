"""The reference of whole models: against plain integers and the float model, without floats."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import integer_oracle
import numpy as np
import numpy.typing as npt
import pytest
import torch
from small_models import Small, small
from test_numerics import Integers, integers

from hwmoe.model.data import digits_images
from hwmoe.model.zoo import load_model
from hwmoe.quant import numerics
from hwmoe.quant.compare import evaluate
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.quant.reference import run_reference

SHAPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "ternary": {"kind": "ternary"},
    "no shared, three of three": {"shared_hidden": 0, "experts": 3, "top_k": 3},
    "one expert, all layers": {"experts": 1, "top_k": 1, "moe_layers": (0, 1)},
    "scores of all": {"gate_scores": "all"},
    "the best with its score of all": {"gate_scores": "all", "top_k": 1, "experts": 9},
    "dense, one patch, one head": {"moe_layers": (), "image": (4, 4), "heads": 1},
}


def tight(model: QuantizedModel) -> QuantizedModel:
    """The same with four times the multipliers, and a residual stream near its end: clipping."""
    ops = dict(model.ops)
    for name, p in ops.items():
        if isinstance(p, LinearParams):
            larger = np.minimum(4 * p.multiplier.astype(np.int64), 2**17 - 1)
            ops[name] = replace(p, multiplier=larger.astype(np.int32))
    return replace(model, ops=ops, position=model.position * 3)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("clipping", [False, True])
def test_the_reference_is_the_contract(changes: dict[str, Any], clipping: bool) -> None:
    """Every tensor and every count of clipped values, in plain Python integers."""
    net = small(**changes)
    model = tight(net.quantized) if clipping else net.quantized
    for task in range(len(net.config.tasks)):
        run = run_reference(model, net.patches[:1], task, trace=True)
        oracle = integer_oracle.Oracle(model, task)
        logits = oracle.run(net.patches[0].tolist())
        assert run.trace is not None
        assert set(run.trace) == set(oracle.trace)
        for name, want in oracle.trace.items():
            got = run.trace[name]
            assert got.reshape(np.shape(want)).tolist() == want, name
        assert run.logits[0].tolist() == logits
        assert dict(run.saturations) == {site: oracle.sat[site] for site in run.saturations}
        assert set(oracle.sat) == set(run.saturations)
        if clipping:
            assert len([site for site, count in oracle.sat.items() if count]) > 3


def test_images_do_not_influence_each_other() -> None:
    net = small()
    together = run_reference(net.quantized, net.patches, 1)
    alone = [run_reference(net.quantized, net.patches[i : i + 1], 1) for i in range(4)]
    assert together.logits.tolist() == [run.logits[0].tolist() for run in alone]
    assert together.saturations.total == sum(run.saturations.total for run in alone)
    assert together.trace is None


def starved(model: QuantizedModel, expert: int) -> QuantizedModel:
    """All gate logits 0 but those of two others: nobody chooses `expert`."""
    ops = dict(model.ops)
    for name, p in ops.items():
        if ".gate." in name and isinstance(p, LinearParams):
            bias = np.zeros_like(p.bias)
            bias[expert] = -(2**25)
            ops[name] = replace(p, bias=bias)
    return replace(model, ops=ops)


def test_an_expert_without_tokens() -> None:
    net = small()
    run = run_reference(starved(net.quantized, 2), net.patches, 0, trace=True)
    assert run.trace is not None
    assert run.trace["blocks.1.moe.experts.2.rows"].shape == (0,)
    assert "blocks.1.moe.experts.2.fc1" not in run.trace
    rows = [run.trace[f"blocks.1.moe.experts.{e}.rows"] for e in range(5)]
    every = np.sort(np.concatenate(rows))
    assert every.tolist() == np.repeat(np.arange(4 * net.config.tokens), 2).tolist()
    assert all((np.diff(r) > 0).all() for r in rows)


@pytest.mark.parametrize("task", [0, 1])
def test_names_and_shapes_are_those_of_the_float_model(task: int) -> None:
    net = small()
    floats: dict[str, torch.Tensor] = {}
    net.model(torch.from_numpy(net.images), task, floats)
    run = run_reference(net.quantized, net.patches, task, trace=True)
    assert run.trace is not None
    assert set(run.trace) - set(floats) == {"patch_embed"}
    empty = {
        f"blocks.1.moe.experts.{e}."
        for e in range(5)
        if f"blocks.1.moe.experts.{e}.fc1" not in run.trace
    }
    missing = {name for name in set(floats) - set(run.trace) if not name.startswith(tuple(empty))}
    assert missing == set()
    order = [name for name in floats if name in run.trace and ".shared." not in name]
    assert [name for name in run.trace if name in order] == order
    for name in set(floats) & set(run.trace):
        got, want = run.trace[name], tuple(floats[name].shape)
        if ".experts." in name:  # routing may differ in a token
            assert got.shape[1:] == want[1:], name
        else:
            assert got.size == np.prod(want), name
            assert got.shape[-1] == want[-1], name


@pytest.mark.parametrize("kind", ["int8", "ternary"])
def test_no_float_in_a_whole_model(kind: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array of the run, constants included, is watched for floats."""
    monkeypatch.setattr(numerics, "EXP7", integers(numerics.EXP7))
    monkeypatch.setattr(numerics, "EXP15", integers(numerics.EXP15))
    net = small(kind)
    ops = {}
    for name, p in net.quantized.ops.items():
        arrays = {f.name: getattr(p, f.name) for f in fields(p)}
        watched = {n: integers(v) for n, v in arrays.items() if isinstance(v, np.ndarray)}
        ops[name] = replace(p, **watched)
    model = replace(net.quantized, ops=ops, position=integers(net.quantized.position))
    patches: Any = integers(net.patches)
    run = run_reference(model, patches, 0, trace=True)
    assert run.trace is not None
    plain = run_reference(net.quantized, net.patches, 0, trace=True)
    assert plain.trace is not None
    for name, value in run.trace.items():
        assert isinstance(value, Integers), name
        assert (np.asarray(value) == plain.trace[name]).all()
        assert plain.trace[name].dtype.kind == "i", name
    assert plain.logits.dtype == np.int16


def test_types_of_the_traced_tensors() -> None:
    net = small()
    trace = run_reference(net.quantized, net.patches, 0, trace=True).trace
    assert trace is not None
    wide = ("embed", "patch_embed", "res1", "res2", "proj", "fc2", "gate", "head")
    other = ("probs", "topk", "scores", "rows")
    for name, value in trace.items():
        kind = name.rpartition(".")[2]
        if kind in other:
            continue
        assert value.dtype == (np.int16 if kind in wide else np.int8), name
    assert trace["blocks.0.probs"].max() <= 127
    assert trace["blocks.0.probs"].min() >= 0
    assert (np.abs(trace["blocks.1.moe.scores"].sum(-1) - 2**15) <= 1).all()


# ---- accuracy -----------------------------------------------------------------------------------


def exact(net: Small, task: int) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        logits: npt.NDArray[np.float32] = net.model(torch.from_numpy(net.images), task).numpy()
    return logits


@pytest.mark.parametrize("changes", [c for c in SHAPES.values() if not c.get("kind")])
def test_integers_stay_close_to_floats(changes: dict[str, Any]) -> None:
    net = small(**changes, count=16)
    for task in range(len(net.config.tasks)):
        want = exact(net, task)
        scale = net.quantized.scales[f"head.{task}"]
        got = run_reference(net.quantized, net.patches, task).logits * scale
        noise = ((got - want) ** 2).sum(-1) / (want**2).sum(-1)
        # The median: a token that is routed otherwise changes its whole image.
        assert 0 < float(np.median(noise)) < 0.002


@pytest.mark.parametrize(("kind", "points"), [("int8", 1.0), ("ternary", 2.0)])
def test_accuracy_of_digits(kind: Experts, points: float) -> None:
    images = digits_images()
    assert images.labels is not None
    assert len(images.test) == 360
    model = load_model("digits").eval()
    quantized = quantize(model, images.calibration[:256], kind)
    for task, entry in enumerate(model.config.tasks):
        found = evaluate(model, quantized, images.test, images.labels[entry.name], task)
        accuracy = found.accuracy
        assert accuracy.images == 360
        assert accuracy.float_top1 is not None
        assert accuracy.integer_top1 is not None
        assert accuracy.float_top1 > 0.9
        assert accuracy.integer_top1 >= accuracy.float_top1 - points / 100
