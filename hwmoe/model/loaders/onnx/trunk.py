"""The whole network as sections: embedding, alternating branches of a residual stream, head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hwmoe.model.loaders.imported import ImportProblem
from hwmoe.model.loaders.onnx.attention import Attention, match_attention
from hwmoe.model.loaders.onnx.embedding import Embedding, match_embedding
from hwmoe.model.loaders.onnx.feed_forward import FeedForward, match_feed_forward
from hwmoe.model.loaders.onnx.graph import Graph, Node
from hwmoe.model.loaders.onnx.linears import Linear, find_linears
from hwmoe.model.loaders.onnx.movement import back, moved, numbered
from hwmoe.model.loaders.onnx.operators import nearest
from hwmoe.model.loaders.onnx.patterns import Gelu, Norm, find_gelus, find_norms
from hwmoe.model.loaders.onnx.section import Section, Unmatched

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Layer:
    """One transformer layer: the sections' LayerNorms and contents; ``streams`` after each."""

    norm1: Norm
    attention: Attention
    norm2: Norm
    feed_forward: FeedForward
    streams: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Trunk:
    """One output of a graph, read from the image to the logits."""

    output: str
    embedding: Embedding
    stream: str
    layers: list[Layer]
    norm: Norm
    head: Linear
    gelus: list[Gelu]


def match_trunk(graph: Graph, output: str) -> tuple[Trunk | None, list[ImportProblem]]:
    """Read the part of ``graph`` that makes ``output``; all problems, if there are any."""
    needed = {id(node) for node in graph.cone([output])}
    graph = graph.without(lambda node: id(node) in needed)
    linears, gelus = find_linears(graph), find_gelus(graph)
    norms = [n for n in find_norms(graph) if graph.shapes[n.x][-1] == n.gain.size]
    if len(norms) < 3 or len(norms) % 2 == 0:
        return None, _no_trunk(graph, norms, output)
    streams = [norms[i].x for i in range(len(norms))]
    streams[-1] = back(graph, norms[-1].x, set())[0]
    return _Reading(graph, output, linears, gelus, norms, streams).read()


@dataclass(eq=False)
class _Reading:
    graph: Graph
    output: str
    linears: dict[str, Linear]
    gelus: list[Gelu]
    norms: list[Norm]
    streams: list[str]

    def __post_init__(self) -> None:
        self.problems: list[ImportProblem] = []
        self.claimed: set[str] = {n.out for norm in self.norms for n in norm.nodes}

    def read(self) -> tuple[Trunk | None, list[ImportProblem]]:
        embedding = self.part(lambda: match_embedding(self.graph, self.linears, self.streams[0]))
        if embedding:
            self.claimed |= {node.out for node in embedding.nodes}
        sections = [self.section(i) for i in range(len(self.norms) - 1)]
        attentions = [self.attention(s) for s in sections[::2]]
        blocks = [self.feed_forward(s) for s in sections[1::2]]
        head = self.part(lambda: self.head(embedding))
        if not self.problems:
            self.problems += self.unclaimed()
        if self.problems or embedding is None or head is None:
            return None, self.problems
        layers = [
            Layer(
                self.norms[2 * i],
                attention,
                self.norms[2 * i + 1],
                block,
                (self.streams[2 * i + 1], self.streams[2 * i + 2]),
            )
            for i, (attention, block) in enumerate(zip(attentions, blocks, strict=True))
            if attention is not None and block is not None
        ]
        return Trunk(
            self.output, embedding, self.streams[0], layers, self.norms[-1], head, self.gelus
        ), []

    def part(self, match: Callable[[], Found]) -> Found | None:
        """What ``match`` finds; what it does not becomes a problem."""
        try:
            return match()
        except Unmatched as error:
            self.problems.append(error.problem)
            return None

    def section(self, i: int) -> Section | None:
        section = Section(
            self.graph,
            self.streams[i],
            self.norms[i],
            self.streams[i + 1],
            self.linears,
            self.gelus,
        )
        shape = self.graph.shapes[section.residual]
        outside = section.open_value()
        if len(shape) == 3 and outside is None and self.graph.shapes[section.after] == shape:
            return section
        norm = self.norms[i].nodes[-1]
        text = "what follows it is not one branch of a residual stream [N, T, D]"
        if outside is not None:
            text += f": it needs {outside!r} from elsewhere"
        self.problems.append(
            ImportProblem(
                str(norm),
                norm.op,
                shape,
                text,
                "nearest: x + branch(LayerNorm(x)), again and again",
            )
        )
        return None

    def attention(self, section: Section | None) -> Attention | None:
        if section is None:
            return None
        found = self.part(lambda: match_attention(section))
        self.after(section, found)
        return found

    def feed_forward(self, section: Section | None) -> FeedForward | None:
        if section is None:
            return None
        found = self.part(lambda: match_feed_forward(section))
        self.after(section, found)
        return found

    def after(self, section: Section, found: object) -> None:
        """A section that was read owns its movements and additions too; the check covers them."""
        self.claimed |= section.claimed
        if found is not None:
            plain = section.of_kind("Add", "Reshape", "Transpose", "Squeeze", "Unsqueeze")
            self.claimed |= {node.out for node in plain}

    def head(self, embedding: Embedding | None) -> Linear:
        """The last linear layer; it has to see the class token, and nothing else."""
        graph, norm = self.graph, self.norms[-1]
        node = graph.producers[self.output]
        line = self.linears.get(back(graph, self.output, set(self.linears))[0])
        if line is None:
            raise Unmatched(ImportProblem(
                str(node), node.op, graph.shapes[self.output], "the output is not a linear layer",
                "nearest: the logits; leave out what follows them",
            ))  # fmt: skip
        shape = graph.shapes[self.streams[-1]]
        codes = numbered(shape)
        before = moved(graph, norm.x, {self.streams[-1]: codes})
        assert before is not None
        seen = moved(graph, line.x, {norm.out: before.codes})
        token = 0 if embedding is None else int(embedding.order[0])
        want = codes[:, token] if len(shape) == 3 else codes
        if (
            seen is None
            or seen.factor != 1
            or seen.codes.size != want.size
            or (seen.codes.reshape(want.shape) != want).any()
        ):
            first = line.nodes[0]
            raise Unmatched(ImportProblem(
                str(first), first.op, graph.shapes[line.x],
                "the head does not see the class token of the last LayerNorm",
                "nearest: Gather or Slice of the class token; pooling is not supported",
            ))  # fmt: skip
        for nodes in (
            before.nodes,
            seen.nodes,
            line.nodes,
            back(graph, self.output, {line.out})[1],
        ):
            self.claimed |= {node.out for node in nodes}
        return line

    def unclaimed(self) -> list[ImportProblem]:
        left = [node for node in self.graph.nodes if node.out not in self.claimed]
        return [_left_over(self.graph, node) for node in left]


def _left_over(graph: Graph, node: Node) -> ImportProblem:
    return ImportProblem(
        str(node), node.op, graph.shapes.get(node.out, ()),
        "this operation is part of no structure that was recognized", nearest(node.op),
    )  # fmt: skip


def _no_trunk(graph: Graph, norms: list[Norm], output: str) -> list[ImportProblem]:
    text = (
        f"{len(norms)} LayerNorms lead to it; a pre-norm transformer has two a layer and one "
        "before the head"
    )
    node = graph.producers[output]
    hint = "nearest: x + attention(norm(x)), x + mlp(norm(x)), head(norm(x))"
    used = {n.out for norm in norms for n in norm.nodes}
    odd = [n for n in graph.nodes if n.op in ("ReduceMean", "Tanh", "Erf") and n.out not in used]
    first = ImportProblem(str(node), node.op, graph.shapes[output], text, hint)
    return [first, *(_left_over(graph, n) for n in odd)]
