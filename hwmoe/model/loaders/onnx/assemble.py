"""From the sections of a graph to a configuration and the tensors of `MoEViT`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwmoe.model.config import ModelConfig
from hwmoe.model.loaders.imported import ImportProblem, Note
from hwmoe.model.loaders.onnx.feed_forward import Expert
from hwmoe.model.loaders.onnx.graph import Array, Graph
from hwmoe.model.loaders.onnx.trunk import Layer, Trunk


@dataclass
class Assembled:
    """Tensors, the places they come from, and quantizer scales, by the names of our tensors."""

    state: dict[str, Array] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    scales: dict[str, Array] = field(default_factory=dict)
    sites: dict[str, list[str]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def put(self, name: str, value: Array, source: str, scale: Array | None = None) -> None:
        self.state[name], self.sources[name] = value, source
        if scale is not None:
            self.scales[name] = scale

    def layer(self, name: str, weight: Array, bias: Array, source: str) -> None:
        self.put(f"{name}.weight", weight, source)
        self.put(f"{name}.bias", bias, source)

    def site(self, name: str, *values: str) -> None:
        self.sites.setdefault(name, []).extend(values)


def assemble(graph: Graph, trunks: Sequence[Trunk], name: str) -> tuple[ModelConfig, Assembled]:
    """One model of one trunk a task; `HwmoeError` for sizes the machine does not have."""
    parts = Assembled()
    first = trunks[0]
    _embedding(parts, graph, first)
    for i, layer in enumerate(first.layers):
        _layer(parts, f"blocks.{i}", layer, [trunk.layers[i] for trunk in trunks])
    _norm(parts, "norm", first.norm.gain, first.norm.bias, first.norm.sources)
    for task, trunk in enumerate(trunks):
        head = trunk.head
        parts.layer(f"heads.{task}", head.weight[0], head.bias[0], ", ".join(head.sources))
        if head.scale is not None:
            parts.scales[f"heads.{task}.weight"] = head.scale[0]
        parts.site("norm", trunk.norm.out, trunk.head.x)
    if any(gelu.tanh for gelu in first.gelus):
        parts.notes.append(
            Note("Gelu", "its approximation with tanh was replaced by the exact GELU")
        )
    return ModelConfig.parse(_config(graph, trunks, name), f"the model in {name}"), parts


def _config(graph: Graph, trunks: Sequence[Trunk], name: str) -> dict[str, Any]:
    first = trunks[0]
    blocks = [layer.feed_forward for layer in first.layers]
    moe = [i for i, block in enumerate(blocks) if block.gate is not None]
    dense = [b.experts[0].tensors[0].shape[0] for b in blocks if b.gate is None]
    experts = [b for b in blocks if b.gate is not None]
    _, channels, height, width = graph.shapes[graph.input]
    config: dict[str, Any] = {
        "name": clean(name, 64),
        "image": (height, width),
        "patch": first.embedding.patch,
        "channels": channels,
        "dim": first.norm.gain.size,
        "heads": first.layers[0].attention.heads,
        "depth": len(first.layers),
        "dense_hidden": dense[0] if dense else 1,
        "moe_layers": moe,
        "tasks": [
            {"name": task, "classes": trunk.head.weight.shape[1]}
            for task, trunk in zip(task_names(trunks), trunks, strict=True)
        ],
        "norm_eps": float(first.norm.eps),
        "pixel_mean": first.embedding.mean,
        "pixel_std": first.embedding.std,
    }
    if experts:
        shared = experts[0].shared
        config |= {
            "experts": len(experts[0].experts),
            "top_k": experts[0].top_k,
            "gate_scores": experts[0].gate_scores,
            "expert_hidden": experts[0].experts[0].tensors[0].shape[0],
            "shared_hidden": 0 if shared is None else shared.tensors[0].shape[0],
        }
    return config


def clean(name: str, length: int) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:length] or "model"


def task_names(trunks: Sequence[Trunk]) -> list[str]:
    """Names of the outputs, made different and fit for a configuration."""
    names = [clean(trunk.output, 32) for trunk in trunks]
    if len(set(names)) < len(names):
        return [f"task{i}" for i in range(len(names))]
    return names


def _norm(parts: Assembled, name: str, gain: Array, bias: Array, sources: tuple[str, str]) -> None:
    parts.put(f"{name}.weight", gain, sources[0])
    parts.put(f"{name}.bias", bias, sources[1])


def _embedding(parts: Assembled, graph: Graph, trunk: Trunk) -> None:
    found = trunk.embedding
    parts.layer("patch_embed", found.weight, found.bias, found.source)
    if found.scale is not None:
        parts.scales["patch_embed.weight"] = found.scale
    dim = found.weight.shape[0]
    token = np.zeros(dim, np.float32)
    for node in (node for node in found.nodes if node.op == "Concat"):
        for value in node.inputs:
            producer = graph.producers.get(value)
            if value not in graph.constants and producer and producer.op == "Expand":
                value = producer.inputs[0]
            stored = graph.constants.get(value)
            if stored is not None and stored.size % dim == 0 and stored.shape[-1] == dim:
                token = stored.reshape(-1, dim)[0]
    positions = found.positions.copy()
    positions[0] -= token
    parts.put("cls_token", token, "constants before the first LayerNorm")
    parts.put("pos_embed", positions, "constants before the first LayerNorm")
    parts.site("input", found.pixels)
    if (found.order != np.arange(len(found.order))).any():
        parts.notes.append(Note("tokens", "reordered: the class token first, then rows of patches"))


def _layer(parts: Assembled, name: str, layer: Layer, tasks: Sequence[Layer]) -> None:
    _norm(parts, f"{name}.norm1", layer.norm1.gain, layer.norm1.bias, layer.norm1.sources)
    _norm(parts, f"{name}.norm2", layer.norm2.gain, layer.norm2.bias, layer.norm2.sources)
    found = layer.attention
    for part, pair in (("qkv", found.qkv), ("proj", found.proj)):
        parts.layer(f"{name}.{part}", *pair, found.sources[part])
    parts.scales |= {f"{name}.{key}": value for key, value in found.scales.items()}
    if found.reordered:
        parts.notes.append(Note(f"{name}.qkv", "channels reordered: q, k, v, then head by head"))
    if found.rescaled:
        parts.notes.append(
            Note(f"{name}.qkv", "the scale of attention differs from 1/sqrt(d): put into q")
        )
    for each in tasks:
        for site, values in each.attention.sites.items():
            parts.site(f"{name}.{site}", *values)
        parts.site(f"{name}.norm1", each.norm1.out)
        parts.site(f"{name}.norm2", each.norm2.out)
        _sites(parts, name, each)
    if layer.feed_forward.gate is None:
        _expert(parts, f"{name}.mlp", layer.feed_forward.experts[0])
    else:
        _experts(parts, f"{name}.moe", tasks)


def _sites(parts: Assembled, name: str, layer: Layer) -> None:
    block = layer.feed_forward
    own = f"{name}.moe" if block.gate is not None else f"{name}.mlp"
    for chain in block.chains:
        shared = block.shared is not None and chain is block.shared.chain
        site = f"{own}.shared" if shared else own
        parts.site(f"{site}.fc1", chain.fc1.out, chain.gelu.x)
        parts.site(f"{site}.gelu", chain.gelu.out, chain.fc2.x)
        parts.site(f"{name}.norm2", chain.fc1.x)


def _expert(parts: Assembled, name: str, expert: Expert) -> None:
    w1, b1, w2, b2 = expert.tensors
    for fc, line, weight, bias in (
        ("fc1", expert.chain.fc1, w1, b1),
        ("fc2", expert.chain.fc2, w2, b2),
    ):
        parts.layer(f"{name}.{fc}", weight, bias, ", ".join(line.sources))
        if line.scale is not None:
            parts.scales[f"{name}.{fc}.weight"] = line.scale[expert.index]


def _experts(parts: Assembled, name: str, tasks: Sequence[Layer]) -> None:
    block = tasks[0].feed_forward
    gates = [layer.feed_forward.gate for layer in tasks]
    present = [gate for gate in gates if gate is not None]
    parts.put(
        f"{name}.gate",
        np.stack([gate.weight[0] for gate in present]),
        ", ".join(s for gate in present for s in gate.sources),
    )
    scales = [gate.scale[0] for gate in present if gate.scale is not None]
    if len(scales) == len(present):
        parts.scales[f"{name}.gate"] = np.stack(scales)
    stacked = [np.stack(t) for t in zip(*(e.tensors for e in block.experts), strict=True)]
    for fc, weight, bias in (("fc1", *stacked[:2]), ("fc2", *stacked[2:])):
        lines = [getattr(expert.chain, fc) for expert in block.experts]
        names = dict.fromkeys(s for line in lines for s in line.sources)
        parts.layer(f"{name}.{fc}", weight, bias, ", ".join(names))
        each = [
            line.scale[e.index]
            for line, e in zip(lines, block.experts, strict=True)
            if line.scale is not None
        ]
        if len(each) == len(lines):
            parts.scales[f"{name}.{fc}.weight"] = np.stack(each)
    if block.shared is not None:
        _expert(parts, f"{name}.shared", block.shared)


def activation_scales(parts: Assembled, graph: Graph) -> dict[str, Array]:
    """Scale of each of our tensors that a QONNX node rounds; of several, the largest."""
    found = {}
    for site, values in parts.sites.items():
        scales = [graph.activations[v] for v in values if v in graph.activations]
        if scales:
            found[site] = np.asarray(max(scales))
    return found


def differences(trunks: Sequence[Trunk]) -> list[ImportProblem]:
    """What keeps the layers, or the tasks, of a network from being one `MoEViT`."""
    problems = []
    norms = [n for t in trunks for layer in t.layers for n in (layer.norm1, layer.norm2)]
    eps = {float(np.float32(n.eps)) for n in [*norms, *(t.norm for t in trunks)]}
    facts: dict[str, set[Any]] = {"epsilon of LayerNorm": eps}
    blocks = [layer.feed_forward for t in trunks for layer in t.layers]
    dense, sparse = [b for b in blocks if b.gate is None], [b for b in blocks if b.gate is not None]
    facts["heads"] = {layer.attention.heads for t in trunks for layer in t.layers}
    facts["hidden size of dense layers"] = {b.experts[0].tensors[0].shape[0] for b in dense}
    facts["number of experts"] = {len(b.experts) for b in sparse}
    facts["experts a token"] = {b.top_k for b in sparse}
    facts["what the scores are a softmax over"] = {b.gate_scores for b in sparse}
    facts["hidden size of experts"] = {e.tensors[0].shape[0] for b in sparse for e in b.experts}
    facts["hidden size of shared experts"] = {
        0 if b.shared is None else b.shared.tensors[0].shape[0] for b in sparse
    }
    for name, values in facts.items():
        if len(values) > 1:
            text = f"differs between layers: {', '.join(map(str, sorted(values)))}"
            problems.append(ImportProblem(name, "option", (), text, "it must be one for all"))
    return problems + _between_tasks(trunks)


def _between_tasks(trunks: Sequence[Trunk]) -> list[ImportProblem]:
    """Tasks share everything but gates and heads."""
    first = trunks[0]
    problems = []
    for other in trunks[1:]:
        pairs: list[tuple[str, Array, Array]] = [("norm", first.norm.gain, other.norm.gain)]
        if len(first.layers) != len(other.layers):
            text = f"{len(first.layers)} layers, but {len(other.layers)} of {first.output}"
            problems.append(ImportProblem(other.output, "output", (), text, "outputs share layers"))
            continue
        for i, (a, b) in enumerate(zip(first.layers, other.layers, strict=True)):
            pairs.append((f"blocks.{i}.qkv", a.attention.qkv[0], b.attention.qkv[0]))
            pairs.append((f"blocks.{i}.proj", a.attention.proj[0], b.attention.proj[0]))
            for e, f in zip(a.feed_forward.experts, b.feed_forward.experts, strict=False):
                pairs.append((f"blocks.{i}", e.tensors[0], f.tensors[0]))
        for name, x, y in pairs:
            if not np.array_equal(x, y):
                text = f"its weights differ from those for {first.output}"
                problems.append(
                    ImportProblem(
                        f"{other.output}: {name}",
                        "weight",
                        y.shape,
                        text,
                        "tasks share all but gates and heads",
                    )
                )
    return problems


def tensors(arrays: dict[str, Array]) -> dict[str, Tensor]:
    return {k: torch.from_numpy(np.array(v, np.float32, order="C")) for k, v in arrays.items()}
