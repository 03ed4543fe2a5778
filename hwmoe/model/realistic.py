"""Seeded weights as unkind to a quantizer as trained ones: heavy tails and outlier channels.

Trained vision transformers have LayerNorm channels many times larger than their neighbours (FQ-ViT,
Lin et al. 2022; RepQ-ViT, Li et al. 2023) and heavy-tailed weights. The
seeded models of the zoo have neither, so ranges are easy for them.
"""

from __future__ import annotations

from math import log

import numpy as np
import numpy.typing as npt
import torch

from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import seeded_model

FREEDOM = 4.0
"""Degrees of freedom of Student's t: variance 2, a kurtosis that does not converge."""
OUTLIER_SHARE = 0.02
OUTLIERS = (10.0, 30.0)
"""Outlier channels of a LayerNorm are this many times the others, evenly in the logarithm."""
LOG_OUTLIERS = (log(OUTLIERS[0]), log(OUTLIERS[1]))


def heavy_tailed_model(config: ModelConfig, seed: int = 0) -> MoEViT:
    """A model in evaluation mode; float32 weights that depend on ``seed`` alone.

    Matrices are Student-t with the variance 1 / fan-in; LayerNorm gains are log-normal with
    OUTLIER_SHARE of the channels (at least 2) as outliers, the same in all layers as in trained
    models, and their betas lie to one side by half the gain. Columns that read an outlier are
    all smaller by the square root of the outliers' geometric mean, as training would have it.
    """
    model = seeded_model(config, seed)
    random = np.random.default_rng(seed)
    count = max(2, round(OUTLIER_SHARE * config.dim))
    channels = random.choice(config.dim, count, replace=False)
    with torch.no_grad():
        for name, value in model.named_parameters():
            part = name.split(".")[-2] if "." in name else ""
            if "norm" in part:
                _fill_norm(value, name.endswith("weight"), channels, random)
            elif name.endswith(("weight", "gate")):
                tails = (
                    random.standard_t(FREEDOM, tuple(value.shape))
                    / (FREEDOM / (FREEDOM - 2)) ** 0.5
                )
                tails *= (0.5 if part == "proj" else 1.0) / value.shape[-1] ** 0.5
                if part in ("qkv", "fc1") or name.startswith("heads") or name.endswith("gate"):
                    tails[..., channels] /= np.sqrt(np.prod(OUTLIERS) ** 0.5)
                value.copy_(torch.from_numpy(tails.astype(np.float32)))
    return model


def _fill_norm(
    value: torch.Tensor,
    gain: bool,
    channels: npt.NDArray[np.int64],
    random: np.random.Generator,
) -> None:
    if gain:
        values = np.exp(random.normal(0, 0.3, len(value)))
        values[channels] *= np.exp(random.uniform(*LOG_OUTLIERS, len(channels)))
    else:
        values = random.normal(0, 0.2, len(value))
        values[channels] += 0.5 * np.exp(random.uniform(*LOG_OUTLIERS, len(channels)))
    value.copy_(torch.from_numpy(values.astype(np.float32)))


def smooth_images(config: ModelConfig, count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Images [count, C, H, W] in 0..1 whose neighbours are alike, as of photographs.

    Noise with the amplitude spectrum 1 / frequency (Field 1987, natural images), so patches and
    activations are correlated.
    """
    height, width = config.image
    random = np.random.default_rng(seed)
    noise = np.fft.fft2(random.normal(size=(count, config.channels, height, width)))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    smooth = np.fft.ifft2(noise / frequency).real
    low = smooth.min(axis=(1, 2, 3), keepdims=True)
    high = smooth.max(axis=(1, 2, 3), keepdims=True)
    images: npt.NDArray[np.float32] = (smooth - low) / np.maximum(high - low, 1e-12)
    return images.astype(np.float32)
