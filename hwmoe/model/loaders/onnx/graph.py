"""A graph of nodes in the order of execution, with what is asked of it most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_NAME = 200
"""Letters of a name in a message."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. ``inputs`` may hold "" for an optional input that is left out."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any]

    @property
    def out(self) -> str:
        return self.outputs[0]

    def __str__(self) -> str:
        return (self.name or self.out)[:MAX_NAME]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can run, each value with one producer.

    ``shapes`` are those of one run with concrete images, so every one is known. ``origins`` names
    for a constant the initializers it was folded from. ``quantized`` has for a constant that a
    QONNX node rounded its scale, element by element; ``activations`` the scale at which a QONNX
    node rounded a value that is not constant.
    """

    input: str
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    opsets: dict[str, int]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    quantized: dict[str, Array] = field(default_factory=dict)
    activations: dict[str, float] = field(default_factory=dict)

    @cached_property
    def producers(self) -> dict[str, Node]:
        return {value: node for node in self.nodes for value in node.outputs if value}

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                if value:
                    found.setdefault(value, []).append(node)
        return found

    @cached_property
    def places(self) -> dict[str, int]:
        """Place of each value's producer in the order of execution."""
        return {value: i for i, node in enumerate(self.nodes) for value in node.outputs}

    def constant(self, value: str) -> Array | None:
        return self.constants.get(value)

    def scalar(self, value: str) -> float | None:
        """The number that a constant of one element holds, else None."""
        found = self.constants.get(value)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def dynamic_inputs(self, node: Node) -> list[str]:
        return [value for value in node.inputs if value and value not in self.constants]

    def cone(self, values: Iterable[str], stops: Iterable[str] = ()) -> list[Node]:
        """All nodes that ``values`` depend on, in order; the search ends at ``stops``."""
        seen, found, todo = set(stops), set(), list(values)
        while todo:
            value = todo.pop()
            if value in seen or value not in self.producers:
                continue
            seen.add(value)
            found.add(self.places[value])
            todo.extend(v for v in self.producers[value].inputs if v)
        return [self.nodes[i] for i in sorted(found)]

    def without(self, keep: Callable[[Node], bool]) -> Graph:
        """The same graph with only the nodes that ``keep`` accepts."""
        return replace(self, nodes=tuple(node for node in self.nodes if keep(node)))


def as_int_tuple(array: Array) -> tuple[int, ...]:
    return tuple(int(v) for v in np.asarray(array).reshape(-1))
