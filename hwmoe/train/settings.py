"""What a training run is told: one frozen record, checked as a whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwmoe.errors import explain_validation

ExpertsSeen = Literal["ternary", "float", "both"]
"""How a step sees the routed experts; ``both``: once each, so that one checkpoint serves both."""

Augment = Literal["none", "affine", "flip"]
Share = Annotated[float, Field(ge=0, le=1)]


class TrainSettings(BaseModel):
    """Settings of a run. The defaults train the shipped ``digits`` from scratch.

    rate: peak of a cosine schedule after ``warmup`` (share of the steps). balance: weight of the
    load-balancing loss. distill: share of the teacher in the loss, at ``temperature``; features:
    weight of the distance between the blocks of both. ema: decay of the averaged weights, which
    are the result. only_experts: everything but routed experts and gates stays as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 150
    batch: Annotated[int, Field(ge=1, le=65_536)] = 96
    experts: ExpertsSeen = "ternary"
    rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    warmup: Share = 0.05
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    balance: Annotated[float, Field(ge=0, le=10)] = 0.02
    distill: Share = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    features: Annotated[float, Field(ge=0, le=100)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995
    clip: Annotated[float, Field(gt=0)] = 1.0
    augment: Augment = "none"
    only_experts: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> TrainSettings:
        """Build from plain data; every problem is in one `HwmoeError`."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise explain_validation("the settings of the training", error) from None

    @property
    def needs_teacher(self) -> bool:
        return self.distill > 0 or self.features > 0
