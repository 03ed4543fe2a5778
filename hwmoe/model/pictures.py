"""Picture files as pixels, resized and cropped as timm does for evaluation.

timm (`timm/data/transforms_factory.py`, `transforms_imagenet_eval`): the image is resized to
1 / crop_pct of what the model takes, then its centre is cut out. A square target: the shortest
edge is resized, as torchvision's `Resize`. Another: as `ResizeKeepRatio`, so that both edges are
covered. Bicubic always, as the configurations of DeiT and ViT have it. The orientation in EXIF is
left alone, as timm does.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hwmoe.errors import HwmoeError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
"""Few, so that few decoders see files of strangers."""

MODES = {1: "L", 3: "RGB"}
DEEP = ("I", "F")  # more than 8 bits: Pillow would clip them
CROP_PCT = 0.875
"""timm's default; DeiT was published with 0.9."""

Uint8 = npt.NDArray[np.uint8]
Size = tuple[int, int]


def scaled_size(size: Size, target: Size, crop_pct: float) -> Size:
    """Height and width to which an image of ``size`` is resized before the crop to ``target``."""
    height, width = size
    goal_h, goal_w = (math.floor(side / crop_pct) for side in target)
    if goal_h == goal_w:
        if height <= width:
            return goal_h, int(goal_h * width / height)
        return int(goal_h * height / width), goal_h
    ratio = min(height / goal_h, width / goal_w)
    return round(height / ratio), round(width / ratio)


def crop_box(size: Size, target: Size) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the centre (torchvision's `CenterCrop`)."""
    top, left = (round((a - b) / 2) for a, b in zip(size, target, strict=True))
    return left, top, left + target[1], top + target[0]


def fitted(image: Image.Image, target: Size, crop_pct: float) -> Image.Image:
    """The centre of ``image``, of height and width ``target``."""
    height, width = scaled_size((image.height, image.width), target, crop_pct)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return image.crop(crop_box((height, width), target))


def read_picture(path: Path, channels: int, target: Size, crop_pct: float = CROP_PCT) -> Uint8:
    """uint8 [C, H, W] of a picture file; `HwmoeError` says in a line why it cannot be used.

    Pictures of more pixels than Pillow thinks safe (`Image.MAX_IMAGE_PIXELS`) are refused before
    they are decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.mode.startswith(DEEP):
                    raise HwmoeError(f"mode {image.mode} has more than 8 bits a channel")
                # Strips of a hundred thousand pixels by one would be resized to gigabytes.
                height, width = scaled_size((image.height, image.width), target, crop_pct)
                if height * width > (Image.MAX_IMAGE_PIXELS or math.inf):
                    raise HwmoeError(f"{image.width} x {image.height} pixels are no picture")
                ready = fitted(image.convert(MODES[channels]), target, crop_pct)
                pixels = np.asarray(ready, np.uint8)
    except UnidentifiedImageError:
        raise HwmoeError(f"not a picture of a kind that is read ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise HwmoeError(f"more than {limit} pixels, which may be an attack") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise HwmoeError(f"cannot be decoded: {error or type(error).__name__}") from None
    return pixels[None].copy() if channels == 1 else pixels.transpose(2, 0, 1).copy()
