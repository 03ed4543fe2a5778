"""A package as files; arguments, pixels and tensors between the user's form and the machine's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MANIFEST_VERSION = 1
RUNTIMES = ("pynq", "xrt")

Manifest = dict[str, Any]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int16]
Task = int | str | Sequence[int | str]


class PackageError(ValueError):
    """The package is incomplete, altered, or of another version."""


def read_package(package: Path | str) -> tuple[Path, Manifest]:
    """The folder and the manifest of a package, given as a folder or as its manifest.json."""
    path = Path(package)
    path = path / "manifest.json" if path.is_dir() else path
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror}); is it a package?") from None
    except ValueError as error:
        raise PackageError(f"{path}: not a manifest ({error}); copy the package again") from None
    version = manifest.get("manifest") if isinstance(manifest, dict) else None
    if version != MANIFEST_VERSION:
        raise PackageError(f"{path}: manifest of version {version}, not {MANIFEST_VERSION}")
    if manifest["runtime"] not in RUNTIMES:
        raise PackageError(f"{path}: runtime {manifest['runtime']!r} is none of {RUNTIMES}")
    return path.parent.absolute(), manifest


def read_file(folder: Path, entry: Manifest) -> bytes:
    """A file as it was packaged. `PackageError` says what is missing or which part is altered."""
    path = folder / entry["file"]
    try:
        data: bytes = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) != entry.get("bytes", len(data)):
        raise PackageError(
            f"{path} has {len(data)} bytes and should have {entry['bytes']}; copy the package again"
        )
    if _sha256(data) != entry["sha256"]:
        altered = [
            part["name"]
            for part in entry.get("parts", ())
            if _sha256(data[part["offset"] : part["offset"] + part["bytes"]]) != part["sha256"]
        ]
        where = f" in {', '.join(altered)}" if altered else ""
        raise PackageError(f"{path} was altered{where}; copy the package again")
    return data


def check_images(image: Manifest, images: npt.ArrayLike) -> Floats:
    """float32 [n, C, H, W], n at least 1, finite; otherwise `TypeError` or `ValueError`."""
    found = np.asarray(images)
    want = (image["channels"], image["height"], image["width"])
    if found.dtype != np.float32:
        raise TypeError(
            f"images are {found.dtype}; the model wants float32 pixels as it was trained on, "
            "for instance images.astype('float32') / 255"
        )
    if found.ndim != 4 or found.shape[1:] != want or not len(found):
        raise ValueError(f"images have shape {list(found.shape)}; wanted is [n, {want}], n > 0")
    if not np.isfinite(found).all():
        raise ValueError("images hold NaN or infinity")
    return found


def task_numbers(names: list[str], task: Task, count: int) -> list[int]:
    """The number of a task for each of `count` images; `ValueError` if there is no such task.

    task: a number or name, or as many of them as there are images.
    """
    given = [task] * count if isinstance(task, int | str | np.integer) else list(task)
    if len(given) != count:
        raise ValueError(f"{len(given)} tasks for {count} images; give one, or one an image")
    known: dict[int | str, int] = {name: number for number, name in enumerate(names)}
    known |= {number: number for number in range(len(names))}
    if unknown := [one for one in given if one not in known]:
        raise ValueError(f"no task {unknown[0]!r}; there are {names}, or their numbers from 0")
    return [known[one] for one in given]


def image_records(image: Manifest, images: Floats, tasks: list[int], size: int) -> Bytes:
    """Records of `size` bytes, uint8 [n, size]: task, then int8 patches as tile-major words."""
    gain, offset = (np.array(image[key])[:, None, None] for key in ("gain", "offset"))
    pixels = np.floor(images.astype(np.float64) * gain - offset + 0.5)
    pixels = np.clip(pixels, -128, 127).astype(np.int8)
    (n, channels, height, width), (ph, pw) = images.shape, image["patch"]
    patches = pixels.reshape(n, channels, height // ph, ph, width // pw, pw)
    patches = patches.transpose(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * ph * pw)
    lanes = image["lanes"]
    padded = np.pad(patches, ((0, 0), (0, 0), (0, -patches.shape[2] % lanes)))
    words = padded.reshape(n, patches.shape[1], -1, lanes).transpose(0, 2, 1, 3).reshape(n, -1)
    records = np.zeros((n, size), np.uint8)
    records[:, :4] = np.array(tasks, "<u4").reshape(-1, 1).view(np.uint8)
    records[:, image["header"] : image["header"] + words.shape[1]] = words.view(np.uint8)
    return records


def trace_tensors(image: Manifest, taps: list[Manifest], result: Ints) -> dict[str, Ints]:
    """int16 [rows, channels] by name from an image's results, where they are tile-major words."""
    tensors, lanes = {}, image["lanes"]
    for tap in taps:
        rows, channels, start = tap["rows"], tap["channels"], tap["offset"] // 2
        size = rows * -(-channels // lanes) * lanes
        words = result[start : start + size].reshape(-1, rows, lanes).transpose(1, 0, 2)
        tensors[tap["name"]] = np.array(words.reshape(rows, -1)[:, :channels])
    return tensors


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
