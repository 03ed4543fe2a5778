"""What is not supported is listed, with name, operation, shape and the nearest supported thing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from foreign_models import Layer, Mlp, ViT, export
from onnx import numpy_helper
from torch import Tensor, nn

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.imported import ImportFailed
from hwmoe.model.loaders.load import import_file
from hwmoe.model.loaders.options import ImportOptions


class Relu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


def all_relu(model: ViT) -> None:
    for layer in model.blocks:
        layer.mlp.act = nn.ReLU()


def test_every_unsupported_operation_is_in_one_report(tmp_path: Path) -> None:
    model = ViT("timm", depth=3)
    all_relu(model)
    model.norm = nn.Sequential(model.norm, nn.Sigmoid())
    with pytest.raises(ImportFailed) as caught:
        import_file(export(model, tmp_path / "model.onnx"))
    problems = caught.value.problems
    assert sorted(p.kind for p in problems) == ["Relu", "Relu", "Relu", "Sigmoid"]
    assert all("Gelu" in p.nearest for p in problems)
    relus = [p for p in problems if p.kind == "Relu"]
    assert all(p.shape == (2, 7, 20) for p in relus)
    assert [f"blocks.{i}/mlp" in p.name for i, p in enumerate(relus)] == [True] * 3
    for problem in problems:
        assert str(problem) in str(caught.value)


class Pooled(ViT):
    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x)).mean(1))


class NoClassToken(ViT):
    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        return self.head(self.norm(self.blocks(x))[:, 0])


class Probabilities(ViT):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).softmax(-1)


class Masked(ViT):
    """Attention with a bias on its scores."""

    def __init__(self) -> None:
        super().__init__("bert")
        attention = self.blocks[0].attn

        def biased(x: Tensor) -> Tensor:
            a = attention
            q, k, v = a.split(a.query(x)), a.split(a.key(x)), a.split(a.value(x))
            scores = q @ k.transpose(-1, -2) / 2.0 + torch.ones(7, 7)
            mixed = (scores.softmax(-1) @ v).permute(0, 2, 1, 3)
            return a.output(mixed.reshape(x.shape))

        attention.forward = biased


class PostNorm(ViT):
    def __init__(self) -> None:
        super().__init__()

        class Post(Layer):
            def forward(self, x: Tensor) -> Tensor:
                x = self.norm1(x + self.attn(x))
                return self.norm2(x + self.mlp(x))

        for layer in self.blocks:
            layer.__class__ = Post


class Gate(nn.Module):
    """Top-2 of four experts, with one thing that our gates do not do."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.gate = nn.Linear(12, 4, bias=kind == "bias")
        self.experts = nn.ModuleList(Mlp(12, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        if self.kind in ("all", "squared"):
            values, index = logits.softmax(-1).topk(2, dim=-1)
            values = values if self.kind == "all" else values * values
        else:
            values, index = logits.topk(2, dim=-1)
            values = values.softmax(-1)
        weights = torch.zeros_like(logits).scatter(-1, index, values)
        if self.kind == "capacity":  # only the first three tokens of each expert are served
            chosen = (weights > 0).to(x.dtype)
            weights = weights * (chosen.cumsum(1) <= 3).to(x.dtype)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            out = out + weights[..., e : e + 1] * expert(x)
        return out * 2 if self.kind == "twice" else out


def with_gate(kind: str) -> ViT:
    model = ViT("timm")
    model.blocks[1].mlp = Gate(kind)
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Pooled, "pooling is not supported"),
        (NoClassToken, "patches do not become tokens one by one"),
        (Probabilities, "the output is not a linear layer; nearest: the logits"),
        (Masked, "not between two products"),
        (PostNorm, "there are 0 Softmax between two LayerNorms; nearest: attention"),
        (lambda: with_gate("bias"), "this gate has a bias"),
        (lambda: with_gate("squared"), "no weighted sum of the top k experts"),
        (lambda: with_gate("capacity"), "large logit does not choose one expert alone"),
        (lambda: with_gate("twice"), "a large logit does not choose one expert alone"),
    ],
)
def test_structures_that_are_not_ours(
    tmp_path: Path, make: Callable[[], nn.Module], said: str
) -> None:
    with pytest.raises(ImportFailed, match=said):
        import_file(export(make(), tmp_path / "model.onnx"))


def test_layers_with_different_softmax(tmp_path: Path) -> None:
    """Over the chosen in the first layer, over all in the second; a configuration has one."""
    model = ViT("timm")
    model.blocks[0].mlp, model.blocks[1].mlp = Gate("chosen"), Gate("all")
    with pytest.raises(ImportFailed, match=r"softmax over.*differs between layers: all, topk"):
        import_file(export(model, tmp_path / "model.onnx"))


def test_routing_that_the_exporter_froze(tmp_path: Path) -> None:
    """The old exporter writes the sizes of its example into graphs with data-dependent rows."""
    path = export(ViT("timm", "sparse"), tmp_path / "model.onnx")
    with pytest.raises(ImportFailed, match=r"another routing .* torch.onnx.export\(dynamo=True\)"):
        import_file(path)


def test_a_graph_that_computes_something_else(tmp_path: Path) -> None:
    """Read without complaint, but one addition in the middle is not what it seems to be."""
    model = onnx.load(export(ViT("timm"), tmp_path / "model.onnx"))
    adds = [n for n in model.graph.node if n.op_type == "Add" and n.name == "/blocks/blocks.1/Add"]
    adds[0].input[1] = adds[0].input[0]  # x + x in place of x + attention
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(HwmoeError, match="4 LayerNorms lead to it; a pre-norm transformer"):
        import_file(tmp_path / "changed.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    adds = [n for n in model.graph.node if n.op_type == "Add" and n.name == "/blocks/blocks.1/Add"]
    extra = onnx.helper.make_node("Add", [adds[0].output[0]] * 2, ["doubled"], name="double")
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == adds[0].output[0]:
                node.input[i] = "doubled"
    model.graph.node.insert(list(model.graph.node).index(adds[0]) + 1, extra)
    onnx.save(model, tmp_path / "double.onnx")
    with pytest.raises(HwmoeError) as caught:
        import_file(tmp_path / "double.onnx")
    text = str(caught.value)
    assert "logits differ by" in text
    assert "the first tensor that differs is blocks.1.res1 of task 0, by" in text


def test_broken_weights(tmp_path: Path) -> None:
    model = onnx.load(export(ViT("timm"), tmp_path / "model.onnx"))
    tensor = next(t for t in model.graph.initializer if t.name == "head.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(ImportFailed, match=r"heads.0.weight \(weight \[5, 12\]\): holds NaN"):
        import_file(tmp_path / "nan.onnx")


def test_options_that_the_graph_answers(tmp_path: Path) -> None:
    path = export(ViT("timm"), tmp_path / "model.onnx")
    with pytest.raises(HwmoeError, match="leave out --heads, --top-k"):
        import_file(path, ImportOptions(heads=3, top_k=2))
    with pytest.raises(HwmoeError, match="has 1 outputs"):
        import_file(path, ImportOptions(tasks=("a", "b")))


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(HwmoeError, match=r"need the package onnx.*pip install 'hwmoe\[onnx\]'"):
        import_file(path)


def test_relu_in_functions_too(tmp_path: Path) -> None:
    """Named by what it makes where the exporter gave it no name."""
    model = onnx.load(export(nn.Sequential(ViT("timm"), Relu()), tmp_path / "model.onnx"))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(ImportFailed) as caught:
        import_file(tmp_path / "bare.onnx")
    assert [p.kind for p in caught.value.problems] == ["Relu"]
    assert caught.value.problems[0].name == model.graph.output[0].name
