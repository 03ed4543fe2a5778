"""Random changes of training images; float32 [B, C, H, W] in [0, 1], of the same shape after."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from hwmoe.train.settings import Augment

Change = Callable[[Tensor, torch.Generator], Tensor]


def affine(images: Tensor, random: torch.Generator) -> Tensor:
    """Small shifts, rotations, scales and shears, then contrast and noise: for written signs."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=random) * 2 - 1) * limit

    angle, shear = uniform(math.radians(14)), uniform(0.15)
    zoom_x, zoom_y = 1 + uniform(0.13), 1 + uniform(0.13)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Shifts are in half-widths of the image: 0.2 is 0.8 pixels of 8.
    row_x = torch.stack([cos * zoom_x, shear - sin * zoom_y, uniform(0.2)], dim=1)
    row_y = torch.stack([sin * zoom_x, cos * zoom_y, uniform(0.2)], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    contrast = 1 + uniform(0.15).view(-1, 1, 1, 1)
    noise = 0.04 * torch.randn(moved.shape, generator=random)
    return (moved * contrast + noise).clamp(0, 1)


def flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Mirrored left to right half of the time, shifted by up to 1/8 of a side: for photographs.

    What a shift leaves open repeats the edge.
    """
    count, _, height, width = images.shape
    mirrored = torch.rand(count, generator=random) < 0.5
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    pad_y, pad_x = height // 8, width // 8
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y), mode="replicate")
    top = torch.randint(2 * pad_y + 1, (count,), generator=random).tolist()
    left = torch.randint(2 * pad_x + 1, (count,), generator=random).tolist()
    places = zip(padded, top, left, strict=True)
    return torch.stack([image[:, y : y + height, x : x + width] for image, y, x in places])


def none(images: Tensor, random: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


CHANGES: dict[Augment, Change] = {"none": none, "affine": affine, "flip": flip}
