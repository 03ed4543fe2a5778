"""Other people's models from files: which reader takes what."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hwmoe.errors import HwmoeError
from hwmoe.model.checkpoint import CONFIG_KEY, load_checkpoint
from hwmoe.model.loaders.convert import convert
from hwmoe.model.loaders.files import folder_source, safetensors_header, safetensors_source
from hwmoe.model.loaders.imported import Imported
from hwmoe.model.loaders.module import import_module
from hwmoe.model.loaders.onnx.importer import import_onnx
from hwmoe.model.loaders.options import NOTHING_SAID, ImportOptions
from hwmoe.model.loaders.torch_archive import torch_source

TORCH = (".pt", ".pth", ".bin", ".ckpt", ".tar")


def import_file(path: str | Path, options: ImportOptions = NOTHING_SAID) -> Imported:
    """A model in a safetensors file (ours too), an ONNX file, one of torch.save, or a raw folder.

    Raises `HwmoeError` for what cannot be read, `ImportFailed` for what our model cannot be.
    """
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise HwmoeError(f"{path} does not exist; check the path")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().stem).strip("-")[:64] or "imported"
    if path.is_dir():
        return convert(folder_source(path), options, name)
    if not path.is_file():
        raise HwmoeError(f"{path} is neither a file nor a folder")
    if path.suffix == ".safetensors":
        if CONFIG_KEY in (safetensors_header(path).get("__metadata__") or {}):
            return import_module(load_checkpoint(path))
        return convert(safetensors_source(path), options, name)
    if path.suffix in TORCH:
        return convert(torch_source(path, options), options, name)
    if path.suffix == ".onnx":
        return import_onnx(path, options)
    raise HwmoeError(
        f"{path}: the kind of file is told by its ending, which must be .safetensors, .onnx, "
        f"{', '.join(TORCH)}, or it is a folder of .float32.bin files"
    )
