"""Sizes of the kernels: what the HLS and SystemVerilog templates are rendered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwmoe.plan.isa import instruction_set

Lanes = Annotated[int, Field(ge=1, le=1024)]
MAX_NORM_DIM = 1024  # docs/numerics.md, section 4


class LinearConfig(BaseModel):
    """The reusable linear kernel: `t_in * t_out * t_tok` MACs a cycle (docs/kernels.md).

    ``t_epi`` output channels a cycle leave the epilogue; ``w_rows`` output channels of int8
    weights (four times as many ternary ones) arrive in one beat. ``max_tokens`` and ``x_words``
    size the on-chip memories: tokens of one list, and words of ``t_in`` activations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    t_in: Lanes = 16
    t_out: Lanes = 16
    t_tok: Annotated[int, Field(ge=1, le=8)] = 1
    t_epi: Lanes = 8
    w_rows: Lanes = 1
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 64
    x_words: Annotated[int, Field(ge=1, le=65536)] = 512

    @model_validator(mode="after")
    def _consistent(self) -> LinearConfig:
        problems = []
        if self.t_in % self.t_epi:
            problems.append(f"t_epi={self.t_epi} must divide t_in={self.t_in}")
        if self.t_out % self.t_epi:
            problems.append(f"t_epi={self.t_epi} must divide t_out={self.t_out}")
        if self.t_out % (4 * self.w_rows):
            problems.append(f"t_out={self.t_out} must be a multiple of 4*w_rows={4 * self.w_rows}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def macs_per_cycle(self) -> int:
        return self.t_in * self.t_out * self.t_tok


class AttentionConfig(BaseModel):
    """The streaming attention kernel: `rows * dim_lanes * head_units` MACs a cycle.

    ``rows`` query rows are held while K and then V stream past, ``dim_lanes`` head dimensions a
    beat, for ``head_units`` heads side by side. ``max_tokens`` and ``max_dim_tiles`` (head
    dimension divided by ``dim_lanes``) size the memories.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Annotated[int, Field(ge=1, le=64)] = 4
    dim_lanes: Lanes = 8
    head_units: Annotated[int, Field(ge=1, le=16)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 64
    max_dim_tiles: Annotated[int, Field(ge=1, le=128)] = 4

    @property
    def macs_per_cycle(self) -> int:
        return self.rows * self.dim_lanes * self.head_units


class LayerNormConfig(BaseModel):
    """The LayerNorm kernel: ``lanes`` channels a cycle, up to ``max_tiles`` such words a token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lanes: Annotated[int, Field(ge=1, le=64)] = 8
    max_tiles: Annotated[int, Field(ge=1, le=1024)] = 16

    @model_validator(mode="after")
    def _consistent(self) -> LayerNormConfig:
        if self.lanes * (self.max_tiles - 1) >= MAX_NORM_DIM:
            raise ValueError(
                f"max_tiles={self.max_tiles} words of lanes={self.lanes} are more than the "
                f"{MAX_NORM_DIM} channels that LayerNorm's numbers allow"
            )
        return self


class GateConfig(BaseModel):
    """The gate kernel: a logit a cycle, up to ``max_k`` of ``max_experts`` experts a token.

    ``all_scores``: it can also take the softmax over all experts (docs/numerics.md, section 6).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_experts: Annotated[int, Field(ge=1, le=1024)] = 64
    max_k: Annotated[int, Field(ge=1, le=8)] = 4
    all_scores: bool = False


class PortsConfig(BaseModel):
    """AXI4 masters, ``port_bits`` wide: ``w_ports`` read weights, one more does the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port_bits: Annotated[int, Field(ge=64, le=512)] = 128
    w_ports: Annotated[int, Field(ge=1, le=15)] = 1


class AcceleratorConfig(BaseModel):
    """One accelerator; the same numbers reach HLS, SystemVerilog and the plan.

    ``stages`` images are in flight at a time, each in another part of the network. ``expert``: a
    second linear kernel, for ternary weights only, with an engine of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    linear: LinearConfig = LinearConfig()
    expert: LinearConfig | None = None
    attention: AttentionConfig = AttentionConfig()
    layernorm: LayerNormConfig = LayerNormConfig()
    gate: GateConfig = GateConfig()
    ports: PortsConfig = PortsConfig()
    stages: Annotated[int, Field(ge=1, le=8)] = 1

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines of this machine by their number."""
        names = instruction_set().engines
        return names if self.expert else names[:-1]

    @property
    def linears(self) -> dict[str, LinearConfig]:
        """Engines that are linear kernels."""
        found = {"linear": self.linear}
        return found | {"expert": self.expert} if self.expert else found

    @property
    def act8_grain(self) -> int:
        """Lanes of act8 under one bit of a write mask: the narrowest of its writers."""
        attention = self.attention.head_units * self.attention.dim_lanes
        return min(self.linear.t_epi, attention, self.layernorm.lanes)

    @model_validator(mode="after")
    def _compatible(self) -> AcceleratorConfig:
        if self.linear.t_in % self.attention.dim_lanes:
            raise ValueError(
                f"attention.dim_lanes={self.attention.dim_lanes} must divide "
                f"linear.t_in={self.linear.t_in}"
            )
        if self.expert:
            _check_expert(self.linear, self.expert)
        return self


def _check_expert(linear: LinearConfig, expert: LinearConfig) -> None:
    problems = [
        f"expert.{name}={theirs} must be linear.{name}={ours}"
        for name in ("t_in", "t_epi", "w_rows")
        if (ours := getattr(linear, name)) != (theirs := getattr(expert, name))
    ]
    if expert.t_in < 4 or expert.t_in & (expert.t_in - 1):
        problems.append(f"expert.t_in={expert.t_in} must be a power of two, 4 or more")
    if problems:
        raise ValueError("; ".join(problems))
