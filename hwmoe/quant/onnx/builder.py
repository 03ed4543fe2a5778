"""Writes an ONNX graph node by node; equal nodes on equal inputs become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hwmoe.model.loaders.onnx.extra import require

Array = npt.NDArray[Any]

OPSET = 21
"""The first with QuantizeLinear to int16."""
IR_VERSION = 10


class GraphBuilder:
    """Nodes and initializers of one graph; values are their names."""

    def __init__(self) -> None:
        self.helper, self.numpy_helper = require("onnx.helper"), require("onnx.numpy_helper")
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._made: dict[tuple[Any, ...], str] = {}
        self._constants: dict[tuple[Any, ...], str] = {}

    def constant(self, array: Array, name: str) -> str:
        """An initializer; the name gets a number if another array has it already."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            unique = self._unique(name, self.initializers)
            tensor = self.numpy_helper.from_array(np.array(array, order="C"), unique)
            self.initializers[unique] = tensor
            self._constants[key] = unique
        return self._constants[key]

    def number(self, value: float, name: str = "number") -> str:
        return self.constant(np.asarray(value, np.float32), name)

    def axis(self, *values: int) -> str:
        return self.constant(np.asarray(values, np.int64), "indices")

    def node(self, op: str, *inputs: str, name: str = "", **attrs: Any) -> str:
        """The output of a node; the same as before if one like it exists."""
        return self.nodes_out(op, inputs, 1, name, **attrs)[0]

    def nodes_out(
        self, op: str, inputs: tuple[str, ...], count: int, name: str = "", **attrs: Any
    ) -> list[str]:
        key = (op, inputs, tuple(sorted((k, str(v)) for k, v in attrs.items())))
        if key not in self._made:
            label = self._unique(name or op, {node.name for node in self.nodes})
            outputs = [label if i == 0 else f"{label}:{i}" for i in range(count)]
            self.nodes.append(self.helper.make_node(op, inputs, outputs, label, **attrs))
            self._made[key] = label
        first = self._made[key]
        return [first if i == 0 else f"{first}:{i}" for i in range(count)]

    def rounded(self, value: str, scale: float, dtype: npt.DTypeLike, name: str) -> str:
        """``value`` rounded to integers of ``dtype`` at ``scale``, as floats again."""
        step = self.number(scale, f"{name}.scale")
        zero = self.constant(np.zeros((), dtype), f"zero.{np.dtype(dtype).name}")
        whole = self.node("QuantizeLinear", value, step, zero, name=f"{name}.quantize")
        return self.node("DequantizeLinear", whole, step, zero, name=name)

    def stored(self, whole: Array, scale: Array, axis: int, name: str) -> str:
        """Integers kept as an initializer, as floats: one scale for each index of ``axis``."""
        codes = self.constant(whole, f"{name}.int")
        steps = self.constant(scale.astype(np.float32), f"{name}.scale")
        zero = self.constant(np.zeros(scale.shape, whole.dtype), f"zero.{whole.dtype}")
        return self.node("DequantizeLinear", codes, steps, zero, name=name, axis=axis)

    @staticmethod
    def _unique(name: str, taken: Any) -> str:
        if name not in taken:
            return name
        return next(f"{name}.{i}" for i in range(1, len(taken) + 2) if f"{name}.{i}" not in taken)

    def model(self, inputs: list[Any], outputs: list[Any], metadata: dict[str, str]) -> Any:
        graph = self.helper.make_graph(
            self.nodes, "hwmoe", inputs, outputs, list(self.initializers.values())
        )
        model = self.helper.make_model(
            graph,
            opset_imports=[self.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="hwmoe",
        )
        self.helper.set_model_props(model, metadata)
        return model
