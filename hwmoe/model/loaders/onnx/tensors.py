"""Tensors of an ONNX file: their declared size is checked before anything is allocated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.model.loaders.onnx.graph import Array

MAX_BYTES = 2**31 - 1
"""Of the file, and of all weights together: what one protobuf message can hold."""
MAX_RANK = 8
EXTERNAL = 1  # TensorProto.EXTERNAL
DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
"""TensorProto.DataType -> NumPy, for the types a vision transformer is made of."""


def declared_bytes(tensor: Any) -> int | None:
    """Bytes that the shape of a TensorProto asks for; None if it makes no sense."""
    dims = list(tensor.dims)
    if tensor.data_type not in DTYPES or len(dims) > MAX_RANK or any(d < 0 for d in dims):
        return None
    return int(math.prod(dims) * np.dtype(DTYPES[tensor.data_type]).itemsize)


def read_tensor(tensor: Any, path: Path) -> Array:
    """A TensorProto as NumPy array; its data must have exactly the declared size."""
    size = declared_bytes(tensor)
    name = tensor.name or "a constant"
    if size is None or size > MAX_BYTES:
        raise HwmoeError(f"{path}: {name} has a type or shape that hwmoe does not read")
    dtype = np.dtype(DTYPES[tensor.data_type])
    if tensor.data_location == EXTERNAL:
        content = _external(tensor, path, size)
    elif tensor.raw_data:
        content = tensor.raw_data
    else:
        return _typed_fields(tensor, path, name, size // dtype.itemsize)
    if len(content) != size:
        raise HwmoeError(
            f"{path}: {name} of shape {list(tensor.dims)} needs {size:,} bytes and has "
            f"{len(content):,}"
        )
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(tensor.dims)


def _typed_fields(tensor: Any, path: Path, name: str, count: int) -> Array:
    """Values stored as numbers instead of bytes."""
    stored = max(
        len(tensor.float_data),
        len(tensor.int32_data),
        len(tensor.int64_data),
        len(tensor.double_data),
    )
    if stored != count:
        raise HwmoeError(
            f"{path}: {name} of shape {list(tensor.dims)} needs {count:,} values and has {stored:,}"
        )
    array: Array = require("onnx.numpy_helper").to_array(tensor)
    return array


def _external(tensor: Any, path: Path, size: int) -> bytes:
    """Bytes of a tensor that lies in a file beside the model, and nowhere else."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.absolute().parent.resolve()
    location = entries.get("location", "")
    place = (folder / location).resolve() if location else folder
    if Path(location).is_absolute() or folder not in place.parents:
        raise HwmoeError(
            f"{path}: the data of {tensor.name} lie in {location!r}, outside the model's folder"
        )
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    except ValueError:
        raise HwmoeError(f"{path}: {tensor.name} has an offset that is no number") from None
    try:
        available = place.stat().st_size if place.is_file() else -1
        if available < 0:
            raise HwmoeError(f"{path}: the file {location!r} with its weights is missing")
        if offset < 0 or length != size or offset + length > available:
            raise HwmoeError(
                f"{path}: {tensor.name} needs {size:,} bytes at {offset:,} of {location!r}, which "
                f"has {available:,}"
            )
        with place.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise HwmoeError(f"{path}: {location!r} cannot be read: {error.strerror}") from None
