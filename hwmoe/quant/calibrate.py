"""Ranges of every activation, from the float model on calibration images of all its tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT
from hwmoe.quant.statistics import Channels, Histogram

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""


def no_progress(what: str, done: int, total: int) -> None:
    """The default: say nothing."""


NARROW = ("input", "norm1", "q", "k", "v", "attn", "norm2", "fc1", "gelu", "norm")
"""Last parts of the names of int8 sites; the others are int16."""
BY_CHANNEL = ("norm1", "norm2", "norm", "q", "k", "v", "attn", "gelu")


def narrow(site: str) -> bool:
    """Whether the numbers of a site are int8."""
    return site.rpartition(".")[2] in NARROW


@dataclass
class Ranges:
    """The range of each site, and what was seen there.

    limits: largest magnitude (or percentile); largest: largest magnitude; histograms: of every
    site; channels: of sites whose channels matter, by their last axis, if `by_channel`.
    """

    percentile: float
    by_channel: bool = False
    limits: dict[str, float] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    channels: dict[str, Channels] = field(default_factory=dict)

    def see(self, site: str, values: npt.NDArray[np.float32]) -> None:
        if not values.size:
            return
        magnitude = np.abs(values)
        if self.percentile >= 100:
            limit = float(magnitude.max())
        else:
            limit = float(np.percentile(magnitude, self.percentile))
        self.limits[site] = max(self.limits.get(site, 0.0), limit)
        self.largest[site] = max(self.largest.get(site, 0.0), float(magnitude.max()))
        if narrow(site):
            self.histograms.setdefault(site, Histogram()).see(values)
        if self.by_channel and site.rpartition(".")[2] in BY_CHANNEL:
            self.channels.setdefault(site, Channels.of(values.shape[-1])).see(values)

    def limit(self, site: str) -> float:
        """The range of `site`; a site that was always zero gets 1, so that scales stay finite."""
        return self.limits[site] or 1.0


def normalised(model: MoEViT, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pixels as the patch embedding sees them."""
    config = model.config
    mean = np.array(config.pixel_mean or [0.0] * config.channels, np.float32)[:, None, None]
    std = np.array(config.pixel_std or [1.0] * config.channels, np.float32)[:, None, None]
    return np.asarray((images - mean) / std, np.float32)


def check_images(config: ModelConfig, images: npt.NDArray[np.float32]) -> None:
    """`HwmoeError` unless images are float32 [N >= 1, C, H, W] of the model's size, finite."""
    want = (config.channels, *config.image)
    if images.ndim != 4 or images.shape[1:] != want or not len(images):
        raise HwmoeError(
            f"images have shape {images.shape}; {config.name} needs [N, {want[0]}, {want[1]}, "
            f"{want[2]}] with N at least 1"
        )
    if not np.isfinite(images).all():
        raise HwmoeError("the images hold NaN or infinite pixels")


TRACE_VALUES = 40_000_000


def batch_size(config: ModelConfig) -> int:
    """Images whose traces fit comfortably into memory."""
    return max(1, min(128, TRACE_VALUES // (20 * config.tokens * config.dim * config.depth)))


def calibrate(
    model: MoEViT,
    images: npt.NDArray[np.float32],
    percentile: float = 100.0,
    progress: Progress = no_progress,
    by_channel: bool = False,
) -> Ranges:
    """Run all tasks over raw-pixel images [N, C, H, W]; the larger range of the tasks counts."""
    check_images(model.config, images)
    ranges = Ranges(percentile, by_channel)
    ranges.see("input", normalised(model, images))
    batch = batch_size(model.config)
    starts = range(0, len(images), batch)
    total = len(starts) * len(model.config.tasks)
    with torch.no_grad():
        for task in range(len(model.config.tasks)):
            for step, start in enumerate(starts):
                trace: dict[str, torch.Tensor] = {}
                model(torch.from_numpy(images[start : start + batch]), task, trace)
                _see_trace(ranges, trace, task)
                progress("calibrating", task * len(starts) + step + 1, total)
    return ranges


def _see_trace(ranges: Ranges, trace: dict[str, torch.Tensor], task: int) -> None:
    for name, tensor in trace.items():
        values = tensor.numpy()
        layer, _, kind = name.rpartition(".")
        if values.dtype.kind != "f" or kind in ("probs", "scores"):
            continue
        if kind == "qkv":
            for part, third in zip("qkv", np.split(values, 3, axis=-1), strict=True):
                ranges.see(f"{layer}.{part}", third)
        elif kind == "gate":
            ranges.see(f"{name}.{task}", values)
        elif name == "head":
            ranges.see(f"head.{task}", values)
        elif ".experts." in name:
            # All experts of a layer share their ranges: one GELU table serves them.
            ranges.see(f"{layer.partition('.experts.')[0]}.{kind}", values)
        else:
            ranges.see(name, values)
