"""Runs a graph node by node, within a budget of memory and work, so that no file can exhaust us.

Nodes are run by `onnx.reference`, a plain NumPy implementation of the standard; a few that it
lacks or is slow at are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node, as_int_tuple
from hwmoe.model.loaders.onnx.operators import BROADCASTING
from hwmoe.model.loaders.onnx.qonnx import bipolar, quant
from hwmoe.model.loaders.onnx.tensors import DTYPES

MAX_ELEMENTS = 1 << 26
"""Of one tensor."""
MAX_LIVE = 1 << 29
"""Of all tensors that are still needed."""
MAX_WORK = 1 << 38
"""Multiplications of one run."""

Size = Callable[[Node, list[Array]], int]


class Refused(HwmoeError):
    """A node that would take too much, or whose inputs do not fit it."""


class Budget:
    """What one run may still spend."""

    def __init__(self) -> None:
        self.live, self.work = 0, 0

    def spend(self, node: Node, elements: int, work: int) -> None:
        self.work += work
        if elements > MAX_ELEMENTS or self.live + elements > MAX_LIVE or self.work > MAX_WORK:
            raise Refused(
                f"node {node} ({node.op}) would make {elements:,} values of one image or two; "
                "that is more than any model hwmoe takes"
            )


def run(graph: Graph, feeds: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
    """The ``wanted`` values, from the ``feeds`` (which may be inside the graph) and constants."""
    wanted = list(wanted)
    values: dict[str, Array] = {**graph.constants, **feeds}
    nodes = graph.cone(wanted, stops=feeds)
    last = {value: i for i, node in enumerate(nodes) for value in node.inputs}
    budget = Budget()
    for i, node in enumerate(nodes):
        for value, array in run_node(node, values, graph.opsets, budget).items():
            values[value] = array
            budget.live += array.size
        for value in set(node.inputs):
            if last[value] == i and value in values and value not in wanted:
                if value not in graph.constants and value not in feeds:
                    budget.live -= values[value].size
                del values[value]
    return {value: values[value] for value in wanted}


def run_node(
    node: Node, values: Mapping[str, Array], opsets: Mapping[str, int], budget: Budget
) -> dict[str, Array]:
    """The outputs of one node; `Refused` if they are too large or the inputs do not fit."""
    inputs = [values.get(value) if value else None for value in node.inputs]
    present = [array for array in inputs if array is not None]
    try:
        elements, work = _cost(node, inputs, present)
        budget.spend(node, elements, work)
        own = OWN.get(node.op)
        results = own(node, inputs) if own else _reference(node, inputs, opsets)
    except HwmoeError:
        raise
    except Exception as error:
        # onnx.reference raises whatever NumPy does; it is always the file that is wrong.
        shapes = ", ".join(str(list(array.shape)) for array in present)
        raise Refused(f"node {node} ({node.op}) does not run on {shapes}: {error}") from None
    pairs = zip(node.outputs, results, strict=False)
    return {name: np.asarray(array) for name, array in pairs if name}


def _reference(node: Node, inputs: list[Any], opsets: Mapping[str, int]) -> list[Array]:
    evaluator = _evaluator(node, tuple(sorted(opsets.items())))
    feeds = {n: a for n, a in zip(node.inputs, inputs, strict=True) if n}
    results: list[Array] = evaluator.run(None, feeds)
    return results


@lru_cache(maxsize=4096)
def _evaluator(node: Node, opsets: tuple[tuple[str, int], ...]) -> Any:
    helper = require("onnx.helper")
    names = list(dict.fromkeys(n for n in node.inputs if n))
    attrs = {key: value for key, value in node.attrs.items() if value is not None}
    proto = helper.make_node(node.op, node.inputs, node.outputs, domain=node.domain, **attrs)
    outputs = [name for name in node.outputs if name]
    # The types are not looked at: it computes in those of the arrays it is given.
    body = helper.make_graph(
        [proto],
        "node",
        *([helper.make_tensor_value_info(n, 1, None) for n in part] for part in (names, outputs)),
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    model = helper.make_model(body, opset_imports=imports)
    return require("onnx.reference").ReferenceEvaluator(model)


def _cost(node: Node, inputs: list[Any], present: list[Array]) -> tuple[int, int]:
    """Elements of the largest output, and multiplications, before anything is allocated."""
    if node.op in SIZES:
        elements = SIZES[node.op](node, inputs)
    elif node.op in ("MatMul", "Einsum", "Gemm", "Conv"):
        return _product_cost(node, inputs)
    elif node.op in BROADCASTING:
        elements = math.prod(np.broadcast_shapes(*(a.shape for a in present)))
    else:
        elements = sum(a.size for a in present)
    return elements, elements


def _product_cost(node: Node, inputs: list[Any]) -> tuple[int, int]:
    if node.op == "MatMul":
        a, b = inputs[0].shape, inputs[1].shape
        batch = np.broadcast_shapes(a[:-2], b[:-2])
        rows = a[-2] if len(a) > 1 else 1
        elements = math.prod(batch) * rows * (b[-1] if len(b) > 1 else 1)
        return elements, elements * a[-1]
    if node.op == "Gemm":
        a, b = inputs[0].shape, inputs[1].shape
        rows, inner = a[::-1] if node.attrs.get("transA") else a
        elements = rows * (b[0] if node.attrs.get("transB") else b[1])
        return elements, elements * inner
    if node.op == "Conv":
        x, w = inputs[0].shape, inputs[1].shape
        strides = node.attrs.get("strides") or [1] * (len(x) - 2)
        pads = sum(node.attrs.get("pads") or [0])
        steps = math.prod((n + pads) // s + 1 for n, s in zip(x[2:], strides, strict=True))
        return x[0] * w[0] * steps, x[0] * steps * math.prod(w)
    return _einsum_cost(str(node.attrs.get("equation", "")), inputs)


def _einsum_cost(equation: str, inputs: list[Any]) -> tuple[int, int]:
    left, _, right = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for letters, array in zip(left.split(","), inputs, strict=True):
        sizes |= dict(zip(letters, array.shape, strict=True))
    return math.prod([sizes[c] for c in right]), math.prod(sizes.values())


def _broadcast(shape: tuple[int, ...], target: Array) -> int:
    return math.prod(np.broadcast_shapes(shape, as_int_tuple(target)))


def _range(start: Array, limit: Array, delta: Array) -> int:
    return max(0, math.ceil((float(limit) - float(start)) / float(delta)))


def _gather(node: Node, inputs: list[Any]) -> int:
    data, index = inputs[0], inputs[1]
    return int(data.size // max(1, data.shape[node.attrs.get("axis", 0)]) * index.size)


SIZES: dict[str, Size] = {
    "Expand": lambda node, x: _broadcast(x[0].shape, x[1]),
    "ConstantOfShape": lambda node, x: math.prod(as_int_tuple(x[0])),
    "Tile": lambda node, x: x[0].size * math.prod(as_int_tuple(x[1])),
    "Range": lambda node, x: _range(*x),
    "OneHot": lambda node, x: x[0].size * int(x[1].reshape(-1)[0]),
    "Gather": _gather,
    "GatherND": lambda node, x: math.prod((*x[1].shape[:-1], *x[0].shape[x[1].shape[-1] :])),
}


def _gelu(node: Node, inputs: list[Any]) -> list[Array]:
    how = str(node.attrs.get("approximate", "none"))
    return [F.gelu(torch.from_numpy(np.ascontiguousarray(inputs[0])), approximate=how).numpy()]


def _gather_elements(node: Node, inputs: list[Any]) -> list[Array]:
    data, index = inputs
    axis = int(node.attrs.get("axis", 0))
    index = np.where(index < 0, index + data.shape[axis], index).astype(np.int64)
    data = torch.from_numpy(np.ascontiguousarray(data))
    return [data.gather(axis, torch.from_numpy(index)).numpy()]


def _conv(node: Node, inputs: list[Any]) -> list[Array]:
    x, weight, *bias = [torch.from_numpy(np.ascontiguousarray(a)) for a in inputs if a is not None]
    attrs, dims = node.attrs, inputs[0].ndim - 2
    pads = attrs.get("pads") or [0] * (2 * dims)
    if dims != 2 or pads[:dims] != pads[dims:] or attrs.get("auto_pad", "NOTSET") != "NOTSET":
        raise Refused(f"node {node} (Conv): only two-dimensional, with the same padding all round")
    result = F.conv2d(
        x,
        weight,
        bias[0] if bias else None,
        stride=tuple(attrs.get("strides") or (1, 1)),
        padding=tuple(pads[:dims]),
        dilation=tuple(attrs.get("dilations") or (1, 1)),
        groups=int(attrs.get("group", 1)),
    )
    return [result.numpy()]


def _norm(node: Node, inputs: list[Any]) -> list[Array]:
    x = inputs[0].astype(np.float64)
    axes = tuple(range(int(node.attrs.get("axis", -1)) % x.ndim, x.ndim))
    centred = x - x.mean(axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axes, keepdims=True) + node.attrs.get("epsilon", 1e-5))
    y = centred / deviation * inputs[1] + (inputs[2] if len(inputs) > 2 else 0)
    return [y.astype(inputs[0].dtype)]


OWN: dict[str, Callable[[Node, list[Any]], list[Array]]] = {
    "Gelu": _gelu,
    "Conv": _conv,
    "LayerNormalization": _norm,
    "Cast": lambda node, x: [x[0].astype(DTYPES[int(node.attrs["to"])])],
    # onnx.reference loses the other axes when no index is given.
    "Gather": lambda node, x: [np.take(x[0], x[1], axis=int(node.attrs.get("axis", 0)))],
    # onnx.reference takes no index of another shape than the data.
    "GatherElements": _gather_elements,
    "Quant": lambda node, x: [quant(node, *x)],
    "BipolarQuant": lambda node, x: [bipolar(*x)],
}
