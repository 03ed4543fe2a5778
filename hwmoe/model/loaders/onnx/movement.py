"""Where each element of a value comes from, found by moving numbered elements.

Whatever reshapes, transposes, splits and gathers someone has written, running them on the numbers
0, 1, 2... tells exactly which element ends up where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from hwmoe.model.loaders.onnx.execute import Budget, run_node
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.operators import MOVEMENT, SCALING

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moved:
    """``codes`` are those of the source, moved; each element was multiplied by ``factor``."""

    codes: Codes
    factor: float
    source: str
    nodes: tuple[Node, ...]

    @property
    def unscaled(self) -> list[str]:
        """The source and all it becomes before the first factor."""
        before = takewhile(lambda node: node.op not in SCALING, self.nodes)
        return [self.source, *(node.out for node in before)]


def back(graph: Graph, value: str, stops: Mapping[str, Array] | set[str]) -> tuple[str, list[Node]]:
    """From ``value`` back over movement and scalar factors to a value that is something else."""
    nodes: list[Node] = []
    while value not in stops and value in graph.producers:
        node = graph.producers[value]
        inputs = graph.dynamic_inputs(node)
        scaled = node.op in SCALING and any(graph.scalar(v) is not None for v in node.inputs)
        if node.op == "Div" and node.inputs[0] in graph.constants:
            scaled = False
        if len(inputs) != 1 or not (scaled or node.op in MOVEMENT - {"Concat", "Expand"}):
            break
        nodes.append(node)
        value = inputs[0]
    return value, nodes[::-1]


def moved(graph: Graph, value: str, sources: Mapping[str, Codes]) -> Moved | None:
    """How ``value`` was moved out of one of ``sources``; None if it was not moved only."""
    source, nodes = back(graph, value, set(sources))
    if source not in sources:
        return None
    values: dict[str, Array] = {**graph.constants, source: sources[source]}
    factor = 1.0
    for node in nodes:
        if node.op in SCALING:
            constant = next(v for v in node.inputs if v in graph.constants)
            inner = next(v for v in node.inputs if v not in graph.constants)
            number = graph.scalar(constant) or 0.0
            factor = factor * number if node.op == "Mul" else factor / (number or np.inf)
            values[node.out] = values[inner]
        else:
            values |= run_node(node, values, graph.opsets, Budget())
    return Moved(values[value], factor, source, tuple(nodes))


def numbered(shape: tuple[int, ...]) -> Codes:
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
