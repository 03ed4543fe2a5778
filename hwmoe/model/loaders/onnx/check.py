"""The proof of an import: the original in onnxruntime against `MoEViT`, on random images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.imported import Imported, Note
from hwmoe.model.loaders.onnx.execute import run
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.patterns import Gelu
from hwmoe.model.loaders.onnx.trunk import Trunk

IMAGES = 8
TOLERANCE = 1e-3
"""Of the largest logit. Float32 sums in another order differ by about 1e-6 of it."""
MAX_IR = 10
"""Version of the container that is written: any onnxruntime of the last years reads it."""


def check_images(shape: tuple[int, ...], count: int = IMAGES) -> Array:
    """Random images [count, C, H, W], always the same, with values in [0, 1)."""
    return np.random.default_rng(0).random((count, *shape[1:]), np.float32)


def check(original: Graph, graph: Graph, trunks: Sequence[Trunk], imported: Imported) -> list[Note]:
    """Compare; `HwmoeError` says how large a difference is and in which layer it begins.

    Where an exact GELU or no quantizer stands for what the source has, the source is changed in
    the same way before it is compared, and a note says how far this is from the source itself.
    """
    batch = graph.shapes[graph.input][0]
    images = check_images(graph.shapes[graph.input], batch * -(-IMAGES // batch))
    model = imported.model()
    with torch.no_grad():
        ours = [model(torch.from_numpy(images), t).numpy() for t in range(len(trunks))]
    session = _session(original, [gelu for trunk in trunks for gelu in trunk.gelus if gelu.tanh])
    theirs = _in_batches(graph, images, lambda part: session.run(None, {graph.input: part}))
    largest = max(float(np.abs(values).max()) for values in theirs) or 1.0
    error = _difference(ours, theirs)
    if not error <= TOLERANCE * largest:
        where = _first_difference(graph, trunks, imported, images[: graph.shapes[graph.input][0]])
        raise HwmoeError(
            f"the import was read but computes something else: logits differ by {error:.3g}, the "
            f"largest is {largest:.3g}; {where}. Please report this model's structure"
        )
    notes = [
        Note(
            "check",
            f"onnxruntime's logits of {len(images)} random images agree within "
            f"{error:.2g}; the largest is {largest:.3g}",
        )
    ]
    if imported.scales or any(gelu.tanh for trunk in trunks for gelu in trunk.gelus):
        exact = _in_batches(graph, images, lambda part: list(_run_all(original, part).values()))
        notes.append(
            Note(
                "check",
                "the source as it is, with its own quantizers and GELU, differs by up to "
                f"{_difference(ours, exact):.2g}",
            )
        )
    return notes


def _run_all(original: Graph, images: Array) -> dict[str, Array]:
    return run(original, {original.input: images}, original.outputs)


def _difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(a - b.reshape(a.shape)).max()) for a, b in pairs)


def _in_batches(graph: Graph, images: Array, call: Any) -> list[Array]:
    """All outputs for all images, in the batches the source was exported for."""
    batch = graph.shapes[graph.input][0]
    parts = [call(images[i : i + batch]) for i in range(0, len(images), batch)]
    return [np.concatenate([np.asarray(p) for p in out]) for out in zip(*parts, strict=True)]


def _first_difference(
    graph: Graph, trunks: Sequence[Trunk], imported: Imported, images: Array
) -> str:
    """The first tensor of the residual stream that differs."""
    model = imported.model()
    for task, trunk in enumerate(trunks):
        trace: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            model(torch.from_numpy(images), task, trace)
        names = {"embed": trunk.stream}
        for i, layer in enumerate(trunk.layers):
            names |= {f"blocks.{i}.res{j + 1}": v for j, v in enumerate(layer.streams)}
        values = run(graph, {graph.input: images}, list(names.values()))
        for name, value in names.items():
            ours, theirs = trace[name].numpy(), values[value]
            if name == "embed":
                order = trunk.embedding.order
            if theirs.ndim == 3:
                theirs = theirs[:, order]
            error = float(np.abs(ours - theirs.reshape(ours.shape)).max())
            if error > TOLERANCE * float(np.abs(theirs).max()):
                return f"the first tensor that differs is {name} of task {task}, by {error:.3g}"
    return "all layers agree, so it is the head"


def _session(original: Graph, tanh: Sequence[Gelu]) -> Any:
    """onnxruntime on the original, with exact GELUs and without quantizers of activations."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    content = to_proto(_substituted(original, tanh)).SerializeToString()
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime has its own exceptions for each kind of failure; all mean the same here.
        raise HwmoeError(f"onnxruntime does not run the file: {error}") from None


def _substituted(original: Graph, tanh: Sequence[Gelu]) -> Graph:
    exact = {gelu.out: gelu.x for gelu in tanh}
    constants = dict(original.constants)
    nodes = []
    for node in original.nodes:
        if node.op in ("Quant", "BipolarQuant"):
            inputs = [original.constants.get(value) for value in node.inputs]
            known = {n: c for n, c in zip(node.inputs, inputs, strict=True) if c is not None}
            sub = original.cone([node.out])
            if any(original.input in n.inputs for n in sub):
                nodes.append(Node("Identity", "", node.name, node.inputs[:1], node.outputs, {}))
            else:
                constants[node.out] = run(original, known, [node.out])[node.out]
        elif node.out in exact:
            # Of the nodes of the approximation only the last is replaced; the rest is unused.
            nodes.append(_exact_gelu(original, node, exact[node.out]))
        else:
            nodes.append(node)
    opsets = {d: v for d, v in original.opsets.items() if d in ("", "com.microsoft")}
    return Graph(original.input, original.outputs, tuple(nodes), constants, opsets)


def _exact_gelu(original: Graph, node: Node, x: str) -> Node:
    domain = "" if original.opsets.get("", 0) >= 20 else "com.microsoft"
    return Node("Gelu", domain, node.name, (x,), node.outputs, {})


def to_proto(graph: Graph) -> Any:
    """An ONNX model of a graph; its input takes any batch."""
    onnx = require("onnx")
    helper, numpy_helper = require("onnx.helper"), require("onnx.numpy_helper")
    nodes = [
        helper.make_node(n.op, n.inputs, n.outputs, n.name, domain=n.domain, **_attrs(n.attrs))
        for n in graph.nodes
    ]
    used = {v for node in graph.nodes for v in node.inputs}
    weights = [numpy_helper.from_array(a, k) for k, a in graph.constants.items() if k in used]
    body = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(graph.input, onnx.TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info(v, onnx.TensorProto.FLOAT, None) for v in graph.outputs],
        weights,
    )
    opsets = {**graph.opsets, "com.microsoft": 1}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(body, opset_imports=imports, ir_version=MAX_IR)


def _attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if value is not None}
