"""A dense model of a Mixture-of-Experts model: every layer's experts become their mean.

Y. Huang et al., "Experts Weights Averaging: A New General Training Scheme for Vision
Transformers", arXiv:2308.06093, 2023. There the experts are also pulled together while training;
experts that were not lose accuracy when averaged, and how much must be measured.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoE, MoEViT


def average_experts(model: MoEViT) -> MoEViT:
    """A dense `MoEViT` of the same name, in evaluation mode; ``model`` stays as it is.

    The scores of a token's experts add up to 1, so the mean expert enters with weight 1. A shared
    expert becomes further hidden channels beside it, and narrower layers are filled up with hidden
    channels of zero weight; both change nothing. Raises `HwmoeError` for a model without experts,
    one whose scores add up to something else for every token, or one whose dense layers would be
    wider than `ModelConfig` allows.
    """
    config = model.config
    if not config.moe_layers:
        raise HwmoeError(f"model {config.name!r} has no experts to average; it is dense already")
    if config.gate_scores == "all":
        raise HwmoeError(
            f"model {config.name!r}: the scores of a token's experts add up to less than 1, each "
            "time to another sum, which no mean expert has; fine-tune it with gate_scores "
            "'topk', then average"
        )
    widths = [config.expert_hidden + config.shared_hidden]
    if len(config.moe_layers) < config.depth:
        widths.append(config.dense_hidden)
    fields = config.model_dump(
        exclude={"moe_layers", "experts", "top_k", "expert_hidden", "shared_hidden"}
    )
    dense = ModelConfig.parse(fields | {"dense_hidden": max(widths)}, "the averaged model")
    state = {k: v.detach().clone() for k, v in model.state_dict().items() if ".moe." not in k}
    for layer in range(config.depth):
        place = f"blocks.{layer}.mlp"
        if config.is_moe(layer):
            moe = model.get_submodule(f"blocks.{layer}.moe")
            assert isinstance(moe, MoE)
            state |= {f"{place}.{key}": value for key, value in _mean(moe).items()}
        for key in ("fc1.weight", "fc1.bias", "fc2.weight"):
            state[f"{place}.{key}"] = _widened(key, state[f"{place}.{key}"], dense.dense_hidden)
    with torch.device("meta"):
        averaged = MoEViT(dense)
    averaged.load_state_dict(state, assign=True)
    return averaged.eval()


def _mean(moe: MoE) -> dict[str, Tensor]:
    """The weights of one feed-forward block: the mean expert, and the shared one beside it."""
    with torch.no_grad():
        mean = {
            "fc1.weight": moe.fc1.weight.mean(0),
            "fc1.bias": moe.fc1.bias.mean(0),
            "fc2.weight": moe.fc2.weight.mean(0),
            "fc2.bias": moe.fc2.bias.mean(0),
        }
        if moe.shared is not None:
            shared = moe.shared.state_dict()
            for key, dim in (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1)):
                mean[key] = torch.cat([mean[key], shared[key]], dim=dim)
            mean["fc2.bias"] = mean["fc2.bias"] + shared["fc2.bias"]
    return mean


def _widened(key: str, value: Tensor, hidden: int) -> Tensor:
    """``value`` with zeros for the hidden channels it lacks: gelu(0) = 0, and 0 times anything."""
    if key == "fc2.weight":
        return F.pad(value, (0, hidden - value.shape[1])).contiguous()
    pad = hidden - value.shape[0]
    return F.pad(value, (0, 0, 0, pad) if value.ndim == 2 else (0, pad)).contiguous()
