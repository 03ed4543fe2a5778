"""Images to calibrate and test on: digits, synthetic fields, or a user's file or folder."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.folder_pixels import folder_pixels

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError)

DIGITS_TEST = 360
DIGITS_SPLIT_SEED = 0


@dataclass(frozen=True)
class Images:
    """Images to calibrate on (float32 [N, C, H, W]), to test on ([M, C, H, W]), and labels.

    ``labels`` maps a task name to int64 [M]; ``source`` says where the images come from.
    """

    calibration: FloatArray
    test: FloatArray
    labels: dict[str, IntArray] | None
    source: str


@lru_cache(maxsize=1)
def _digits_split() -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    """Train images, train digits, test images, test digits: a stratified split, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, digits = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    train, test, train_y, test_y = train_test_split(
        images,
        digits.astype(np.int64),
        test_size=DIGITS_TEST,
        stratify=digits,
        random_state=DIGITS_SPLIT_SEED,
    )
    return train, train_y, test, test_y


def _digit_labels(digits: IntArray) -> dict[str, IntArray]:
    return {"digit": digits.copy(), "parity": digits % 2}


def digits_train() -> tuple[FloatArray, dict[str, IntArray]]:
    """The training part: images float32 [1437, 1, 8, 8] in [0, 1], labels by task name."""
    train, train_y, _, _ = _digits_split()
    return train.copy(), _digit_labels(train_y)


def digits_images() -> Images:
    """The digits data set of scikit-learn: 1437 training images to calibrate on, 360 to test."""
    train, _, test, test_y = _digits_split()
    return Images(train.copy(), test.copy(), _digit_labels(test_y), "scikit-learn digits")


def _field(rng: np.random.Generator, count: int, height: int, width: int, cells: int) -> FloatArray:
    """Smooth random fields [count, height, width]: a coarse random grid, resized bilinearly."""
    rows, cols = min(cells, height), min(max(1, round(cells * width / height)), width)
    grid = rng.standard_normal((count, rows + 1, cols + 1), dtype=np.float32)

    def axis(size: int, steps: int) -> tuple[NDArray[np.intp], FloatArray]:
        place = (np.arange(size) + 0.5) * steps / size
        low = np.minimum(place.astype(np.intp), steps - 1)
        return low, (place - low).astype(np.float32)

    y, fy = axis(height, rows)
    x, fx = axis(width, cols)
    band = grid[:, y] * (1 - fy)[:, None] + grid[:, y + 1] * fy[:, None]
    return np.asarray(band[:, :, x] * (1 - fx) + band[:, :, x + 1] * fx, dtype=np.float32)


def synthetic_images(config: ModelConfig, count: int, seed: int) -> FloatArray:
    """Random images float32 [count, C, H, W] in [0, 1] with detail at several scales.

    Amplitude falls with frequency, as in photographs; channels share most of their structure.
    The same ``seed`` gives the same images.
    """
    rng = np.random.default_rng(seed)
    height, width = config.image
    # Doubling grids, from two cells a side to one cell every two pixels.
    scales = [2**i for i in range(1, max(2, height.bit_length()))]
    images = np.zeros((count, config.channels, height, width), dtype=np.float32)
    for cells in scales:
        common = _field(rng, count, height, width, cells)
        for channel in range(config.channels):
            own = _field(rng, count, height, width, cells)
            images[:, channel] += (0.8 * common + 0.4 * own) * (2.0 / cells) ** 0.8
    # Brightness and contrast differ from image to image, as exposures do.
    spread = images.std(axis=(1, 2, 3), keepdims=True) + 1e-6
    contrast = rng.uniform(0.12, 0.3, (count, 1, 1, 1)).astype(np.float32)
    level = rng.uniform(0.35, 0.65, (count, 1, 1, 1)).astype(np.float32)
    pixels = np.clip(images / spread * contrast + level, 0.0, 1.0)
    return np.asarray(pixels, dtype=np.float32)


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise HwmoeError(f"image file {path} does not exist")
    if path.is_dir():
        raise HwmoeError(f"{path} is a folder; here an .npz file with the images is needed")
    if not zipfile.is_zipfile(path):
        raise HwmoeError(f"{path} is not an .npz file; write it with numpy.savez(path, images=...)")
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
    except (ValueError, OSError, RuntimeError, MemoryError, *BROKEN_ZIP) as error:
        raise HwmoeError(
            f"{path} cannot be read: {error}; store plain numeric arrays with numpy.savez"
        ) from None
    # numpy hands members of the archive that are not arrays back as bytes.
    foreign = [key for key, value in arrays.items() if not isinstance(value, np.ndarray)]
    if foreign:
        raise HwmoeError(f"{path} holds members that are no numpy arrays: {', '.join(foreign)}")
    return arrays


def _pixels(name: str, array: NDArray[np.generic], problems: list[str]) -> FloatArray:
    """Float32 pixels [N, C, H, W] of one array; what is wrong goes to ``problems``."""
    empty = np.zeros((0, 1, 1, 1), dtype=np.float32)
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.uint8)):
        problems.append(f"{name}: dtype {array.dtype}; use float32, or uint8 (divided by 255)")
        return empty
    if array.ndim != 4 or 0 in array.shape:
        problems.append(f"{name}: shape {list(array.shape)}; must be [N, C, H, W], none of them 0")
        return empty
    scale = 255 if array.dtype == np.uint8 else 1
    pixels = np.ascontiguousarray(array.astype(np.float32) / np.float32(scale))
    bad = np.argwhere(~np.isfinite(pixels))
    if len(bad):
        first = [int(i) for i in bad[0]]
        problems.append(f"{name}: {len(bad)} values are NaN or infinite, the first at {first}")
    return pixels


def _labels(
    arrays: dict[str, NDArray[np.generic]], count: int, problems: list[str]
) -> dict[str, IntArray] | None:
    labels: dict[str, IntArray] = {}
    for key in (k for k in arrays if k.startswith("labels_")):
        array = arrays[key]
        if array.dtype.kind not in "iu" or array.ndim != 1:
            shape = list(array.shape)
            problems.append(f"{key}: {array.dtype} {shape}; must be integers [N], one an image")
        elif count and len(array) != count:
            problems.append(f"{key}: {len(array)} labels for {count} images")
        elif len(array) and int(array.astype(np.int64).min()) < 0:
            problems.append(f"{key}: holds a negative label; classes count from 0")
        else:
            labels[key.removeprefix("labels_")] = array.astype(np.int64)
    return labels or None


def load_images(path: str | Path) -> Images:
    """Read a user's ``.npz``: ``images``, optional ``labels_<task>`` and ``calibration``.

    Pixel arrays are [N, C, H, W], float32 or uint8 (divided by 255); labels are integers [N].
    Without ``calibration`` the images themselves serve. Raises `HwmoeError` listing every
    problem of the file at once. Pickled arrays are never loaded.
    """
    path = Path(path)
    arrays = _read_npz(path)
    if "images" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise HwmoeError(f"{path} has no array 'images' [N, C, H, W]; it holds: {found}")
    problems: list[str] = []
    unknown = [
        k for k in arrays if k not in ("images", "calibration") and not k.startswith("labels_")
    ]
    if unknown:
        problems.append(
            f"unknown arrays {unknown}; known are images, calibration and labels_<task>"
        )
    test = _pixels("images", arrays["images"], problems)
    calibration = test
    if "calibration" in arrays:
        calibration = _pixels("calibration", arrays["calibration"], problems)
        if len(test) and len(calibration) and calibration.shape[1:] != test.shape[1:]:
            problems.append(
                f"calibration: images are {list(calibration.shape[1:])}, "
                f"those of 'images' {list(test.shape[1:])}"
            )
    labels = _labels(arrays, len(test), problems)
    if problems:
        raise HwmoeError(f"{path} is not valid:\n" + "\n".join(f"  {p}" for p in problems))
    return Images(calibration, test, labels, str(path))


def check_images(config: ModelConfig, images: Images) -> Images:
    """Hand ``images`` back if they fit the model (shape, tasks, classes), else `HwmoeError`."""
    problems = []
    want = (config.channels, *config.image)
    if images.test.shape[1:] != want:
        problems.append(f"images are {list(images.test.shape[1:])}, the model takes {list(want)}")
    classes = {task.name: task.classes for task in config.tasks}
    for name, labels in (images.labels or {}).items():
        if name not in classes:
            problems.append(f"labels_{name}: no such task; the model has {', '.join(classes)}")
        elif len(labels) and int(labels.max()) >= classes[name]:
            problems.append(
                f"labels_{name}: label {int(labels.max())}, but the task has "
                f"{classes[name]} classes (0 to {classes[name] - 1})"
            )
    if problems:
        what = f"{images.source} does not fit model {config.name!r}"
        raise HwmoeError(f"{what}:\n" + "\n".join(f"  {p}" for p in problems))
    return images


def images_for(
    config: ModelConfig,
    spec: str | None = None,
    calibration: int = 16,
    test: int = 8,
    seed: int = 0,
    limit: int | None = None,
) -> Images:
    """Images for a model: the file or folder ``spec``, else the digits data, else synthetic ones.

    ``calibration`` and ``test`` count the synthetic images, ``seed`` draws them; of a folder at
    most ``limit`` pictures are read to test on. Raises `HwmoeError` when the file or folder is not
    valid or does not fit the model.
    """
    if spec is not None and os.path.isdir(spec):
        return check_images(config, Images(*folder_pixels(config, Path(spec), limit)))
    if spec is not None:
        return check_images(config, load_images(spec))
    if config.name == "digits" and (config.channels, *config.image) == (1, 8, 8):
        digits = digits_images()
        known = {task.name: task.classes for task in config.tasks}
        labels = {k: v for k, v in (digits.labels or {}).items() if v.max() < known.get(k, 0)}
        return replace(digits, labels=labels or None)
    fields = synthetic_images(config, calibration + test, seed)
    source = f"synthetic images (seed {seed})"
    return Images(fields[:calibration], fields[calibration:], None, source)
