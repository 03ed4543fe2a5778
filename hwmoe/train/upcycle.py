"""A model with experts from a dense one, as MoTE starts: the trained block stays, shared by all.

H. Wang et al., "MoTE: Mixture of Ternary Experts for Memory-efficient Large Multimodal Models",
arXiv:2506.14435, 2025: the dense checkpoint's feed-forward block becomes the shared expert, and
ternary routed experts that start from it are trained beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import FeedForward, MoEViT

EXPERT_SCALE = 0.1
"""Of the routed experts' output at the start: the model still answers as the dense one, while
every expert has weights to learn from. Ours; the paper gives no figure for it."""

GATE_STD = 0.02


def upcycle(
    model: MoEViT,
    experts: int,
    top_k: int = 1,
    layers: Sequence[int] | None = None,
    hidden: int | None = None,
    scale: float = EXPERT_SCALE,
    seed: int = 0,
) -> MoEViT:
    """``model`` with ``experts`` routed experts in ``layers`` (by default every second one).

    The feed-forward block of such a layer stays as its shared expert. Each expert starts from
    ``hidden`` (by default all) of its hidden channels, drawn by ``seed`` for each expert, its
    output times ``scale`` (and times dense/hidden, for the channels left out). Gates are small
    and random. With ``scale`` 0 the result computes exactly what ``model`` does. Raises
    `HwmoeError` for layers that have experts already, and for sizes that do not fit.
    """
    config = model.config
    chosen = tuple(range(1, config.depth, 2) if layers is None else layers)
    problems = _problems(config, chosen, hidden, scale)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise HwmoeError(f"model {config.name!r} cannot be upcycled so:\n{lines}")
    hidden = hidden or config.dense_hidden
    sizes = {"moe_layers": chosen, "experts": experts, "top_k": top_k}
    sizes |= {"expert_hidden": hidden, "shared_hidden": config.dense_hidden}
    grown = ModelConfig.parse(config.model_dump() | sizes, "the model with experts")
    random = torch.Generator().manual_seed(seed)
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    for layer in chosen:
        block = model.get_submodule(f"blocks.{layer}.mlp")
        assert isinstance(block, FeedForward)
        place = f"blocks.{layer}"
        for key, value in block.state_dict().items():
            state[f"{place}.moe.shared.{key}"] = value.detach().clone()
            del state[f"{place}.mlp.{key}"]
        for key, value in _experts(block, experts, hidden, scale, random).items():
            state[f"{place}.moe.{key}"] = value
        gate = torch.randn(len(config.tasks), experts, config.dim, generator=random)
        state[f"{place}.moe.gate"] = GATE_STD * gate
    with torch.device("meta"):
        result = MoEViT(grown)
    result.load_state_dict(state, assign=True)
    return result.eval()


def _problems(
    config: ModelConfig, layers: Sequence[int], hidden: int | None, scale: float
) -> list[str]:
    problems = []
    if not layers:
        problems.append("no layer is named")
    outside = [layer for layer in layers if not 0 <= layer < config.depth]
    if outside:
        problems.append(f"layers {outside} do not exist; they count from 0 to {config.depth - 1}")
    if config.moe_layers:
        problems.append(f"layers {list(config.moe_layers)} have experts already; train it as it is")
    if hidden is not None and not 1 <= hidden <= config.dense_hidden:
        problems.append(f"experts of {hidden} hidden channels; choose 1 to {config.dense_hidden}")
    if not 0 <= scale <= 1:
        problems.append(f"scale {scale:g} must be from 0 to 1")
    return problems


def _experts(
    block: FeedForward, experts: int, hidden: int, scale: float, random: torch.Generator
) -> dict[str, Tensor]:
    """Stacked weights of the routed experts; each has hidden channels of its own choice."""
    dense = len(block.fc1.weight)
    picks = [torch.randperm(dense, generator=random)[:hidden].sort()[0] for _ in range(experts)]
    with torch.no_grad():
        return {
            "fc1.weight": torch.stack([block.fc1.weight[pick] for pick in picks]),
            "fc1.bias": torch.stack([block.fc1.bias[pick] for pick in picks]),
            "fc2.weight": torch.stack([block.fc2.weight[:, pick] for pick in picks])
            * (scale * dense / hidden),
            "fc2.bias": (scale * block.fc2.bias).repeat(experts, 1),
        }
