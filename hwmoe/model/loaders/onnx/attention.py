"""Multi-head attention between a LayerNorm and the residual stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwmoe.model.loaders.imported import ImportProblem
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.linears import Linear
from hwmoe.model.loaders.onnx.movement import Codes, Moved, moved, numbered
from hwmoe.model.loaders.onnx.section import Section, Unmatched


@dataclass(frozen=True, eq=False)
class Attention:
    """Weights in our order (q, k, v; heads; channels): ``qkv`` [3D, D], ``proj`` [D, D].

    ``sites`` names the values that are our ``q``, ``k``, ``v`` and ``attn``, before and after they
    were moved.
    """

    heads: int
    qkv: tuple[Array, Array]
    proj: tuple[Array, Array]
    scales: dict[str, Array]
    sites: dict[str, list[str]]
    sources: dict[str, str]
    reordered: bool
    rescaled: bool


@dataclass(frozen=True)
class _Product:
    """A product of two values; each operand's axes as (batch..., free, contracted)."""

    node: Node
    left: tuple[int, ...]
    right: tuple[int, ...]
    result: tuple[int, ...]  # axes of the result as (batch..., left free, right free)


def _product(graph: Graph, node: Node) -> _Product | None:
    if len(graph.dynamic_inputs(node)) != 2:
        return None
    rank = len(graph.shapes[node.out])
    if node.op == "MatMul":
        batch = tuple(range(rank - 2))
        plain = (*batch, rank - 2, rank - 1)
        return _Product(node, plain, (*batch, rank - 1, rank - 2), plain)
    if node.op != "Einsum":
        return None
    left, _, right = str(node.attrs["equation"]).replace(" ", "").partition("->")
    a, b = left.split(",")
    inner = [c for c in a if c in b and c not in right]
    shared = [c for c in right if c in a and c in b]
    free_a, free_b = [c for c in a if c not in b], [c for c in b if c not in a]
    if not len(inner) == len(free_a) == len(free_b) == 1:
        return None
    return _Product(
        node,
        tuple(a.index(c) for c in [*shared, *free_a, *inner]),
        tuple(b.index(c) for c in [*shared, *free_b, *inner]),
        tuple(right.index(c) for c in [*shared, *free_a, *free_b]),
    )


def match_attention(section: Section) -> Attention:
    """Read an attention section; `Unmatched` says which node stands in the way."""
    graph = section.graph
    softmax = section.one("Softmax")
    scores, products = _scores(section, softmax)
    mix = products[1]
    tokens, dim = section.tokens, section.dim
    batch = section.batch
    lines = [line for line in section.linears if line.weight.shape[0] == 1]
    codes = {
        line.out: numbered((batch * tokens, line.weight.shape[1])).reshape(graph.shapes[line.out])
        for line in lines
        if graph.shapes[line.out][-1] == line.weight.shape[1]
    }
    by_out = {line.out: line for line in lines}
    first = products[0]
    query = _operand(section, first.node.inputs[0], first.left, codes)
    key = _operand(section, first.node.inputs[1], first.right, codes)
    probs_first = graph.producers.get(mix.node.inputs[0]) is softmax
    if not probs_first:
        raise Unmatched(_problem(graph, mix.node, "its left side is not the softmax"))
    # Of the second product the contracted axis is the token, the free one the channel.
    swapped = (*mix.right[:-2], mix.right[-1], mix.right[-2])
    value = _operand(section, mix.node.inputs[1], swapped, codes)
    groups = query.codes.reshape(-1, tokens, query.codes.shape[-1]).shape[0]
    heads, size = groups // batch, query.codes.shape[-1]
    if heads * batch != groups or heads * size != dim:
        raise Unmatched(_problem(graph, softmax, f"{groups // batch} heads of {size} of {dim}"))
    rows = [
        _channels(section, part, by_out[part.source], heads, size, softmax)
        for part in (query, key, value)
    ]
    scale = query.factor * key.factor * scores.factor
    ratio = scale * math.sqrt(size)
    rescaled = not math.isclose(ratio, 1, rel_tol=1e-4)
    weights, biases, scales = _gather(section, rows, (query, key, value), by_out)
    weights[0], biases[0] = weights[0] * ratio, biases[0] * ratio
    if rescaled or value.factor != 1:
        scales = []
    weights[2], biases[2] = weights[2] * value.factor, biases[2] * value.factor
    proj, columns = _output(section, mix, heads, size)
    straight = all((r == np.arange(r[0], r[0] + dim)).all() for r in rows)
    straight = straight and (columns == np.arange(dim)).all()
    found: dict[str, Array] = {}
    if scales:
        found["qkv.weight"] = np.concatenate(scales)
    if proj.scale is not None:
        found["proj.weight"] = proj.scale[0]
    inputs = {part.source for part in (query, key, value)}
    if any(section.norm_of(by_out[name].x) is None for name in inputs):
        raise Unmatched(_problem(graph, softmax, "q, k and v are not made of the LayerNorm"))
    used = [by_out[part.source] for part in (query, key, value)]
    section.claim(softmax, first.node, mix.node, *scores.nodes, *query.nodes, *key.nodes)
    section.claim(*value.nodes, *(node for line in (*used, proj) for node in line.nodes))
    names = dict.fromkeys(s for line in used for s in line.sources)
    return Attention(
        heads,
        (np.concatenate(weights), np.concatenate(biases)),
        (proj.weight[0][:, columns], proj.bias[0]),
        found,
        {
            "norm1": [line.x for line in used],
            "q": query.unscaled,
            "k": key.unscaled,
            "v": value.unscaled,
            "attn": [mix.node.out, proj.x],
        },
        {"qkv": ", ".join(names), "proj": ", ".join(proj.sources)},
        not straight,
        rescaled,
    )


def _scores(section: Section, softmax: Node) -> tuple[Moved, list[_Product]]:
    """The two products, and what is between the first and the softmax."""
    graph = section.graph
    rank = len(graph.shapes[softmax.inputs[0]])
    if int(softmax.attrs.get("axis", -1)) % rank != rank - 1:
        raise Unmatched(_problem(graph, softmax, "it does not run over the last axis"))
    products = [p for node in section.nodes if (p := _product(graph, node))]
    before = [p for p in products if moved(graph, softmax.inputs[0], {p.node.out: _of(graph, p)})]
    after = [p for p in products if softmax.out in p.node.inputs]
    if len(before) != 1 or len(after) != 1:
        raise Unmatched(
            _problem(graph, softmax, "it is not between two products of queries, keys and values")
        )
    found = moved(graph, softmax.inputs[0], {before[0].node.out: _of(graph, before[0])})
    assert found is not None
    return found, [before[0], after[0]]


def _of(graph: Graph, product: _Product) -> Codes:
    return numbered(graph.shapes[product.node.out])


def _operand(section: Section, value: str, axes: tuple[int, ...], codes: dict[str, Codes]) -> Moved:
    """Codes of one side of a product as (groups, tokens, channels)."""
    found = moved(section.graph, value, codes)
    node = section.graph.producers.get(value)
    if found is None:
        assert node is not None
        text = "this side of the attention product is not a linear layer, moved"
        raise Unmatched(_problem(section.graph, node, text))
    turned = found.codes.transpose(axes)
    return Moved(turned.reshape(-1, *turned.shape[-2:]), found.factor, found.source, found.nodes)


def _channels(
    section: Section, part: Moved, line: Linear, heads: int, size: int, softmax: Node
) -> Codes:
    """Output channels of ``line`` in our order (head, channel); tokens must be where they were."""
    width = line.weight.shape[1]
    token, channel = np.divmod(part.codes, width)
    want = np.arange(section.batch * section.tokens).reshape(section.batch, 1, -1, 1)
    shaped = token.reshape(section.batch, heads, section.tokens, size)
    channels = channel.reshape(section.batch, heads, section.tokens, size)
    if (shaped != want).any() or (channels != channels[:1, :, :1]).any():
        raise Unmatched(_problem(section.graph, softmax, "tokens or channels are mixed up"))
    rows: Codes = channels[0, :, 0].reshape(-1)
    return rows


def _gather(
    section: Section, rows: list[Codes], parts: tuple[Moved, ...], lines: dict[str, Linear]
) -> tuple[list[Array], list[Array], list[Array]]:
    chosen = [(lines[p.source], r) for p, r in zip(parts, rows, strict=True)]
    weights = [line.weight[0][r] for line, r in chosen]
    biases = [line.bias[0][r] for line, r in chosen]
    scales = [line.scale[0][r] for line, r in chosen if line.scale is not None]
    return weights, biases, scales if len(scales) == len(chosen) else []


def _output(section: Section, mix: _Product, heads: int, size: int) -> tuple[Linear, Codes]:
    """The output projection and, for each of our channels, its column."""
    graph, tokens, dim = section.graph, section.tokens, section.dim
    ours = numbered((section.batch, tokens, heads, size)).transpose(0, 2, 1, 3)
    turned_shape = tuple(graph.shapes[mix.node.out][axis] for axis in mix.result)
    turned = ours.reshape(turned_shape)
    codes = turned.transpose(np.argsort(mix.result))
    for line in section.linears:
        found = moved(graph, line.x, {mix.node.out: np.ascontiguousarray(codes)})
        if found is None or line.weight.shape[1:] != (dim, dim):
            continue
        token, channel = np.divmod(found.codes.reshape(-1, dim), dim)
        if (token != np.arange(len(token))[:, None]).any() or (channel != channel[:1]).any():
            raise Unmatched(_problem(graph, mix.node, "tokens are mixed up before the projection"))
        section.claim(*found.nodes)
        if found.factor != 1:
            raise Unmatched(_problem(graph, mix.node, "its result is scaled"))
        return line, np.argsort(channel[0])
    raise Unmatched(_problem(graph, mix.node, "no output projection follows"))


def _problem(graph: Graph, node: Node, text: str) -> ImportProblem:
    return ImportProblem(
        str(node), node.op, graph.shapes.get(node.out, ()), text,
        "nearest: qkv, softmax(q k^T / sqrt(d)) v, proj, without mask or bias",
    )  # fmt: skip
