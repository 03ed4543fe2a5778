"""Feed-forward blocks between a LayerNorm and the residual stream: one, or experts behind a gate.

How tokens find their experts is code in as many styles as there are authors. It is not read here
but tried out: gate logits that choose one expert show which weights are that expert's, and random
ones whether the block is a top-k mixture at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hwmoe.model.config import GateScores
from hwmoe.model.loaders.imported import ImportProblem
from hwmoe.model.loaders.onnx.execute import Refused
from hwmoe.model.loaders.onnx.graph import Array, Graph, Node
from hwmoe.model.loaders.onnx.linears import Linear
from hwmoe.model.loaders.onnx.movement import back
from hwmoe.model.loaders.onnx.operators import MOVEMENT, ROUTING
from hwmoe.model.loaders.onnx.patterns import Gelu
from hwmoe.model.loaders.onnx.section import Section, Unmatched

MAX_TOP_K = 8
CHOSEN = 40.0
"""A logit, beside others of -40: exp(-80) leaves nothing to them in float32."""
TOLERANCE = 1e-3
"""Of the largest magnitude: float32 sums in another order stay far below, other maths above."""


@dataclass(frozen=True, eq=False)
class Chain:
    """fc1, GELU, fc2 of M experts (or of one): weights [M, H, D], [M, H], [M, D, H], [M, D]."""

    fc1: Linear
    gelu: Gelu
    fc2: Linear

    def experts(self) -> list[Expert]:
        return [Expert(self, i) for i in range(len(self.fc1.weight))]


@dataclass(frozen=True, eq=False)
class Expert:
    """One feed-forward block: entry ``index`` of a chain."""

    chain: Chain
    index: int

    @property
    def tensors(self) -> tuple[Array, Array, Array, Array]:
        fc1, fc2, i = self.chain.fc1, self.chain.fc2, self.index
        return fc1.weight[i], fc1.bias[i], fc2.weight[i], fc2.bias[i]

    def __call__(self, x: Array) -> Array:
        """The block on [N, D]."""
        w1, b1, w2, b2 = (torch.from_numpy(np.ascontiguousarray(t)) for t in self.tensors)
        how = "tanh" if self.chain.gelu.tanh else "none"
        hidden = F.gelu(F.linear(torch.from_numpy(x), w1, b1), approximate=how)
        return F.linear(hidden, w2, b2).numpy()


@dataclass(frozen=True, eq=False)
class FeedForward:
    """What was found: experts in the order of the gate's logits, or one block without a gate."""

    experts: list[Expert]
    gate: Linear | None
    top_k: int
    shared: Expert | None
    chains: list[Chain]
    gate_scores: GateScores = "topk"


def match_feed_forward(section: Section) -> FeedForward:
    """Read a feed-forward section; `Unmatched` says which node stands in the way."""
    chains = [_chain(section, gelu) for gelu in section.gelus]
    for chain in chains:
        section.claim(*chain.fc1.nodes, *chain.gelu.nodes, *chain.fc2.nodes)
    unique = list({(c.fc1.key, c.fc2.key): c for c in chains}.values())
    inside = {line.out for c in chains for line in (c.fc1, c.fc2)}
    gates = [line for line in section.linears if line.out not in inside]
    experts = [expert for chain in unique for expert in chain.experts()]
    if not gates and len(experts) == 1:
        return FeedForward(experts, None, 1, None, chains)
    if len(gates) != 1:
        node = gates[1].nodes[0] if gates else section.graph.producers[section.after]
        raise Unmatched(
            _problem(section.graph, node, f"{len(gates)} linear layers could be the gate", "one")
        )
    return _mixture(section, chains, experts, gates[0])


def _chain(section: Section, gelu: Gelu) -> Chain:
    graph = section.graph
    before = back(graph, gelu.x, {line.out for line in section.linears})[0]
    fc1 = next((line for line in section.linears if line.out == before), None)
    fc2 = next((li for li in section.linears if back(graph, li.x, {gelu.out})[0] == gelu.out), None)
    if fc1 is None or fc2 is None or len(fc1.weight) != len(fc2.weight):
        text = "it is not between two linear layers of constant weights"
        raise Unmatched(_problem(graph, gelu.nodes[0], text, "fc1, Gelu, fc2"))
    return Chain(fc1, gelu, fc2)


def _mixture(
    section: Section, chains: list[Chain], experts: list[Expert], gate: Linear
) -> FeedForward:
    graph, node = section.graph, gate.nodes[0]
    count = gate.weight.shape[1]
    if gate.weight.shape[0] != 1 or gate.bias.any():
        raise Unmatched(_problem(graph, node, "this gate has a bias", "a gate without bias"))
    if len(experts) not in (count, count + 1):
        text = f"a gate of {count} experts, but {len(experts)} feed-forward blocks"
        raise Unmatched(_problem(graph, node, text, "as many, and at most one shared by all"))
    _only_routing(section, gate)
    try:
        probe = _Probe(section, gate, experts)
        order, shared = probe.order(count)
        top_k, gate_scores = probe.mixing(order, shared)
    except Refused as error:
        text = f"with another routing than the exporter's example it does not run: {error}"
        raise Unmatched(_problem(graph, node, text, "torch.onnx.export(dynamo=True)")) from None
    section.claim(*section.nodes)
    return FeedForward(
        [experts[i] for i in order],
        gate,
        top_k,
        None if shared is None else experts[shared],
        chains,
        gate_scores,
    )


def _only_routing(section: Section, gate: Linear) -> None:
    """Whatever else is in the block may move, choose and weight, but not compute otherwise."""
    allowed = ROUTING | MOVEMENT | {"Add", "Sub", "Mul", "Div", "Softmax"}
    known = section.claimed | {node.out for node in gate.nodes}
    for node in section.nodes:
        if node.out not in known and node.op not in allowed:
            text = "this operation has no place in a mixture of experts"
            raise Unmatched(_problem(section.graph, node, text, "TopK, Softmax, fc1, Gelu, fc2"))


class _Probe:
    """Runs the block on random tokens with gate logits of our choice."""

    def __init__(self, section: Section, gate: Linear, experts: list[Expert]) -> None:
        self.section, self.gate, self.count = section, gate, gate.weight.shape[1]
        self.random = np.random.default_rng(0)
        shape = (section.batch * section.tokens, section.dim)
        self.x = self.random.standard_normal(shape, np.float32)
        self.each = np.stack([expert(self.x) for expert in experts])
        self.scale = float(np.abs(self.each).max()) or 1.0

    def run(self, logits: Array) -> Array:
        """The block's result [N, D] for gate logits [N, E]."""
        shape = self.section.graph.shapes[self.gate.out]
        out = self.section.branch(self.x, {self.gate.out: logits.reshape(shape)})
        return out.reshape(self.x.shape)

    def close(self, found: Array, expected: Array) -> bool:
        return float(np.abs(found - expected).max()) <= TOLERANCE * self.scale

    def order(self, count: int) -> tuple[list[int], int | None]:
        """Which of the blocks each logit chooses, and the one that all tokens pass."""
        alone = []
        for expert in range(count):
            logits = np.full((len(self.x), count), -CHOSEN, np.float32)
            logits[:, expert] = CHOSEN
            alone.append(self.run(logits))
        shared = [None] if len(self.each) == count else list(range(len(self.each)))
        for candidate in shared:
            base = 0 if candidate is None else self.each[candidate]
            hits = [
                [i for i, own in enumerate(self.each) if self.close(result, base + own)]
                for result in alone
            ]
            order = [found[0] for found in hits if found and found[0] != candidate]
            if len(set(order)) == count:
                return order, candidate
        raise Unmatched(self.differs("a large logit does not choose one expert alone", alone[0]))

    def mixing(self, order: list[int], shared: int | None) -> tuple[int, GateScores]:
        """How many experts a token has, and what its scores are a softmax over.

        Tried with random logits, and with such that make all tokens choose the same.
        """
        base = 0 if shared is None else self.each[shared]
        routed = torch.from_numpy(self.each[order])
        even = self.random.standard_normal((len(self.x), self.count), np.float32)
        crowded = even + np.linspace(6, 0, self.count, dtype=np.float32)
        found = [self.run(even), self.run(crowded)]
        for scores, mixing in MIXTURES.items():
            for k in range(1, min(MAX_TOP_K, self.count) + 1):
                close = [
                    self.close(y, base + mixing(torch.from_numpy(g), routed, k).numpy())
                    for y, g in zip(found, (even, crowded), strict=True)
                ]
                if all(close):
                    return k, scores
                if any(close):
                    text = "tokens are dropped when many choose the same expert"
                    raise Unmatched(self.differs(text, found[1]))
        raise Unmatched(self.differs("it is no weighted sum of the top k experts", found[0]))

    def differs(self, text: str, found: Array) -> ImportProblem:
        node = self.gate.nodes[0]
        return ImportProblem(
            str(node), "gate", found.shape, text,
            "nearest: the top k experts with their scores of a softmax over those k, or over all",
        )  # fmt: skip


def _mix(scores: Tensor, chosen: Tensor, experts: Tensor) -> Tensor:
    """Weighted sum [N, D] of ``experts`` [E, N, D]."""
    weights = torch.zeros(experts.shape[1], len(experts)).scatter(1, chosen, scores)
    return torch.einsum("ne,end->nd", weights, experts)


def _over_chosen(logits: Tensor, experts: Tensor, k: int) -> Tensor:
    values, chosen = logits.topk(k)
    return _mix(values.softmax(-1), chosen, experts)


def _over_all(logits: Tensor, experts: Tensor, k: int) -> Tensor:
    return _mix(*logits.softmax(-1).topk(k), experts)


MIXTURES: dict[GateScores, Callable[[Tensor, Tensor, int], Tensor]] = {
    "topk": _over_chosen,
    "all": _over_all,
}
"""They are the same if all experts are chosen; then the first is found."""


def _problem(graph: Graph, node: Node, text: str, near: str) -> ImportProblem:
    return ImportProblem(
        str(node), node.op, graph.shapes.get(node.out, ()), text, f"nearest: {near}"
    )
