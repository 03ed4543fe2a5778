"""Models by name: a trained checkpoint and well-known geometries with seeded weights."""

from __future__ import annotations

import difflib
import os
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwmoe.errors import HwmoeError
from hwmoe.model.checkpoint import load_checkpoint
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

GEOMETRIES = ("m3vit-tiny", "m3vit-small", "deit-tiny", "deit-small")
ZOO = ("digits", *GEOMETRIES)
MAX_SEED = 2**63 - 1


def parse_geometry(text: str, what: str) -> tuple[ModelConfig, int]:
    """The configuration and the seed (key ``seed``, else 0) of a TOML text.

    ``what`` names the text in messages. Raises `HwmoeError` with the line of a syntax error,
    or with every problem of the configuration at once.
    """
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HwmoeError(f"{what} is not valid TOML: {error}") from None
    seed = table.pop("seed", 0)
    wrong_seed = ""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        wrong_seed = f"\n  seed: {seed!r} must be an integer from 0 to {MAX_SEED}"
    try:
        config = ModelConfig.parse(table, what)
    except HwmoeError as error:
        raise HwmoeError(f"{error}{wrong_seed}") from None
    if wrong_seed:
        raise HwmoeError(f"{what} is not valid:{wrong_seed}")
    return config, seed


def read_geometry(path: str | Path) -> tuple[ModelConfig, int]:
    """The configuration and the seed in a TOML file; `HwmoeError` says what is wrong with it."""
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise HwmoeError(f"model description {path} does not exist; check the path")
    if path.is_dir():
        raise HwmoeError(f"{path} is a folder; give the .toml file itself")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise HwmoeError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    except OSError as error:
        raise HwmoeError(f"model description {path} cannot be read: {error.strerror}") from None
    return parse_geometry(text, str(path))


def zoo_config(name: str) -> ModelConfig:
    """The configuration of a zoo model; `HwmoeError` for a name the zoo does not have."""
    if name == "digits":
        return _digits().config
    if name not in GEOMETRIES:
        raise _unknown(name)
    return _zoo_geometry(name)[0]


def seeded_model(config: ModelConfig, seed: int = 0) -> MoEViT:
    """A model in evaluation mode with random float32 weights that depend on ``seed`` alone.

    Weights are truncated normals scaled by their fan-in; biases are small but not zero and
    LayerNorm weights differ from 1, so that tests of later stages see every term.
    """
    with torch.device("meta"):  # skips torch's own initialisation
        model = MoEViT(config)
    random = torch.Generator().manual_seed(seed)
    weights = {}
    with torch.no_grad():
        for name, value in model.named_parameters():
            weights[name] = _filled(name, value.shape, random)
    model.load_state_dict(weights, assign=True)  # `to_empty` would take a second to import sympy
    return model.eval()


def _filled(name: str, shape: torch.Size, random: torch.Generator) -> Tensor:
    """One parameter with its first values."""
    kind = name.rsplit(".", 2)[-2:]
    mean, std = 0.0, shape[-1] ** -0.5
    if kind[-1] == "bias":
        std = 0.02
    elif "norm" in kind[0]:
        mean, std = 1.0, 0.05
    elif name in ("pos_embed", "cls_token"):
        # As large as the patches, so that tokens stay different and spread over the experts.
        std = 1.0
    elif kind == ["proj", "weight"]:
        # Attention adds nearly the same vector to all tokens; a large one would draw them
        # all to the same experts.
        std *= 0.5
    elif kind[-1] == "gate":
        std *= 2.0
    low, high = mean - 2 * std, mean + 2 * std
    return nn.init.trunc_normal_(torch.empty(shape), mean, std, low, high, generator=random)


def load_model(spec: str) -> MoEViT:
    """A model from a zoo name, a ``.safetensors`` checkpoint or a ``.toml`` description.

    A description gets seeded weights (its optional key ``seed``). Raises `HwmoeError` for an
    unknown name, with the zoo and the closest match, and for files that are not sound.
    """
    if spec == "digits":
        return _digits()
    if spec in GEOMETRIES:
        return seeded_model(*_zoo_geometry(spec))
    path = Path(spec)
    if path.suffix == ".toml":
        return seeded_model(*read_geometry(path))
    # Any other file is tried as a checkpoint, whose errors say what the file really is.
    if path.suffix == ".safetensors" or os.path.exists(path):
        return load_checkpoint(path)
    raise _unknown(spec)


def _digits() -> MoEViT:
    with as_file(files("hwmoe.model") / "weights" / "digits.safetensors") as path:
        return load_checkpoint(path)


def _zoo_geometry(name: str) -> tuple[ModelConfig, int]:
    text = (files("hwmoe.model") / "geometries" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_geometry(text, f"zoo geometry {name}")


def _unknown(name: str) -> HwmoeError:
    close = difflib.get_close_matches(name.lower(), ZOO, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return HwmoeError(
        f"unknown model {name!r}: neither in the zoo ({', '.join(ZOO)}) nor a file; give one of "
        f"these names, a .safetensors checkpoint or a .toml description.{hint}"
    )
