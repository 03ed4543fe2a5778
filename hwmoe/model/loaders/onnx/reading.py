"""ONNX files that may come from anyone: read with limits, before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.tensors import MAX_BYTES, declared_bytes, read_tensor

MAX_NODES = 20_000


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
    nodes = [_node(node, path) for node in graph.node if any(node.output)]
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
    attributes = [a.t for node in graph.node for a in node.attribute if a.type == a.TENSOR]
    for tensor in (*graph.initializer, *attributes):
        size = declared_bytes(tensor)
        if size is None:
            problems.append(
                f"{tensor.name or 'a constant'}: a type or shape that hwmoe does not read"
            )
        else:
            total += size
    if len(graph.sparse_initializer):
        problems.append("sparse initializers are not supported; store the weights dense")
    if total > MAX_BYTES:
        problems.append(f"the weights have {total:,} bytes by their shapes, over {MAX_BYTES:,}")
    if problems:
        raise HwmoeError(f"{path} has weights that cannot be read:\n  " + "\n  ".join(problems))
    return {tensor.name: read_tensor(tensor, path) for tensor in graph.initializer}


def _node(proto: Any, path: Path) -> Node:
    helper, numpy_helper = require("onnx.helper"), require("onnx.numpy_helper")
    attrs: dict[str, Any] = {}
    for attribute in proto.attribute:
        # Graphs inside nodes stay closed: no supported operation has one.
        if attribute.type in (attribute.GRAPH, attribute.GRAPHS):
            attrs[attribute.name] = None
            continue
        value = helper.get_attribute_value(attribute)
        if attribute.type == attribute.TENSOR:  # read here, with limits, and nowhere else
            value = numpy_helper.from_array(read_tensor(value, path))
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
