"""Other readers: a safetensors file, and a folder of raw float32 files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.source import MAX_TENSORS, MAX_VALUES, Source

MAX_HEADER = 8 * 2**20  # bytes of JSON: 20,000 tensors need 3 MB
FLOAT_FILE = ".float32.bin"
BROKEN = (SafetensorError, OSError, ValueError, KeyError, AttributeError)


def safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; ``__metadata__`` is the one key that is no tensor.

    Raises `HwmoeError` for a header that is longer than the file or `MAX_HEADER`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER, max(0, size - 8)):
            says = f"declares a header of {length:,} bytes in a file of {size:,}"
            raise HwmoeError(f"{path} {says} (limit {MAX_HEADER:,}); it is not sound")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise HwmoeError(f"{path}: its header is not JSON: {error}") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise HwmoeError(f"{path}: its header is no list of up to {MAX_TENSORS:,} tensors")
    return header


def safetensors_source(path: Path) -> Source:
    """The tensors of a safetensors file, read one by one when asked for.

    Raises `HwmoeError` if its header is not sound, or its tensors do not lie in the file.
    """
    safetensors_header(path)
    try:
        # The library checks that offsets, shapes and types agree and lie in the file.
        opened: Any = safe_open(path, framework="pt")
        shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except BROKEN as error:
        raise HwmoeError(f"{path} is not a sound safetensors file: {error}") from None

    def read(key: str) -> Tensor:
        try:
            tensor: Tensor = opened.get_tensor(key)
        except BROKEN as error:
            raise HwmoeError(f"cannot be read: {error}") from None
        return tensor

    return Source(str(path), shapes, read)


def folder_source(folder: Path) -> Source:
    """A folder of ``NAME.float32.bin`` files: little-endian float32, no header.

    Their sizes are all that is known of their shapes. Raises `HwmoeError` for a folder without
    such files, and for files that are not a multiple of 4 bytes, all at once.
    """
    counts: dict[str, tuple[int, ...]] = {}
    problems = []
    names = sorted(name for name in os.listdir(folder) if name.endswith(FLOAT_FILE))
    if not names or len(names) > MAX_TENSORS:
        raise HwmoeError(
            f"{folder} holds {len(names):,} files NAME{FLOAT_FILE}; a folder in Edge-MoE's layout "
            f"has 1 to {MAX_TENSORS:,}"
        )
    for name in names:
        state = (folder / name).stat()
        if not stat.S_ISREG(state.st_mode):
            problems.append(f"{name}: not a plain file")
        elif state.st_size % 4 or not state.st_size:
            problems.append(f"{name}: {state.st_size:,} bytes, no multiple of 4; it is truncated")
        elif state.st_size // 4 > MAX_VALUES:
            problems.append(
                f"{name}: {state.st_size:,} bytes, over the limit of {4 * MAX_VALUES:,}"
            )
        counts[name.removesuffix(FLOAT_FILE)] = (state.st_size // 4,)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise HwmoeError(f"{folder} cannot be imported:\n{lines}")

    def read(key: str) -> Tensor:
        values = np.fromfile(folder / f"{key}{FLOAT_FILE}", "<f4", counts[key][0])
        if len(values) != counts[key][0]:
            raise HwmoeError("the file became shorter while it was read")
        return torch.from_numpy(values.astype(np.float32))

    return Source(str(folder), counts, read, flat=True)
