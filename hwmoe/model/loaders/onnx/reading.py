"""ONNX files that may come from anyone: read with limits, before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node

MAX_BYTES = 2**31 - 1
"""Of the file, and of all weights together: what one protobuf message can hold."""
MAX_NODES = 100_000
MAX_RANK = 8
EXTERNAL = 1  # TensorProto.EXTERNAL
DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
"""TensorProto.DataType -> NumPy, for the types a vision transformer is made of."""


def read_graph(path: Path) -> tuple[Graph, Any]:
    """The graph of an ONNX file and its input as the file declares it (ValueInfoProto).

    Raises `HwmoeError` for a file that is not a sound ONNX model: not protobuf, too large, with
    cycles, with weights outside its folder or of another size than declared.
    """
    model = _parse(path)
    graph = model.graph
    if not graph.node or not graph.output:
        raise HwmoeError(f"{path} is not an ONNX model: it has no nodes or no outputs")
    if len(graph.node) > MAX_NODES:
        raise HwmoeError(f"{path} has {len(graph.node):,} nodes; the limit is {MAX_NODES:,}")
    constants = _weights(path, graph)
    nodes = [_node(node) for node in graph.node if any(node.output)]
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise HwmoeError(
            f"{path} has {len(inputs)} inputs ({names}); hwmoe imports models with one: images "
            "[N, C, H, W]"
        )
    opsets = {entry.domain or "": entry.version for entry in model.opset_import}
    ordered = _ordered(path, nodes, {inputs[0].name, *constants})
    outputs = tuple(value.name for value in graph.output)
    missing = [v for v in outputs if v not in {o for node in nodes for o in node.outputs}]
    if missing:
        raise HwmoeError(f"{path}: no node computes the output {missing[0]!r}")
    whole = Graph(inputs[0].name, outputs, ordered, constants, opsets)
    # What no output depends on is never looked at again.
    needed = {id(node) for node in whole.cone(outputs)}
    return whole.without(lambda node: id(node) in needed), inputs[0]


def _parse(path: Path) -> Any:
    onnx = require("onnx")
    decode_error = require("google.protobuf.message").DecodeError
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise HwmoeError(f"{path} does not exist; check the path")
    if not path.is_file():
        raise HwmoeError(f"{path} is not a file; give the .onnx file itself")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise HwmoeError(f"{path} has {size:,} bytes; an ONNX file has at most {MAX_BYTES:,}")
        content = path.read_bytes()
    except OSError as error:
        raise HwmoeError(f"{path} cannot be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (decode_error, RecursionError) as error:
        raise HwmoeError(f"{path} is not an ONNX file: {error}") from None
    if not model.ir_version or not model.opset_import:
        raise HwmoeError(f"{path} is not an ONNX model: it states no version of ONNX")
    return model


def _weights(path: Path, graph: Any) -> dict[str, Array]:
    """All initializers; their declared sizes are added up before the first is built."""
    problems, total = [], 0
    for tensor in graph.initializer:
        size = _declared(tensor)
        if size is None:
            problems.append(f"{tensor.name}: a type or shape that hwmoe does not read")
        else:
            total += size
    if len(graph.sparse_initializer):
        problems.append("sparse initializers are not supported; store the weights dense")
    if total > MAX_BYTES:
        problems.append(f"the weights have {total:,} bytes by their shapes, over {MAX_BYTES:,}")
    if problems:
        raise HwmoeError(f"{path} has weights that cannot be read:\n  " + "\n  ".join(problems))
    return {tensor.name: read_tensor(tensor, path) for tensor in graph.initializer}


def _declared(tensor: Any) -> int | None:
    """Bytes that the shape of a TensorProto asks for; None if it makes no sense."""
    dims = list(tensor.dims)
    if tensor.data_type not in DTYPES or len(dims) > MAX_RANK or any(d < 0 for d in dims):
        return None
    return int(math.prod(dims) * np.dtype(DTYPES[tensor.data_type]).itemsize)


def read_tensor(tensor: Any, path: Path) -> Array:
    """A TensorProto as NumPy array; its data must have exactly the declared size."""
    size = _declared(tensor)
    name = tensor.name or "a constant"
    if size is None or size > MAX_BYTES:
        raise HwmoeError(f"{path}: {name} has a type or shape that hwmoe does not read")
    dtype = np.dtype(DTYPES[tensor.data_type])
    if tensor.data_location == EXTERNAL:
        content = _external(tensor, path, size)
    elif tensor.raw_data:
        content = tensor.raw_data
    else:
        return _typed_fields(tensor, path, name, size // dtype.itemsize)
    if len(content) != size:
        raise HwmoeError(
            f"{path}: {name} of shape {list(tensor.dims)} needs {size:,} bytes and has "
            f"{len(content):,}"
        )
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(tensor.dims)


def _typed_fields(tensor: Any, path: Path, name: str, count: int) -> Array:
    """Values stored as numbers instead of bytes."""
    stored = max(
        len(tensor.float_data),
        len(tensor.int32_data),
        len(tensor.int64_data),
        len(tensor.double_data),
    )
    if stored != count:
        raise HwmoeError(
            f"{path}: {name} of shape {list(tensor.dims)} needs {count:,} values and has {stored:,}"
        )
    array: Array = require("onnx.numpy_helper").to_array(tensor)
    return array


def _external(tensor: Any, path: Path, size: int) -> bytes:
    """Bytes of a tensor that lies in a file beside the model, and nowhere else."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.absolute().parent.resolve()
    location = entries.get("location", "")
    place = (folder / location).resolve() if location else folder
    if Path(location).is_absolute() or folder not in place.parents:
        raise HwmoeError(
            f"{path}: the data of {tensor.name} lie in {location!r}, outside the model's folder"
        )
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    except ValueError:
        raise HwmoeError(f"{path}: {tensor.name} has an offset that is no number") from None
    try:
        available = place.stat().st_size if place.is_file() else -1
        if available < 0:
            raise HwmoeError(f"{path}: the file {location!r} with its weights is missing")
        if offset < 0 or length != size or offset + length > available:
            raise HwmoeError(
                f"{path}: {tensor.name} needs {size:,} bytes at {offset:,} of {location!r}, which "
                f"has {available:,}"
            )
        with place.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise HwmoeError(f"{path}: {location!r} cannot be read: {error.strerror}") from None


def _node(proto: Any) -> Node:
    helper = require("onnx.helper")
    attrs: dict[str, Any] = {}
    for attribute in proto.attribute:
        # Graphs inside nodes stay closed: no supported operation has one.
        if attribute.type in (attribute.GRAPH, attribute.GRAPHS):
            attrs[attribute.name] = None
            continue
        value = helper.get_attribute_value(attribute)
        attrs[attribute.name] = (
            value.decode(errors="replace") if isinstance(value, bytes) else value
        )
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return Node(proto.op_type, domain, proto.name, tuple(proto.input), tuple(proto.output), attrs)


def _ordered(path: Path, nodes: list[Node], known: Iterable[str]) -> tuple[Node, ...]:
    """The nodes so that each follows those it needs; `HwmoeError` for cycles and loose ends."""
    known = set(known)
    produced: dict[str, Node] = {}
    for node in nodes:
        for value in filter(None, node.outputs):
            if value in produced or value in known:
                raise HwmoeError(f"{path}: two nodes compute {value!r}")
            produced[value] = node
    loose = sorted(
        {v for node in nodes for v in node.inputs if v and v not in produced and v not in known}
    )
    if loose:
        raise HwmoeError(f"{path}: nothing computes {', '.join(map(repr, loose[:5]))}")
    return _sorted(path, nodes, produced)


def _sorted(path: Path, nodes: list[Node], produced: Mapping[str, Node]) -> tuple[Node, ...]:
    """Kahn's algorithm: a node is ready when all that it needs has run."""
    waiting = {id(node): len({v for v in node.inputs if v in produced}) for node in nodes}
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for value in set(node.inputs):
            users.setdefault(value, []).append(node)
    ready = [node for node in nodes if not waiting[id(node)]]
    order: list[Node] = []
    for node in ready:  # grows while it is walked
        order.append(node)
        for value in filter(None, node.outputs):
            for user in users.get(value, []):
                waiting[id(user)] -= 1
                if not waiting[id(user)]:
                    ready.append(user)
    if len(order) < len(nodes):
        stuck = [str(node) for node in nodes if waiting[id(node)]]
        raise HwmoeError(f"{path}: the graph has a cycle through {', '.join(stuck[:5])}")
    return tuple(order)
