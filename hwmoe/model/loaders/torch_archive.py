"""A ``.pt`` or ``.pth`` file of `torch.save` (version 1.6 and later) without running its pickle.

It is a zip archive whose members are stored as they are: the pickle, which only describes, and
one member of raw values for each storage. All sizes are checked before a value is read.
"""

from __future__ import annotations

import os
import zipfile
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.imported import Note
from hwmoe.model.loaders.options import ImportOptions
from hwmoe.model.loaders.pickle_reader import MAX_BYTES as MAX_PICKLE
from hwmoe.model.loaders.pickle_reader import Call, TensorRecord, read_pickle
from hwmoe.model.loaders.source import MAX_TENSORS, Source

# Where training scripts keep the weights, the first that is there.
WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "module",
    "model_ema",
    "state_dict_ema",
)
MAX_DIRECTORY = 16 * 2**20  # bytes that list the members
END_OF_DIRECTORY = 66_000  # the end record and the longest comment
LOCAL_HEADER = 30
MAX_KEY = 300
MAX_SPREAD = 16  # values a view may span for each one of its own
BROKEN = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError)


def torch_source(path: Path, options: ImportOptions) -> Source:
    """The tensors of a file; they are read one by one, when asked for.

    Raises `HwmoeError` for a file that is no such archive, holds code, is compressed (torch never
    does that, zip bombs do), or describes tensors that its members do not hold.
    """
    try:
        with path.open("rb") as file:
            members = _members(file)
            root, content = _pickle(file, members)
        records, notes = _weights(read_pickle(content), options)
        for key, record in records.items():
            _check(key, record, members.get(f"{root}/data/{record.storage.key}"))
    except HwmoeError as error:
        raise HwmoeError(f"{path}: {error}") from None
    except BROKEN as error:
        raise HwmoeError(f"{path} is not a sound archive of torch.save: {error}") from None

    def read(key: str) -> Tensor:
        record = records[key]
        try:
            with path.open("rb") as file:
                return _values(file, record, members[f"{root}/data/{record.storage.key}"])
        except BROKEN as error:
            raise HwmoeError(f"its values cannot be read: {error}") from None

    return Source(str(path), {k: r.shape for k, r in records.items()}, read, notes)


def _members(file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by name, after a look at how large their list is."""
    if _directory_bytes(file) > MAX_DIRECTORY:
        raise HwmoeError(f"its list of members has more than {MAX_DIRECTORY:,} bytes")
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise HwmoeError("has two members of one name; save it again")
    if any(name.endswith("/constants.pkl") for name in members):
        raise HwmoeError("is a TorchScript program; save its state_dict() instead")
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            says = f"{info.filename} is compressed ({info.compress_size:,} to {info.file_size:,})"
            raise HwmoeError(f"{says}, which torch.save never does; save it again")
    total, size = sum(info.file_size for info in members.values()), file.seek(0, os.SEEK_END)
    if total > size:
        raise HwmoeError(f"its members claim {total:,} bytes, the file has {size:,}")
    return members


def _directory_bytes(file: BinaryIO) -> int:
    """Bytes of the central directory, found as `zipfile` does (PKWARE's APPNOTE, 4.3.16)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_OF_DIRECTORY))
    tail = file.read(END_OF_DIRECTORY)
    place = len(tail) - 22
    if tail[place : place + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        place = tail.rfind(b"PK\x05\x06")
    if place < 0:
        raise HwmoeError("is not a zip archive; torch before 1.6 wrote bare pickles: save it again")
    wide = tail[max(0, place - 76) : max(0, place - 20)]
    if tail[place - 20 : place - 16] == b"PK\x06\x07" and wide.startswith(b"PK\x06\x06"):
        return int.from_bytes(wide[40:48], "little")
    return int.from_bytes(tail[place + 12 : place + 16], "little")


def _pickle(file: BinaryIO, members: dict[str, zipfile.ZipInfo]) -> tuple[str, bytes]:
    """The archive's root folder and its pickle."""
    pickled = [name for name in members if name.split("/", 1)[1:] == ["data.pkl"]]
    if len(pickled) != 1:
        raise HwmoeError("has no data.pkl; it is not of torch.save (or older than torch 1.6)")
    root = pickled[0].split("/", 1)[0]
    for name, limit in ((pickled[0], MAX_PICKLE), (f"{root}/byteorder", 16)):
        if name in members and members[name].file_size > limit:
            raise HwmoeError(f"{name} has {members[name].file_size:,} bytes, limit {limit:,}")
    with zipfile.ZipFile(file) as archive:
        if f"{root}/byteorder" in members and archive.read(f"{root}/byteorder") != b"little":
            raise HwmoeError("was written on a big-endian machine; save it again on another")
        return root, archive.read(pickled[0])


def _values(file: BinaryIO, record: TensorRecord, member: zipfile.ZipInfo) -> Tensor:
    """The part of the member that the tensor spans, and the tensor of it."""
    file.seek(member.header_offset)
    header = file.read(LOCAL_HEADER)
    if header[:4] != b"PK\x03\x04":
        raise ValueError("its member is not where the archive says")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    dtype: torch.dtype = getattr(torch, record.storage.dtype)
    start = member.header_offset + LOCAL_HEADER + names + record.offset * dtype.itemsize
    file.seek(start)
    raw = bytearray(file.read(record.span * dtype.itemsize))
    if len(raw) < record.span * dtype.itemsize:
        raise ValueError("the file ends before its last value")
    return torch.frombuffer(raw, dtype=dtype).as_strided(record.shape, record.stride)


def _weights(content: object, options: ImportOptions) -> tuple[dict[str, TensorRecord], list[Note]]:
    """The state dict in a checkpoint, and notes of what lies beside it."""
    if not isinstance(content, dict):
        what = content.name if isinstance(content, Call) else type(content).__name__
        raise HwmoeError(f"holds a {what}, not a state dict; save model.state_dict()")
    inner = {k: v for k, v in content.items() if isinstance(v, dict) and _tensors(v)}
    notes = []
    if options.entry is not None:
        if options.entry not in inner:
            raise HwmoeError(f"has no entry {options.entry!r} with weights, only {list(inner)}")
        name = options.entry
    else:
        name = next((wrapper for wrapper in WRAPPERS if wrapper in inner), "")
    if name:
        others = [str(key)[:MAX_KEY] for key in content if key != name]
        text = f"the weights are in {name!r}"
        if others:
            text += f"; beside it, not read: {', '.join(others[:12])} (--entry to choose)"
        notes.append(Note(name, text))
        content = inner[name]
    records = _tensors(content)
    if not records:
        raise HwmoeError(f"holds no tensors; its entries are {list(map(str, content))[:12]}")
    if len(records) > MAX_TENSORS:
        raise HwmoeError(f"holds {len(records):,} tensors, over the limit of {MAX_TENSORS:,}")
    if any(len(key) > MAX_KEY for key in records):
        raise HwmoeError(f"holds a key of more than {MAX_KEY} letters")
    if other := [str(key)[:MAX_KEY] for key in content if key not in records]:
        notes.append(Note(", ".join(other[:12]), "no tensors; not read"))
    return records, notes


def _tensors(entry: dict[object, object]) -> dict[str, TensorRecord]:
    return {k: v for k, v in entry.items() if isinstance(k, str) and isinstance(v, TensorRecord)}


def _check(key: str, record: TensorRecord, member: zipfile.ZipInfo | None) -> None:
    """The tensor lies in its storage, and the storage in its member."""
    size = getattr(torch, record.storage.dtype).itemsize
    if member is None or member.file_size < record.storage.count * size:
        has = "no such member" if member is None else f"{member.file_size:,} bytes"
        raise HwmoeError(f"{key} needs {record.storage.count * size:,} bytes, there are {has}")
    count = record.storage.count
    says = f"{key} has shape {list(record.shape)} and strides {list(record.stride)}"
    if 0 in record.shape:
        raise HwmoeError(f"{says}, which is empty")
    if record.offset + record.span > count:
        raise HwmoeError(f"{says}, but its storage only {count:,} values")
    # Views that repeat values are small in the file and huge in memory; sparse ones the opposite.
    if not record.span <= MAX_SPREAD * prod(record.shape) <= MAX_SPREAD * record.span:
        raise HwmoeError(f"{says}: a view that repeats or scatters its values; save .contiguous()")
