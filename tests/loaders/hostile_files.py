"""Files made to do harm. Run as a program, it imports them with little memory and time.

`python hostile_files.py FOLDER` prints a JSON object: file name -> what was said of it.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

MEMORY = 256 * 2**20  # bytes beyond what Python and PyTorch take
SECONDS = 60


class Calls:
    """Pickled as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Values:
    """Pickled as a storage of ``count`` floats in member ``data/0``."""

    def __init__(self, count: int) -> None:
        self.count = count


class TorchPickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, Values):
            return ("storage", torch.FloatStorage, "0", "cpu", thing.count)
        return None


def pickled(thing: Any) -> bytes:
    content = BytesIO()
    TorchPickler(content, protocol=2).dump(thing)
    return content.getvalue()


def archive(path: Path, pickle_bytes: bytes, data: bytes = b"", compress: bool = False) -> None:
    """As torch.save lays it out."""
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("archive/data.pkl", pickle_bytes)
        file.writestr("archive/byteorder", "little")
        with file.open("archive/data/0", "w") as member:
            member.write(data)


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], count: int, offset: int = 0) -> Calls:
    arguments = (Values(count), offset, shape, stride, False, {})
    return Calls(torch._utils._rebuild_tensor_v2, *arguments)


def bomb(path: Path) -> None:
    """600 MB of zeros in 600 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("archive/data.pkl", pickled({}))
        with file.open("archive/data/0", "w") as member:
            for _ in range(600):
                member.write(bytes(2**20))


def liar(path: Path) -> None:
    """An archive whose list of members claims 4 GB for four bytes."""
    archive(path, pickled({}), b"abcd")
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 20 : place + 28] = 2 * (2**32 - 16).to_bytes(4, "little")
    path.write_bytes(content)


def nested() -> bytes:
    """A dict whose one key, pairs of pairs of pairs, takes 2**60 steps to hash."""
    return b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."


def safetensors(path: Path, header: bytes, length: int | None = None, data: bytes = b"") -> None:
    size = len(header) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + header + data)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def state(path: Path, changes: dict[str, torch.Tensor]) -> None:
    from foreign_vit import Vit

    torch.save(Vit().state_dict() | changes, path)


def edge(folder: Path, spoil: Callable[[Path], None]) -> None:
    from foreign_vit import EdgeMoe

    spoil(EdgeMoe().write(folder))


def make(folder: Path, marker: Path) -> None:
    """All the files, below ``folder``; code in them would create ``marker``."""
    touch = f"touch {marker}"
    archive(folder / "code.pt", pickled({"a": Calls(os.system, touch)}))
    archive(folder / "eval.pt", pickled({"a": Calls(eval, "1")}))
    archive(folder / "bytearray.pt", pickled({"a": Calls(bytearray, 10**12)}))
    bomb(folder / "bomb.pt")
    liar(folder / "liar.pt")
    archive(folder / "overflow.pt", pickled({"x": tensor((2**40, 2**40), (2**40, 1), 1)}), b"abcd")
    archive(folder / "broadcast.pt", pickled({"x": tensor((10**6, 10**6), (0, 0), 1)}), b"abcd")
    archive(folder / "short.pt", pickled({"x": tensor((100,), (1,), 100)}), b"abcd")
    archive(folder / "outside.pt", pickled({"x": tensor((1,), (1,), 1, offset=2**40)}), b"abcd")
    archive(folder / "memo.pt", b"\x80\x02}r\xff\xff\xff\xff.")
    archive(folder / "hash.pt", nested())
    archive(folder / "stack.pt", b"\x80\x02" + b"(" * (2**21 - 16) + b"N.")
    archive(folder / "long.pt", b"\x80\x02" + b"(" * 2**22)
    archive(folder / "claim.pt", b"\x80\x02\x8e" + (2**40).to_bytes(8, "little"))
    archive(folder / "pickle4.pt", pickle.dumps({"a": Calls(os.system, touch)}, protocol=4))
    (folder / "half.pt").write_bytes((folder / "code.pt").read_bytes()[:100])
    (folder / "bare.pt").write_bytes(pickle.dumps({"a": Calls(os.system, touch)}))
    (folder / "empty.pt").write_bytes(b"")
    os.mkfifo(folder / "pipe.pt")
    safetensors(folder / "header.safetensors", b"{}", 2**62)
    sparse(folder / "sparse.safetensors", 2**40)
    with (folder / "sparse.safetensors").open("r+b") as file:
        file.write((2**39).to_bytes(8, "little"))
    safetensors(folder / "deep.safetensors", b"[" * 10**6)
    big = b'{"x":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}'
    safetensors(folder / "overflow.safetensors", big, data=b"abcd")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"a": Calls(os.system, touch)}))
    state(folder / "depth.pt", {"blocks.999999999.norm1.weight": torch.ones(24)})
    state(folder / "digits.pt", {f"blocks.{'9' * 5000}.norm1.weight"[:290]: torch.ones(24)})
    state(folder / "nan.pt", {"blocks.0.norm1.weight": torch.full((24,), torch.nan)})
    state(folder / "inf.pt", {"head.bias": torch.tensor([1.0] * 6 + [torch.inf])})
    state(folder / "double.pt", {"head.bias": torch.full((7,), 1e300, dtype=torch.float64)})
    state(folder / "int.pt", {"head.bias": torch.ones(7, dtype=torch.int64)})
    state(folder / "zero.pt", {"norm.weight": torch.ones(0)})
    name = "l0_qkv_weight.float32.bin"
    edge(folder / "cut", lambda f: os.truncate(f / name, 1000))
    edge(folder / "odd", lambda f: os.truncate(f / name, 1001))
    edge(folder / "giant", lambda f: sparse(f / name, 2**40))
    edge(folder / "large", lambda f: sparse(f / name, 2**31))
    edge(folder / "missing", lambda f: os.remove(f / name))
    edge(folder / "fifo", lambda f: (os.remove(f / name), os.mkfifo(f / name))[0])
    edge(folder / "nan", lambda f: np.full(768, np.nan, "<f4").tofile(f / name))
    (folder / "nothing").mkdir()


def main(folder: Path) -> None:
    from hwmoe.errors import HwmoeError
    from hwmoe.model.loaders.load import import_file
    from hwmoe.model.loaders.options import ImportOptions

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    edge_options = ImportOptions(heads=2, patch=(4, 4), image=(8, 16), top_k=2)
    said = {}
    for path in sorted(folder.iterdir()):
        try:
            import_file(path, edge_options if path.is_dir() else ImportOptions(heads=3))
            said[path.name] = "imported"
        except HwmoeError as error:
            said[path.name] = str(error)
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
