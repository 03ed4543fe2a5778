"""The start of the network: pixels, patches, class token, positions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwmoe.model.loaders.imported import ImportProblem
from hwmoe.model.loaders.onnx.execute import run
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.linears import Linear
from hwmoe.model.loaders.onnx.movement import moved, numbered
from hwmoe.model.loaders.onnx.section import Unmatched

PROBE = 1 << 12
"""Steps between codes of elements; positions are subtracted before codes are read."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """``weight`` [D, C*ph*pw], ``bias`` [D], ``positions`` [T, D] with the class token in row 0.

    ``order`` [T] says which row of the source each of ours was; ``pixels`` names the normalised
    image.
    """

    patch: tuple[int, int]
    weight: Array
    bias: Array
    scale: Array | None
    positions: Array
    order: Array
    pixels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    nodes: list[Node] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Patches:
    """The value with one vector a patch: codes of ours (patch, channel) in its layout."""

    value: str
    codes: Array
    patch: tuple[int, int]
    weight: Array
    bias: Array
    scale: Array | None
    source: str
    nodes: list[Node]


def match_embedding(graph: Graph, linears: dict[str, Linear], stream: str) -> Embedding:
    """Read all nodes before the residual stream begins; `Unmatched` if they are not ours."""
    pixels, mean, std = _pixels(graph)
    nodes = graph.cone([stream])
    convs = [node for node in nodes if node.op == "Conv"]
    lines = [line for line in linears.values() if line.nodes[0] in nodes]
    if len(convs) + len(lines) != 1:
        node = (convs + [line.nodes[0] for line in lines] + nodes)[-1]
        raise Unmatched(
            _problem(
                graph,
                node,
                f"{len(convs) + len(lines)} layers lie before the first LayerNorm",
                "one Conv or linear layer that makes the patches",
            )
        )
    patches = (
        _from_conv(graph, convs[0], pixels) if convs else _from_linear(graph, lines[0], pixels)
    )
    table, order = _tokens(graph, patches, stream)
    return Embedding(
        patches.patch, patches.weight, patches.bias, patches.scale, table[order], order,
        pixels, mean, std, patches.source, nodes,
    )  # fmt: skip


def _pixels(graph: Graph) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Follow a normalisation by channel from the input: mean and deviation."""
    value, channels = graph.input, graph.shapes[graph.input][1]
    gain, offset = np.ones(channels), np.zeros(channels)
    used: list[Node] = []
    while len(users := graph.consumers.get(value, [])) == 1:
        node = users[0]
        constant = next((v for v in node.inputs if v in graph.constants), None)
        if node.op not in ("Add", "Sub", "Mul", "Div") or constant is None:
            break
        numbers = graph.constants[constant]
        if numbers.size not in (1, channels) or (
            numbers.size > 1 and numbers.shape[-3:] != (channels, 1, 1)
        ):
            break
        if node.op in ("Sub", "Div") and node.inputs[0] in graph.constants:
            raise Unmatched(
                _problem(
                    graph,
                    node,
                    "pixels are subtracted from a constant or divide one",
                    "(pixel - mean) / deviation",
                )
            )
        numbers = np.broadcast_to(numbers.reshape(-1).astype(np.float64), (channels,))
        if node.op in ("Mul", "Div"):
            factor = numbers if node.op == "Mul" else 1 / numbers
            gain, offset = gain * factor, offset * factor
        else:
            offset = offset + (numbers if node.op == "Add" else -numbers)
        used.append(node)
        value = node.out
    if not used:
        return value, (), ()
    if (gain <= 0).any():
        raise Unmatched(
            _problem(graph, used[0], "pixels get a negative factor", "(pixel - mean) / deviation")
        )
    return value, tuple((-offset / gain).tolist()), tuple((1 / gain).tolist())


def _from_conv(graph: Graph, node: Node, pixels: str) -> _Patches:
    weight = graph.constant(node.inputs[1])
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.inputs[0] != pixels or weight is None:
        raise Unmatched(_problem(graph, node, "its input is not the image", "Conv of the image"))
    dim, _, height, width = weight.shape
    attrs = node.attrs
    plain = not any(attrs.get("pads") or [0]) and int(attrs.get("group", 1)) == 1
    plain = plain and all(d == 1 for d in attrs.get("dilations") or (1,))
    if tuple(attrs.get("strides") or (1, 1)) != (height, width) or not plain:
        raise Unmatched(
            _problem(
                graph,
                node,
                "patches overlap, have gaps or are padded",
                "a Conv whose stride is the size of its kernel, without padding",
            )
        )
    batch, _, rows, columns = graph.shapes[node.out]
    codes = numbered((batch, rows * columns, dim)).transpose(0, 2, 1)
    scale = graph.quantized.get(node.inputs[1])
    if scale is not None:
        flat = scale.reshape(dim, -1)
        scale = flat[:, 0] if (flat == flat[:, :1]).all() else None
    return _Patches(
        node.out, codes.reshape(graph.shapes[node.out]), (height, width),
        weight.reshape(dim, -1), np.zeros(dim, np.float32) if bias is None else bias, scale,
        ", ".join(graph.origins.get(node.inputs[1], (node.inputs[1],))), [node],
    )  # fmt: skip


def _from_linear(graph: Graph, line: Linear, pixels: str) -> _Patches:
    """Patches cut by reshapes: the codes of the pixels in each tell size and order."""
    batch, channels, height, width = graph.shapes[graph.input]
    found = moved(graph, line.x, {pixels: numbered((batch, channels, height, width))})
    inner, dim = line.weight.shape[2], line.weight.shape[1]
    node = line.nodes[0]
    if found is None or found.factor != 1 or found.codes.size != batch * channels * height * width:
        raise Unmatched(
            _problem(
                graph, node, "its input is not the image cut into patches", "a Conv of the image"
            )
        )
    codes = found.codes.reshape(batch, -1, inner)
    y, x = codes[0, 0] // width % height, codes[0, 0] % width
    ph, pw = int(y.max()) + 1, int(x.max()) + 1
    cut = numbered((batch, channels, height, width))
    if height % ph or width % pw or ph * pw * channels != inner:
        raise Unmatched(_problem(graph, node, "patches are no rectangles", "a Conv of the image"))
    cut = cut.reshape(batch, channels, height // ph, ph, width // pw, pw)
    cut = cut.transpose(0, 2, 4, 1, 3, 5).reshape(batch, -1, inner)
    place = {int(v): i for i, v in enumerate(cut[0, 0])}
    columns = np.array([place.get(int(v), -1) for v in codes[0, 0]])
    if sorted(columns) != list(range(inner)) or (cut[:, :, columns] != codes).any():
        raise Unmatched(
            _problem(
                graph, node, "patches are not in rows from the top left", "a Conv of the image"
            )
        )
    out = numbered((batch, codes.shape[1], dim)).reshape(graph.shapes[line.out])
    scale = None if line.scale is None else line.scale[0]
    return _Patches(
        line.out, out, (ph, pw), line.weight[0][:, np.argsort(columns)], line.bias[0], scale,
        ", ".join(line.sources), list(line.nodes),
    )  # fmt: skip


def _tokens(graph: Graph, patches: _Patches, stream: str) -> tuple[Array, Array]:
    """Position table [T, D] in the order of the source, and the row of each of our tokens."""
    zeros = np.zeros(graph.shapes[patches.value], np.float32)
    feeds = {graph.input: np.zeros(graph.shapes[graph.input], np.float32), patches.value: zeros}
    table = run(graph, feeds, [stream])[stream].astype(np.float64)
    node = graph.producers[stream]
    hint = "class token and patches in one Concat, and a position table added"
    if table.ndim != 3 or (table != table[:1]).any():
        raise Unmatched(_problem(graph, node, "tokens are not [N, T, D]", hint))
    batch, tokens, dim = table.shape
    # Numbers of patches and channels, one after the other, so that float32 keeps them exact.
    patch, channel = np.divmod(patches.codes, dim)
    rows = []
    for codes in (patch + 1, channel + 1):
        fed = {**feeds, patches.value: codes.astype(np.float32) * PROBE}
        rows.append(np.round((run(graph, fed, [stream])[stream] - table) / PROBE).astype(int) - 1)
    found_patch, found_channel = rows
    free = [t for t in range(tokens) if (found_patch[:, t] == -1).all()]
    count = tokens - 1
    good = len(free) == 1 and tokens * batch - batch == batch * count
    taken = [t for t in range(tokens) if t not in free]
    kept = found_patch[0, taken, 0] if good else np.zeros(0)
    good = good and sorted(kept) == list(range(count))
    good = good and bool((found_channel[:, taken] == np.arange(dim)).all())
    if not good:
        raise Unmatched(_problem(graph, node, "patches do not become tokens one by one", hint))
    order = np.array([free[0], *(taken[i] for i in np.argsort(kept))])
    return table[0].astype(np.float32), order


def _problem(graph: Graph, node: Node, text: str, near: str) -> ImportProblem:
    return ImportProblem(
        str(node), node.op, graph.shapes.get(node.out, ()), text, f"nearest: {near}"
    )
