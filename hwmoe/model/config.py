"""The typed description of a Mixture-of-Experts vision transformer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmoe.errors import explain_validation

Positive = Annotated[int, Field(ge=1)]

GateScores = Literal["topk", "all"]
"""Over which logits a gate's softmax runs: those of the k chosen experts, or all of them."""

# What the number formats of docs/numerics.md can carry without overflow.
MAX_DIM = 1024
MAX_HIDDEN = 4096
MAX_TOKENS = 1024
MAX_EXPERTS = 64
MAX_TOP_K = 8
MAX_DEPTH = 64


class Task(BaseModel):
    """One task: a gate in every MoE layer and a classifier of its own (M3ViT, section 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    classes: Annotated[int, Field(ge=1, le=65535)]


class ModelConfig(BaseModel):
    """Geometry of a pre-norm ViT whose feed-forward layers are dense or mixtures of experts.

    Sizes are in pixels (``image``, ``patch``) or channels. ``moe_layers`` lists the layers
    (from 0) that hold experts; the others are dense. ``shared_hidden`` > 0 adds to every MoE
    layer a feed-forward block that all tokens pass (MoTE's shared expert). ``gate_scores``:
    the scores of the chosen experts are a softmax over those (``topk``), or theirs of a softmax
    over all experts (``all``: M3ViT, Edge-MoE; docs/numerics.md, section 6).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    image: tuple[Positive, Positive]  # height, width
    patch: tuple[Positive, Positive]  # height, width
    channels: Positive
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    heads: Positive
    depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)]
    dense_hidden: Annotated[int, Field(ge=1, le=MAX_HIDDEN)]
    moe_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    experts: Annotated[int, Field(ge=1, le=MAX_EXPERTS)] = 1
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 1
    gate_scores: GateScores = "topk"
    expert_hidden: Annotated[int, Field(ge=1, le=MAX_HIDDEN)] = 1
    shared_hidden: Annotated[int, Field(ge=0, le=MAX_HIDDEN)] = 0
    tasks: tuple[Task, ...] = Field(min_length=1, max_length=16)
    norm_eps: Annotated[float, Field(gt=0, le=1e-2)] = 1e-6
    pixel_mean: tuple[float, ...] = ()  # a value a channel; empty: 0
    pixel_std: tuple[float, ...] = ()  # a value a channel; empty: 1

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        problems = [*self._sizes(), *self._layers(), *self._pixels()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _sizes(self) -> Iterator[str]:
        for axis, size, step in zip(("height", "width"), self.image, self.patch, strict=True):
            if size % step:
                yield f"image {axis} {size} is not a multiple of the patch {axis} {step}"
        if self.dim % self.heads:
            yield f"heads={self.heads} does not divide dim={self.dim}; use a divisor of {self.dim}"
        if self.top_k > self.experts:
            yield (
                f"top_k={self.top_k} is more than experts={self.experts}; choose at most that many"
            )
        if self.tokens > MAX_TOKENS:
            yield f"{self.tokens} tokens are over the limit of {MAX_TOKENS}; use larger patches"
        if self.patch_size > MAX_HIDDEN:
            yield f"a patch of {self.patch_size} values is over {MAX_HIDDEN}"

    def _layers(self) -> Iterator[str]:
        bad = sorted({i for i in self.moe_layers if i >= self.depth})
        if bad:
            yield f"moe_layers {bad} do not exist in a model of depth {self.depth}"
        if list(self.moe_layers) != sorted(set(self.moe_layers)):
            yield "moe_layers must be ascending, each layer once"
        if len({task.name for task in self.tasks}) != len(self.tasks):
            yield "two tasks have the same name"

    def _pixels(self) -> Iterator[str]:
        for label, values in (("pixel_mean", self.pixel_mean), ("pixel_std", self.pixel_std)):
            if values and len(values) != self.channels:
                yield f"{label} has {len(values)} values for {self.channels} channels"
        if any(value <= 0 for value in self.pixel_std):
            yield "pixel_std must be positive"

    @classmethod
    def parse(cls, data: dict[str, Any], what: str) -> ModelConfig:
        """Build from plain data; every problem is reported in one `HwmoeError`."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise explain_validation(what, error) from None

    @property
    def patches(self) -> int:
        return (self.image[0] // self.patch[0]) * (self.image[1] // self.patch[1])

    @property
    def tokens(self) -> int:
        """Patches and the class token, which is token 0."""
        return self.patches + 1

    @property
    def patch_size(self) -> int:
        return self.channels * self.patch[0] * self.patch[1]

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    def is_moe(self, layer: int) -> bool:
        return layer in self.moe_layers

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image and one task (GELU, softmax, LayerNorm left out)."""
        t, d = self.tokens, self.dim
        attention = 4 * t * d * d + 2 * t * t * d
        dense = 2 * t * d * self.dense_hidden
        moe = 2 * t * d * (self.top_k * self.expert_hidden + self.shared_hidden)
        moe += t * d * self.experts
        n_moe = len(self.moe_layers)
        body = self.depth * attention + n_moe * moe + (self.depth - n_moe) * dense
        return self.patches * self.patch_size * d + body + d * self.tasks[0].classes
