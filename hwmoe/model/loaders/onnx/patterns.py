"""Small patterns over a graph, as data: an operation is a tuple, ``?x`` a value, ``#c`` a constant.

``("Add", "?x", "#b")`` matches an addition of anything to a constant; additions and products match
either way round. A number stands for a constant that holds nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmoe.model.loaders.onnx.graph import Array, Graph, Node

Pattern = Any
Found = dict[str, str]

COMMUTES = frozenset({"Add", "Mul"})


def either(*patterns: Pattern) -> Pattern:
    return ("|", *patterns)


def _halved(x: Pattern, factor: Pattern) -> Pattern:
    """``0.5 * x * factor`` in any order of the two products."""
    return either(
        ("Mul", ("Mul", x, factor), 0.5),
        ("Mul", ("Mul", x, 0.5), factor),
        ("Mul", x, ("Mul", factor, 0.5)),
        ("Div", ("Mul", x, factor), 2.0),
    )


_CUBE = either(("Pow", "?x", 3.0), ("Mul", "?x", ("Mul", "?x", "?x")))
_ERF = ("Erf", either(("Div", "?x", math.sqrt(2)), ("Mul", "?x", math.sqrt(0.5))))
_TANH = either(
    ("Tanh", ("Mul", ("Add", "?x", ("Mul", _CUBE, 0.044715)), math.sqrt(2 / math.pi))),
    (
        "Tanh",
        (
            "Mul",
            ("Mul", "?x", math.sqrt(2 / math.pi)),
            ("Add", ("Mul", ("Mul", "?x", "?x"), 0.044715), 1.0),
        ),
    ),
)
GELU_ERF = either(("Gelu", "?x"), _halved("?x", ("Add", _ERF, 1.0)))
GELU_TANH = _halved("?x", ("Add", _TANH, 1.0))

_CENTRED = ("Sub", "?x", ("ReduceMean", "?x"))
_VARIANCE = ("ReduceMean", either(("Pow", _CENTRED, 2.0), ("Mul", _CENTRED, _CENTRED)))
LAYER_NORM = (
    "Add",
    ("Mul", ("Div", _CENTRED, ("Sqrt", ("Add", _VARIANCE, "#eps"))), "#gain"),
    "#bias",
)


def match(graph: Graph, value: str, pattern: Pattern) -> tuple[Found, list[Node]] | None:
    """Names bound by ``pattern`` at ``value`` and the nodes it covers, or None."""
    for found, nodes in _matches(graph, value, pattern, {}):
        return found, nodes
    return None


def _matches(
    graph: Graph, value: str, pattern: Pattern, found: Found
) -> Iterator[tuple[Found, list[Node]]]:
    if isinstance(pattern, float):
        number = graph.scalar(value)
        if number is not None and math.isclose(number, pattern, rel_tol=1e-4):
            yield found, []
    elif isinstance(pattern, str):
        if found.get(pattern, value) == value and (pattern[0] == "?") != (value in graph.constants):
            yield {**found, pattern: value}, []
    elif pattern[0] == "|":
        for choice in pattern[1:]:
            yield from _matches(graph, value, choice, found)
    else:
        yield from _operation(graph, value, pattern, found)


def _operation(
    graph: Graph, value: str, pattern: Pattern, found: Found
) -> Iterator[tuple[Found, list[Node]]]:
    node = graph.producers.get(value)
    if node is None or node.op != pattern[0]:
        return
    wanted = pattern[1:]
    inputs = [v for v in node.inputs if v][: len(wanted)]  # axes of a reduction are not matched
    if len(inputs) < len(wanted):
        return
    orders = [inputs]
    if node.op in COMMUTES:
        orders.append(inputs[::-1])
    for order in orders:
        results: list[tuple[Found, list[Node]]] = [(found, [node])]
        for part, inner in zip(order, wanted, strict=True):
            results = [
                (more, [*nodes, *extra])
                for before, nodes in results
                for more, extra in _matches(graph, part, inner, before)
            ]
        yield from results


@dataclass(frozen=True, eq=False)
class Norm:
    """A LayerNorm over the last axis of ``x``: ``gain`` and ``bias`` [D]."""

    x: str
    out: str
    gain: Array
    bias: Array
    eps: float
    nodes: tuple[Node, ...]
    sources: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Gelu:
    x: str
    out: str
    tanh: bool
    nodes: tuple[Node, ...]


def find_norms(graph: Graph) -> list[Norm]:
    """Every LayerNorm, in order, fused or decomposed."""
    norms = []
    for node in graph.nodes:
        if node.op == "LayerNormalization":
            dim = graph.shapes[node.inputs[0]][-1]
            gain = graph.constant(node.inputs[1])
            bias_name = node.inputs[2] if len(node.inputs) > 2 else ""
            bias = graph.constant(bias_name) if bias_name else np.zeros(dim, np.float32)
            if gain is None or bias is None or gain.shape != (dim,):
                continue
            norms.append(
                Norm(
                    node.inputs[0],
                    node.out,
                    gain,
                    bias,
                    float(node.attrs.get("epsilon", 1e-5)),
                    (node,),
                    (node.inputs[1], bias_name),
                )
            )
        elif node.op == "Add" and (hit := match(graph, node.out, LAYER_NORM)):
            norms.append(_decomposed(graph, node.out, *hit))
    return norms


def _decomposed(graph: Graph, out: str, found: Found, nodes: list[Node]) -> Norm:
    dim = graph.shapes[found["?x"]][-1]
    gain, bias = (
        np.broadcast_to(graph.constants[found[key]].reshape(-1), (dim,)).astype(np.float32)
        for key in ("#gain", "#bias")
    )
    eps = graph.scalar(found["#eps"])
    unique = {id(node): node for node in nodes}.values()
    return Norm(
        found["?x"],
        out,
        gain,
        bias,
        float(eps or 0),
        tuple(unique),
        (found["#gain"], found["#bias"]),
    )


def find_gelus(graph: Graph) -> list[Gelu]:
    """Every GELU, in order."""
    gelus = []
    for node in graph.nodes:
        for pattern, tanh in ((GELU_ERF, False), (GELU_TANH, True)):
            hit = match(graph, node.out, pattern) if node.op in ("Gelu", "Mul", "Div") else None
            if hit:
                fused_tanh = node.attrs.get("approximate") == "tanh"
                nodes = {id(n): n for n in hit[1]}.values()
                gelus.append(Gelu(hit[0]["?x"], node.out, tanh or fused_tanh, tuple(nodes)))
                break
    return gelus
