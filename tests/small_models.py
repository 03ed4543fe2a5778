"""Small models with seeded weights for the tests of quantizer, plan and flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import seeded_model
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel

BASE: dict[str, Any] = {
    "name": "small",
    "image": (8, 12),
    "patch": (4, 4),
    "channels": 2,
    "dim": 12,
    "heads": 3,
    "depth": 2,
    "dense_hidden": 20,
    "moe_layers": (1,),
    "experts": 5,
    "top_k": 2,
    "expert_hidden": 7,
    "shared_hidden": 6,
    "tasks": [{"name": "a", "classes": 4}, {"name": "b", "classes": 3}],
}


@dataclass
class Small:
    """A float model, images it can take, and (made when asked for) its integers."""

    model: MoEViT
    images: npt.NDArray[np.float32]
    experts: Experts

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @cached_property
    def quantized(self) -> QuantizedModel:
        return quantize(self.model, self.images, self.experts)

    @cached_property
    def patches(self) -> npt.NDArray[np.int8]:
        return self.quantized.quantize_images(self.images)


def small(kind: Experts = "int8", seed: int = 0, count: int = 4, **changes: Any) -> Small:
    """`BASE` with `changes`, `count` random images."""
    config = ModelConfig.parse(BASE | changes, "test")
    shape = (count, config.channels, *config.image)
    images = np.random.default_rng(seed).random(shape, np.float32)
    return Small(seeded_model(config, seed), images, kind)
