"""Linear layers, however they are written, and the weights of experts among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.operators import MOVEMENT, PRODUCTS, SELECTION


@dataclass(frozen=True, eq=False)
class Linear:
    """``out = x @ weight^T + bias``: weight [M, N, K] and bias [M, N], M 1 or the experts.

    ``out`` is the value after the bias; ``product`` the one before. ``scale`` [M, N] is that of a
    quantizer of the weights, if there was one for each output channel.
    """

    x: str
    product: str
    out: str
    weight: Array
    bias: Array
    scale: Array | None
    nodes: tuple[Node, ...]
    sources: tuple[str, ...]

    @cached_property
    def key(self) -> tuple[object, ...]:
        """The same for two uses of one layer."""
        return (*self.sources, self.weight.shape, self.weight.tobytes())


def find_linears(graph: Graph) -> dict[str, Linear]:
    """Every linear layer by the value it makes."""
    found = {}
    for node in graph.nodes:
        if node.op in PRODUCTS and (linear := _linear(graph, node)):
            linear = _with_bias(graph, linear)
            found[linear.out] = linear
    return found


@dataclass(frozen=True, eq=False)
class _Stored:
    """A constant of weights behind the nodes that select experts from it."""

    name: str
    array: Array
    scale: Array | None
    swapped: bool
    nodes: tuple[Node, ...]

    def turned(self, axes: list[int]) -> _Stored:
        scale = None if self.scale is None else self.scale.transpose(axes)
        return replace(self, array=self.array.transpose(axes), scale=scale)


def _stored(graph: Graph, value: str) -> _Stored | None:
    """The constant that ``value`` is, or was selected from by indices that depend on the image."""
    nodes: list[Node] = []
    swapped = False
    while value not in graph.constants:
        node = graph.producers.get(value)
        if node is None or node.op not in SELECTION:
            return None
        if node.op == "Transpose":
            perm = list(node.attrs.get("perm") or ())
            swapped ^= perm[-2:] == [len(perm) - 1, len(perm) - 2]
        nodes.append(node)
        value = node.inputs[0]
    scale = graph.quantized.get(value)
    return _Stored(value, graph.constants[value], scale, swapped, tuple(nodes))


def _linear(graph: Graph, node: Node) -> Linear | None:
    if node.op == "Einsum":
        return _einsum(graph, node)
    if len(node.inputs) < 2 or node.inputs[0] in graph.constants:
        return None
    stored = _stored(graph, node.inputs[1])
    if stored is None or stored.array.ndim not in (2, 3):
        return None
    if node.op == "Gemm":
        attrs = node.attrs
        plain = attrs.get("alpha", 1.0) == attrs.get("beta", 1.0) == 1.0
        if not plain or attrs.get("transA"):
            return None
        swapped = bool(attrs.get("transB")) ^ stored.swapped
    else:
        swapped = stored.swapped
    linear = _build(graph, node, node.inputs[0], stored, not swapped)
    if node.op == "Gemm" and len(node.inputs) > 2 and node.inputs[2]:
        return _add_bias(graph, linear, node.inputs[2], (), node.out)
    return linear


def _build(graph: Graph, node: Node, x: str, stored: _Stored, swap: bool) -> Linear:
    def arranged(array: Array) -> Array:
        turned = array.swapaxes(-1, -2) if swap else array
        return np.ascontiguousarray(turned.reshape(-1, *turned.shape[-2:]))

    weight, scale = arranged(stored.array), None
    if stored.scale is not None:
        each = arranged(stored.scale)
        if (each == each[..., :1]).all():
            scale = each[..., 0]
    return Linear(
        x, node.out, node.out, weight.astype(np.float32), np.zeros(weight.shape[:2], np.float32),
        scale, (node, *stored.nodes), graph.origins.get(stored.name, (stored.name,)),
    )  # fmt: skip


def _einsum(graph: Graph, node: Node) -> Linear | None:
    """A product with stored weights: which letter is the input, the output, the expert."""
    left, _, right = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")
    letters = left.split(",")
    if len(letters) != 2 or "." in left:
        return None
    for data, weights in ((0, 1), (1, 0)):
        stored = _stored(graph, node.inputs[weights])
        if stored is None or stored.swapped or node.inputs[data] in graph.constants:
            continue
        own = letters[weights][-stored.array.ndim :]
        inner = [c for c in own if c in letters[data] and c not in right]
        outer = [c for c in own if c in right and c not in letters[data]]
        if len(own) != stored.array.ndim or len(inner) != 1 or not outer:
            continue
        # Of two letters that only the result has, the first is the expert.
        order = [c for c in own if c not in (inner[0], outer[-1])] + [outer[-1], inner[0]]
        if len(order) not in (2, 3):
            continue
        axes = [own.index(c) for c in order]
        return _build(graph, node, node.inputs[data], stored.turned(axes), False)
    return None


def _with_bias(graph: Graph, linear: Linear) -> Linear:
    """The layer with the constant that is added to its result, if one is."""
    value = linear.out
    moved: list[Node] = []
    while len(users := graph.consumers.get(value, [])) == 1 and value not in graph.outputs:
        node = users[0]
        if node.op == "Add":
            other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
            return _add_bias(graph, linear, other, (*moved, node), node.out)
        if node.op not in MOVEMENT or node.inputs[0] != value or len(node.outputs) > 1:
            break
        moved.append(node)
        value = node.out
    return linear


def _add_bias(
    graph: Graph, linear: Linear, value: str, nodes: tuple[Node, ...], out: str
) -> Linear:
    stored = _stored(graph, value)
    shape = linear.bias.shape
    if stored is None or stored.array.size not in (shape[0] * shape[1], shape[1]):
        return linear
    bias = stored.array.reshape(-1, shape[1]).astype(np.float32)
    return replace(
        linear,
        out=out,
        bias=linear.bias + bias,
        nodes=(*linear.nodes, *nodes, *stored.nodes),
        sources=(*linear.sources, *graph.origins.get(stored.name, (stored.name,))),
    )
