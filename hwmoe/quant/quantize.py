"""Post-training quantization: ranges and float weights into the integers of docs/numerics.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from hwmoe.errors import HwmoeError
from hwmoe.model.vit import MoEViT
from hwmoe.quant import numerics
from hwmoe.quant.calibrate import Progress, Ranges, calibrate, no_progress
from hwmoe.quant.given import given_weight_scale, use_given_ranges
from hwmoe.quant.kernels import AttentionParams, GateParams, LinearParams, NormParams
from hwmoe.quant.quantized import Experts, Params, QuantizedModel
from hwmoe.quant.ternary import fake_ternary, ternarize

Floats = npt.NDArray[np.float64]

RESIDUAL_HEADROOM = 1.25
"""int16 has room: the residual stream may grow this much over what calibration saw."""


LAST_INDEX = 255.0
"""A ratio at which a distance of 1 reaches the end of an exponential table: larger ones do no
more."""


TINY = 1e-12
"""A weight scale above zero, for channels that are zero altogether."""


def quantize(
    model: MoEViT,
    images: npt.NDArray[np.float32],
    experts: Experts = "int8",
    percentile: float = 100.0,
    progress: Progress = no_progress,
) -> QuantizedModel:
    """Calibrate on raw-pixel images [N, C, H, W] and quantize weights and constants.

    int8 everywhere (per output channel); routed experts ternary or int8. `percentile` < 100
    clips the ranges of int8 activations. Scales that came with the model (``given_scales``) take
    the place of calibrated ones. Raises `HwmoeError` for unusable images.
    """
    # Ranges have to be those of the model that will run: with ternary experts, if so chosen.
    before = model.expert_transform
    model.expert_transform = fake_ternary if experts == "ternary" else None
    try:
        ranges = calibrate(model, images, percentile, progress=progress)
    finally:
        model.expert_transform = before
    given = use_given_ranges(ranges, model.given_scales)
    build = _Builder(model, ranges, experts)
    build.all()
    how = "min-max" if percentile >= 100 else f"percentile {percentile:g}"
    if given:
        how = f"{given} scales that came with the model, else {how}"
    return QuantizedModel(
        model.config,
        experts,
        build.ops,
        build.position,
        build.scales,
        f"{how} over {len(images)} images",
    )


def quantize_weights(
    weight: Floats,
    bias: Floats,
    scale_in: float,
    ternary: bool,
    given: Floats | None = None,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32], Floats]:
    """[N, K], [N] -> integer weights, biases and the weight scale of each output channel.

    Weights on the grid of the ``given`` scales [N] keep them. A channel's scale is enlarged where
    its bias would leave the accumulator (section 1).
    """
    # At this scale the exact quotients keep the bound; what rounding may add is taken off.
    room = numerics.ACCUMULATOR_LIMIT - 64 * weight.shape[1] - 2
    floor = (np.abs(bias) / scale_in + 128 * np.abs(weight).sum(axis=1)) / room
    # Of a channel without weights, only the bias: to 15 bits.
    dead = ~weight.any(axis=1)
    dead_scale = np.abs(bias) / (scale_in * 2**15) + TINY
    if ternary:
        codes, alpha = ternarize(torch.from_numpy(weight))
        whole, scale = codes.numpy().astype(np.int8), alpha.numpy().astype(np.float64)
        scale = np.where(dead, dead_scale, scale)
        # A scale enlarged for the bias leaves of the weights what still rounds to 1.
        large = scale < floor
        scale = np.maximum(scale, floor)
        rounded = np.clip(np.round(weight / scale[:, None]), -1, 1).astype(np.int8)
        whole = np.where(large[:, None], rounded, whole)
    else:
        own = given_weight_scale(weight, given)
        scale = np.abs(weight).max(axis=1) / 127 if own is None else own
        scale = np.where(dead, dead_scale, scale)
        scale = np.maximum(scale, floor)
        whole = np.clip(np.round(weight / scale[:, None]), -127, 127).astype(np.int8)
    whole_bias = np.round(bias / (scale_in * scale))
    bound = np.abs(whole_bias) + 128 * np.abs(whole.astype(np.int64)).sum(axis=1)
    if (bound >= numerics.ACCUMULATOR_LIMIT).any():
        channel = int(bound.argmax())
        raise HwmoeError(f"output channel {channel} needs an accumulator of more than 27 bits")
    return whole, whole_bias.astype(np.int32), scale


@dataclass
class _Builder:
    model: MoEViT
    ranges: Ranges
    experts: Experts
    ops: dict[str, Params] = field(default_factory=dict)
    scales: dict[str, float | npt.NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.model.config
        self.weights = {
            name: value.detach().numpy().astype(np.float64)
            for name, value in self.model.state_dict().items()
        }
        residual_sites = ("embed", "res1", "res2", "proj", "fc2")
        residual = max(
            (v for k, v in self.ranges.limits.items() if k.rpartition(".")[2] in residual_sites),
            default=1.0,
        )
        self.residual = residual * RESIDUAL_HEADROOM / 32767
        start = self.weights["pos_embed"].copy()
        start[0] += self.weights["cls_token"]
        self.position = np.clip(np.round(start / self.residual), *numerics.INT16).astype(np.int16)

    def step(self, site: str, levels: int = 127) -> float:
        return self.ranges.limit(site) / levels

    def all(self) -> None:
        self.scales["input"] = self.step("input")
        self.linear("patch_embed", self.step("input"), self.residual, wide=True)
        self.scales["embed"] = self.residual
        for layer in range(self.config.depth):
            self.attention(f"blocks.{layer}")
            name = f"blocks.{layer}.norm2"
            scale = self.norm(name)
            if self.config.is_moe(layer):
                self.moe(f"blocks.{layer}.moe", scale)
            else:
                self.feed_forward(f"blocks.{layer}.mlp", scale)
            self.scales[f"blocks.{layer}.res2"] = self.residual
        scale = self.norm("norm")
        for task in range(len(self.config.tasks)):
            out = self.step(f"head.{task}", 32767) * RESIDUAL_HEADROOM
            self.linear(f"heads.{task}", scale, out, wide=True)
            self.scales[f"head.{task}"] = out

    def linear(
        self,
        name: str,
        scale_in: float,
        scale_out: float | Floats,
        wide: bool = False,
        table: npt.NDArray[np.int8] | None = None,
        expert: int | None = None,
    ) -> None:
        """Quantize the weights called `name` (of one expert, if given)."""
        given = self.given(f"{name}.weight")
        if expert is None:
            op, weight = name, self.weights[f"{name}.weight"]
            bias = self.weights[f"{name}.bias"]
        else:
            layer, _, fc = name.rpartition(".")
            op = f"{layer}.experts.{expert}.{fc}"
            weight = self.weights[f"{name}.weight"][expert]
            bias = self.weights[f"{name}.bias"][expert]
            given = None if given is None else given[expert]
        ternary = expert is not None and self.experts == "ternary"
        self.store(op, weight, bias, scale_in, scale_out, wide, table, ternary, given)

    def given(self, name: str) -> Floats | None:
        """Scales of a weight tensor that came with the model."""
        scale = self.model.given_scales.get(name)
        return None if scale is None else scale.numpy().astype(np.float64)

    def store(
        self,
        op: str,
        weight: Floats,
        bias: Floats,
        scale_in: float,
        scale_out: float | Floats,
        wide: bool,
        table: npt.NDArray[np.int8] | None = None,
        ternary: bool = False,
        given: Floats | None = None,
    ) -> None:
        try:
            whole, whole_bias, scale = quantize_weights(weight, bias, scale_in, ternary, given)
        except HwmoeError as error:
            raise HwmoeError(f"{op}: {error}") from None
        ratios = scale_in * scale / scale_out
        shift = numerics.choose_shift(ratios, op)
        multiplier = np.round(ratios * 2.0**shift).astype(np.int32)
        self.ops[op] = LinearParams(whole, whole_bias, multiplier, shift, wide, table, ternary)
        self.scales.setdefault(op, scale_out)

    def norm(self, name: str) -> float:
        """A LayerNorm; the scale of its result."""
        scale = self.step(name)
        gain, bias = self.weights[f"{name}.weight"] / scale, self.weights[f"{name}.bias"] / scale
        ratios = np.abs(gain) / 2**numerics.NORM_FRACTION
        # The bias, at the scale 2^-shift, has to fit int32 as well: 2^31 = 2^14 * 2^17.
        shift = numerics.choose_shift([ratios.max(), np.abs(bias).max() / 2**14], name)
        eps = self.config.dim**2 * self.config.norm_eps / self.residual**2
        self.ops[name] = NormParams(
            np.round(gain * 2.0 ** (shift - numerics.NORM_FRACTION)).astype(np.int32),
            np.round(bias * 2.0**shift).astype(np.int32),
            min(max(1, round(eps)), 1 << 40),
            shift,
        )
        self.scales[name] = scale
        return scale

    def attention(self, block: str) -> None:
        scale_in = self.norm(f"{block}.norm1")
        q, k, v = (self.step(f"{block}.{part}") for part in "qkv")
        self.linear(f"{block}.qkv", scale_in, np.repeat([q, k, v], self.config.dim))
        # C / 2^f stays below 2^8: a mean of values far smaller than they are gets a coarser scale.
        out = max(self.step(f"{block}.attn"), v / 255)
        self.scales[f"{block}.attn"] = out
        ratio = min(q * k / math.sqrt(self.config.head_dim) * numerics.EXP7_STEPS, LAST_INDEX)
        shift = numerics.choose_shift([ratio], f"{block}.attn")
        f = min(24, max(8, 15 - math.floor(math.log2(v / out))))
        c = min(max(round(v / out * 2**f), 1 << 15), (1 << 16) - 1)
        self.ops[f"{block}.attn"] = AttentionParams(round(ratio * 2**shift), shift, c, f)
        self.linear(f"{block}.proj", out, self.residual, wide=True)
        self.scales[f"{block}.res1"] = self.residual

    def feed_forward(self, name: str, scale_in: float, expert: int | None = None) -> None:
        """fc1, GELU, fc2 of a dense layer, of the shared expert or of one expert."""
        pre, post = self.step(f"{name}.fc1"), self.step(f"{name}.gelu")
        table = numerics.gelu_table(pre, post)
        self.linear(f"{name}.fc1", scale_in, pre, table=table, expert=expert)
        self.linear(f"{name}.fc2", post, self.residual, wide=True, expert=expert)
        own = name if expert is None else f"{name}.experts.{expert}"
        self.scales[f"{own}.gelu"] = post

    def moe(self, name: str, scale_in: float) -> None:
        if self.config.shared_hidden:
            self.feed_forward(f"{name}.shared", scale_in)
        for task in range(len(self.config.tasks)):
            out = self.step(f"{name}.gate.{task}", 32767) * RESIDUAL_HEADROOM
            weight = self.weights[f"{name}.gate"][task]
            no_bias = np.zeros(len(weight))
            given = self.given(f"{name}.gate")
            own = None if given is None else given[task]
            self.store(f"{name}.gate.{task}", weight, no_bias, scale_in, out, wide=True, given=own)
            ratio = min(out * numerics.EXP15_STEPS, LAST_INDEX)
            shift = numerics.choose_shift([ratio], f"{name}.gate.{task}")
            mult = round(ratio * 2**shift)
            k, scores = self.config.top_k, self.config.gate_scores
            self.ops[f"{name}.softmax.{task}"] = GateParams(mult, shift, k, scores)
        self.scales[f"{name}.scores"] = 1 / numerics.SCORE_ONE
        for expert in range(self.config.experts):
            self.feed_forward(name, scale_in, expert)
