"""Checkpoints: one safetensors file with the weights and the configuration."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT

CONFIG_KEY = "hwmoe.config"
FORMAT_KEY = "hwmoe.format"
SCALES_KEY = "hwmoe.given_scales"
FORMAT = "1"

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HOW_TO_CONVERT = (
    "`hwmoe import` makes a checkpoint of other people's weights; in Python, save_checkpoint(path, "
    "model) of hwmoe.model.checkpoint writes a MoEViT"
)


def save_checkpoint(path: str | Path, model: MoEViT) -> None:
    """Write the float32 weights and the configuration of ``model`` to a safetensors file.

    The file is written beside its final place and then renamed, so that a reader never sees
    half of one. Raises `HwmoeError` if it cannot be written.
    """
    path = Path(path)
    weights = {k: v.detach().float().contiguous() for k, v in model.state_dict().items()}
    config = json.dumps(model.config.model_dump(mode="json"), sort_keys=True)
    metadata = {CONFIG_KEY: config, FORMAT_KEY: FORMAT}
    if model.given_scales:
        scales = {name: value.tolist() for name, value in model.given_scales.items()}
        metadata[SCALES_KEY] = json.dumps(scales, sort_keys=True)
    content = _stable(save(weights, metadata=metadata))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)  # mkstemp makes it private
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HwmoeError(f"checkpoint {path} cannot be written: {error.strerror}") from None


def _stable(content: bytes) -> bytes:
    """The same file with its header sorted: safetensors orders the metadata at random."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the data must start at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + content[end:]


def load_checkpoint(path: str | Path) -> MoEViT:
    """Read a model, in evaluation mode, from a file that `save_checkpoint` wrote.

    Raises `HwmoeError` for a file that is missing, of another kind (pickles are recognised
    and never loaded), or whose tensors do not fit its configuration; all are listed at once.
    """
    path = Path(path)
    _check_kind(path)
    metadata, weights = _read(path)
    config = _config(path, metadata)
    with torch.device("meta"):  # shapes without the cost of a random initialisation
        model = MoEViT(config)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    problems = _shape_problems(expected, weights) + _value_problems(weights)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise HwmoeError(f"checkpoint {path} does not fit its configuration:\n{lines}")
    model.load_state_dict({name: t.float() for name, t in weights.items()}, assign=True)
    model.given_scales = _scales(path, metadata)
    return model.eval()


def _check_kind(path: Path) -> None:
    """Turn away what is plainly not a safetensors file, by its first bytes."""
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise HwmoeError(f"checkpoint {path} does not exist; check the path")
    if path.is_dir():
        raise HwmoeError(f"{path} is a folder; give the .safetensors file itself. {HOW_TO_CONVERT}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise HwmoeError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    if not start:
        raise HwmoeError(f"checkpoint {path} is empty; write it again")
    # torch.save writes a zip archive, or, before version 1.6, a bare pickle (protocol 2+).
    pickled = start[0] == 0x80 and len(start) > 1 and start[1] in range(2, 6)
    length = int.from_bytes(start, "little")
    if start.startswith(b"PK\x03\x04") or (pickled and length > path.stat().st_size):
        raise HwmoeError(
            f"{path} is a pickled PyTorch file, which can run any code when loaded; this takes "
            f"hwmoe's own checkpoints only: {HOW_TO_CONVERT}"
        )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, weights
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise HwmoeError(f"{path} is not a sound safetensors file: {error}") from None


def _config(path: Path, metadata: dict[str, str]) -> ModelConfig:
    if CONFIG_KEY not in metadata:
        raise HwmoeError(
            f"{path} is a safetensors file without a hwmoe configuration (metadata key "
            f"{CONFIG_KEY!r}); {HOW_TO_CONVERT}"
        )
    version = metadata.get(FORMAT_KEY)
    if version != FORMAT:
        raise HwmoeError(
            f"checkpoint {path} has format {version!r}, this hwmoe reads {FORMAT!r}; "
            "write it again with this version"
        )
    try:
        data = json.loads(metadata[CONFIG_KEY])
    except ValueError as error:
        raise HwmoeError(f"the configuration in checkpoint {path} is not JSON: {error}") from None
    return ModelConfig.parse(data, f"the configuration in checkpoint {path}")


def _scales(path: Path, metadata: dict[str, str]) -> dict[str, Tensor]:
    """Quantizer scales that were imported with the weights, if any."""
    try:
        table = json.loads(metadata.get(SCALES_KEY, "{}"))
        return {name: torch.tensor(value, dtype=torch.float32) for name, value in table.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise HwmoeError(f"the quantizer scales in checkpoint {path} are broken: {error}") from None


def _shape_problems(expected: dict[str, tuple[int, ...]], found: dict[str, Tensor]) -> list[str]:
    problems = []
    for name, shape in expected.items():
        if name not in found:
            problems.append(f"{name}: missing, must be {list(shape)}")
        elif tuple(found[name].shape) != shape:
            problems.append(f"{name}: shape {list(found[name].shape)}, must be {list(shape)}")
    extra = sorted(set(found) - set(expected))
    return problems + [f"{name}: not part of this model; remove it" for name in extra]


def _value_problems(found: dict[str, Tensor]) -> list[str]:
    problems = []
    for name, tensor in found.items():
        if tensor.dtype not in FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            problems.append(f"{name}: dtype {kind}, must be a float (use float32)")
            continue
        # After the conversion, so that a float64 beyond the range of float32 counts too.
        bad = torch.nonzero(~torch.isfinite(tensor.float()))
        if len(bad):
            count = f"{len(bad)} of {tensor.numel()} values are NaN or infinite"
            problems.append(f"{name}: {count}, the first at {bad[0].tolist()}")
    return problems
