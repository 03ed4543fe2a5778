"""Constant folding: one run with random images, after which every shape is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hwmoe.model.loaders.imported import ImportProblem, Note
from hwmoe.model.loaders.onnx.execute import Budget, Refused, run_node
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.operators import (
    MOVEMENT,
    PASSING,
    QUANTIZERS,
    SHAPES,
    SUPPORTED,
    nearest,
)
from hwmoe.model.loaders.onnx.qonnx import DOMAINS, levels
from hwmoe.model.loaders.onnx.tensors import read_tensor

MAX_REPORTED = 200
WEIGHT_BITS = 8


@dataclass
class Folding:
    """A graph being folded; ``values`` holds what the run has computed and still needs."""

    graph: Graph
    path: Path
    problems: list[ImportProblem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    alias: dict[str, str] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    quantized: dict[str, Array] = field(default_factory=dict)
    activations: dict[str, float] = field(default_factory=dict)
    guessing: bool = False
    last: dict[str, int] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)

    def fold(self, images: Array) -> Graph:
        """The graph without what depends on shapes and weights alone."""
        self.constants = dict(self.graph.constants)
        self.origins = {name: (name,) for name in self.constants}
        self.values = {self.graph.input: images}
        self.shapes = {self.graph.input: images.shape}
        self.last = {value: i for i, node in enumerate(self.graph.nodes) for value in node.inputs}
        for i, node in enumerate(self.graph.nodes):
            inputs = tuple(self.alias.get(value, value) for value in node.inputs)
            self.step(replace(node, inputs=inputs))
            for name in set(inputs):
                if name in self.values and self.last[name] <= i:
                    self.budget.live -= self.values.pop(name).size
        outputs = tuple(self.alias.get(value, value) for value in self.graph.outputs)
        self.shapes |= {name: array.shape for name, array in self.constants.items()}
        folded = replace(
            self.graph,
            outputs=outputs,
            nodes=tuple(self.nodes),
            constants=self.constants,
            shapes=self.shapes,
            origins=self.origins,
            quantized=self.quantized,
            activations=self.activations,
        )
        needed = {id(node) for node in folded.cone(outputs)}
        return folded.without(lambda node: id(node) in needed)

    def step(self, node: Node) -> None:
        known = {v: self.constants[v] for v in node.inputs if v in self.constants}
        known |= {v: self.values[v] for v in node.inputs if v in self.values}
        complete = all(v in known for v in node.inputs if v)
        if not self.supported(node, [known[v].shape for v in node.inputs if v in known]):
            if node.inputs and node.inputs[0] in known:
                # Only for the report: the shapes of what follows, as if this node were not there.
                self.guessing = True
                self.values[node.out] = known[node.inputs[0]]
            return
        if not complete:  # something before it is not supported, and already reported
            return
        constant = all(v in self.constants for v in node.inputs if v)
        if node.op in QUANTIZERS and not constant:
            self.activation(node)
        elif node.op in PASSING or self.changes_nothing(node, known):
            self.pass_on(node)
        else:
            self.compute(node, known, constant or node.op in SHAPES)

    def supported(self, node: Node, shapes: Sequence[tuple[int, ...]]) -> bool:
        own_domain = not node.domain or node.domain == "com.microsoft"
        if node.op in QUANTIZERS and node.domain in DOMAINS:
            return True
        if node.op in SUPPORTED and own_domain:
            return True
        if len(self.problems) < MAX_REPORTED:
            shape = shapes[0] if shapes else ()
            kind = f"{node.domain}.{node.op}" if node.domain else node.op
            self.problems.append(
                ImportProblem(
                    str(node), kind, shape, "this operation is not supported", nearest(node.op)
                )
            )
        return False

    def compute(self, node: Node, known: dict[str, Array], constant: bool) -> None:
        try:
            if node.op == "Constant":
                results = {node.out: self.constant_node(node)}
            else:
                results = run_node(node, known, self.graph.opsets, self.budget)
        except Refused as error:
            if self.guessing:
                return
            text = str(error).removeprefix(f"node {node} ({node.op}) ")
            self.problems.append(ImportProblem(str(node), node.op, (), text))
            return
        for name, array in results.items():
            self.shapes[name] = array.shape
            if constant:
                self.constants[name] = array
            else:
                self.values[name] = array
            self.budget.live += array.size
        if constant:
            self.remember(node, known)
        else:
            self.nodes.append(node)

    def constant_node(self, node: Node) -> Array:
        for key, value in node.attrs.items():
            if key == "value":
                return read_tensor(value, self.path)
            if key.startswith(("value_float", "value_int")):
                return np.asarray(value, np.float32 if "float" in key else np.int64)
        raise Refused(f"node {node} (Constant) holds neither a tensor nor numbers")

    def remember(self, node: Node, known: dict[str, Array]) -> None:
        """Where a folded constant comes from, and the scale of each of its elements."""
        names = [n for v in node.inputs for n in self.origins.get(v, ())]
        for value in node.outputs:
            self.origins[value] = tuple(dict.fromkeys(names))[:4] or (str(node),)
        if node.op in QUANTIZERS:
            bits = known[node.inputs[3]].reshape(-1)[0] if node.op == "Quant" else 1
            if bits <= WEIGHT_BITS:
                shape = self.constants[node.out].shape
                scale = np.broadcast_to(known[node.inputs[1]], shape)
                self.quantized[node.out] = np.ascontiguousarray(scale)
        elif node.op in MOVEMENT and node.inputs[0] in self.quantized and node.op != "Concat":
            moved = {**known, node.inputs[0]: self.quantized[node.inputs[0]]}
            self.quantized |= run_node(node, moved, self.graph.opsets, Budget())

    def changes_nothing(self, node: Node, known: dict[str, Array]) -> bool:
        """A cast between floats, and adding 0 or multiplying by 1 without a change of shape."""
        if node.op == "Cast":
            kinds = known[node.inputs[0]].dtype.kind, node.attrs.get("to") in (1, 10, 11)
            return kinds == ("f", True)
        neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}.get(node.op)
        if neutral is None:
            return False
        first, second = node.inputs
        if second not in self.constants and node.op in ("Add", "Mul"):
            first, second = second, first
        if second not in self.constants or first in self.constants:
            return False
        shape = known[first].shape
        return bool(
            np.broadcast_shapes(shape, known[second].shape) == shape
            and (known[second] == neutral).all()
        )

    def pass_on(self, node: Node) -> None:
        dynamic = [v for v in node.inputs if v and v not in self.constants]
        source = dynamic[0] if dynamic else node.inputs[0]
        self.alias[node.out] = source
        # It is needed for as long as what it now stands for.
        self.last[source] = max(self.last.get(source, 0), self.last.get(node.out, 0))

    def activation(self, node: Node) -> None:
        """A quantizer of a value that depends on the image: passed by, its scale kept."""
        value, scale = node.inputs[0], self.constants.get(node.inputs[1])
        self.pass_on(node)
        shape = self.shapes.get(value, ())
        if node.op == "BipolarQuant" or scale is None:
            text, fix = "activations have to be integers of 2 to 8 bits with a fixed scale", ""
        elif scale.size != 1:
            text, fix = "it has one scale for each channel", "nearest: one scale a tensor"
        elif (self.constants.get(node.inputs[2], np.ones(1)) != 0).any():
            text, fix = "its zero point is not 0", "nearest: a symmetric quantizer"
        else:
            bits = self.constants.get(node.inputs[3], np.zeros(1)).reshape(-1)[0]
            if levels(node, float(bits))[0] < 0:
                found = float(scale.reshape(-1)[0])
                self.activations[value] = max(found, self.activations.get(value, 0.0))
            else:
                text = f"the unsigned quantizer of {value} is left out: our numbers are signed"
                self.notes.append(Note(str(node), text))
            return
        self.problems.append(ImportProblem(str(node), node.op, shape, text, fix))
