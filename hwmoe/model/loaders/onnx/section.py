"""A section: all nodes between one LayerNorm and the input of the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hwmoe.model.loaders.imported import ImportProblem
from hwmoe.model.loaders.onnx.execute import run
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.linears import Linear
from hwmoe.model.loaders.onnx.movement import back
from hwmoe.model.loaders.onnx.patterns import Gelu, Norm


class Unmatched(Exception):
    """A structure that is not ours; ``problem`` says which node, and what would be."""

    def __init__(self, problem: ImportProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(eq=False)
class Section:
    """From the residual stream ``residual`` and its LayerNorm ``norm`` to the stream ``after``."""

    graph: Graph
    residual: str
    norm: Norm
    after: str
    all_linears: dict[str, Linear]
    all_gelus: list[Gelu]
    claimed: set[str] = field(default_factory=set)

    @property
    def batch(self) -> int:
        return self.graph.shapes[self.residual][0]

    @property
    def tokens(self) -> int:
        return self.graph.shapes[self.residual][1]

    @property
    def dim(self) -> int:
        return self.graph.shapes[self.residual][2]

    @cached_property
    def nodes(self) -> list[Node]:
        return self.graph.cone([self.after], stops=[self.residual, self.norm.out])

    @cached_property
    def values(self) -> set[str]:
        return {value for node in self.nodes for value in node.outputs}

    @cached_property
    def linears(self) -> list[Linear]:
        return [line for line in self.all_linears.values() if line.out in self.values]

    @cached_property
    def gelus(self) -> list[Gelu]:
        return [gelu for gelu in self.all_gelus if gelu.out in self.values]

    def open_value(self) -> str | None:
        """A value that the section takes from elsewhere, which it must not."""
        known = {self.residual, self.norm.out, *self.graph.constants, *self.values}
        for node in self.nodes:
            for value in node.inputs:
                if value and value not in known:
                    return value
        return None

    def of_kind(self, *ops: str) -> list[Node]:
        return [node for node in self.nodes if node.op in ops]

    def one(self, op: str) -> Node:
        found = self.of_kind(op)
        if len(found) == 1:
            return found[0]
        node = found[1] if found else self.graph.producers[self.after]
        raise Unmatched(
            ImportProblem(
                str(node),
                node.op,
                self.graph.shapes.get(node.out, ()),
                f"there are {len(found)} {op} between two LayerNorms",
                f"nearest: attention, with one {op}",
            )
        )

    def norm_of(self, value: str) -> Norm | None:
        """The LayerNorm of this section, if ``value`` is its result, at most moved."""
        return self.norm if back(self.graph, value, {self.norm.out})[0] == self.norm.out else None

    def claim(self, *nodes: Node) -> None:
        self.claimed |= {node.out for node in nodes}

    def branch(self, normed: Array, more: dict[str, Array] | None = None) -> Array:
        """What the section adds to the stream [B, T, D] for the LayerNorm's ``normed`` result.

        ``more`` sets further values inside the section, by name.
        """
        shapes = self.graph.shapes
        zero = np.zeros(shapes[self.residual], np.float32)
        feeds = {self.residual: zero, self.norm.out: normed.reshape(shapes[self.norm.out])}
        result = run(self.graph, {**feeds, **(more or {})}, [self.after])[self.after]
        return result.reshape(shapes[self.residual])
