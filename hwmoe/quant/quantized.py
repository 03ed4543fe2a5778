"""The second hand-over: a quantized model, which is integers and the scales they stand for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwmoe.errors import HwmoeError
from hwmoe.files import replacing
from hwmoe.model.config import ModelConfig
from hwmoe.quant import numerics
from hwmoe.quant.kernels import AttentionParams, GateParams, LinearParams, NormParams

Experts = Literal["int8", "ternary"]
FOLDED = "folded/"
"""Before the names of `QuantizedModel.folded` in a file."""
Params = LinearParams | AttentionParams | NormParams | GateParams
P = TypeVar("P", LinearParams, AttentionParams, NormParams, GateParams)
PARAM_TYPES = {c.__name__: c for c in (LinearParams, AttentionParams, NormParams, GateParams)}


@dataclass(frozen=True)
class RangeChoice:
    """The range of an int8 site and why: largest magnitude seen, SQNR of rounding alone (dB)."""

    site: str
    limit: float
    largest: float
    sqnr_db: float | None
    reason: str


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A `MoEViT` in the numbers of docs/numerics.md.

    ops: constants of each operation by name; position: int16 [tokens, D], the residual stream's
    start; scales: for each traced tensor the value of one step (float, or float64 a channel);
    calibration: how the ranges were found, in words; choices: the same for each int8 site;
    folded: channels that were equalized (`hwmoe.quant.equalize`), by traced name float64 [2, D],
    factor and offset that lead back to the float model's.
    """

    config: ModelConfig
    experts: Experts
    ops: dict[str, Params]
    position: npt.NDArray[np.int16]
    scales: dict[str, float | npt.NDArray[np.float64]]
    calibration: str
    choices: tuple[RangeChoice, ...] = ()
    folded: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __str__(self) -> str:
        stored = sum(p.weight.size for p in self.ops.values() if isinstance(p, LinearParams))
        numbers = f"int8 with {self.experts} experts" if self.config.moe_layers else "int8"
        return (
            f"{self.config.name}: {numbers}, {stored:,} weights, "
            f"{len(self.ops)} operations, calibrated by {self.calibration}"
        )

    def linear(self, name: str) -> LinearParams:
        return self._typed(name, LinearParams)

    def attention(self, name: str) -> AttentionParams:
        return self._typed(name, AttentionParams)

    def norm(self, name: str) -> NormParams:
        return self._typed(name, NormParams)

    def gate(self, name: str) -> GateParams:
        return self._typed(name, GateParams)

    def _typed(self, name: str, kind: type[P]) -> P:
        params = self.ops[name]
        assert isinstance(params, kind), f"{name} is a {type(params).__name__}"
        return params

    def pixel_scales(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """a and -b of numerics, section 8: float64 [C] each."""
        c = self.config
        mean = np.array(c.pixel_mean or [0.0] * c.channels)
        std = np.array(c.pixel_std or [1.0] * c.channels)
        gain = 1 / (std * np.asarray(self.scales["input"]))
        return gain, mean * gain

    def quantize_images(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        """Raw pixels [N, C, H, W] -> int8 patches [N, patches, C*ph*pw] (numerics, section 8)."""
        c = self.config
        gain, offset = (scale[:, None, None] for scale in self.pixel_scales())
        pixels = np.floor(images.astype(np.float64) * gain - offset + 0.5)
        whole: npt.NDArray[np.int8] = np.clip(pixels, *numerics.INT8).astype(np.int8)
        (ph, pw), (height, width) = c.patch, c.image
        split = whole.reshape(-1, c.channels, height // ph, ph, width // pw, pw)
        return split.transpose(0, 2, 4, 1, 3, 5).reshape(len(images), c.patches, c.patch_size)

    def save(self, path: Path) -> None:
        """Write one safetensors file, beside and then renamed."""
        tensors: dict[str, npt.NDArray[Any]] = {"position": self.position}
        tensors |= {f"{FOLDED}{name}": value for name, value in self.folded.items()}
        plain: dict[str, dict[str, Any]] = {}
        for name, params in self.ops.items():
            entry: dict[str, Any] = {"kind": type(params).__name__}
            for part in fields(params):
                value = getattr(params, part.name)
                if isinstance(value, np.ndarray):
                    tensors[f"{name}:{part.name}"] = np.ascontiguousarray(value)
                else:
                    entry[part.name] = value
            plain[name] = entry
        scales = {name: np.asarray(value).tolist() for name, value in self.scales.items()}
        meta = {
            "hwmoe.kind": "quantized",
            "hwmoe.numerics": str(numerics.FORMAT),
            "hwmoe.config": self.config.model_dump_json(),
            "hwmoe.experts": self.experts,
            "hwmoe.calibration": self.calibration,
            "hwmoe.choices": json.dumps([asdict(choice) for choice in self.choices]),
            "hwmoe.ops": json.dumps(plain),
            "hwmoe.scales": json.dumps(scales),
        }
        with replacing(path) as beside:
            save_file(tensors, beside, metadata=meta)

    @classmethod
    def load(cls, path: Path) -> QuantizedModel:
        """Read what `save` wrote; `HwmoeError` if it is anything else."""
        if not path.is_file():
            raise HwmoeError(f"{path}: no such file; `hwmoe quantize` writes one")
        try:
            with safe_open(path, framework="numpy") as file:
                meta = file.metadata() or {}
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise HwmoeError(f"{path}: not a safetensors file ({error})") from None
        if meta.get("hwmoe.kind") != "quantized":
            raise HwmoeError(f"{path}: not a quantized model; make one with `hwmoe quantize`")
        if meta["hwmoe.numerics"] != str(numerics.FORMAT):
            raise HwmoeError(
                f"{path}: made for number format {meta['hwmoe.numerics']}, this hwmoe has "
                f"{numerics.FORMAT}; quantize the model again"
            )
        return cls._from_parts(meta, tensors)

    @classmethod
    def _from_parts(
        cls, meta: dict[str, str], tensors: dict[str, npt.NDArray[Any]]
    ) -> QuantizedModel:
        ops: dict[str, Params] = {}
        for name, entry in json.loads(meta["hwmoe.ops"]).items():
            kind = PARAM_TYPES[entry.pop("kind")]
            values: dict[str, Any] = entry | {
                f.name: tensors[f"{name}:{f.name}"]
                for f in fields(kind)
                if f"{name}:{f.name}" in tensors
            }
            ops[name] = kind(**values)
        scales = {
            name: value if isinstance(value, float) else np.array(value)
            for name, value in json.loads(meta["hwmoe.scales"]).items()
        }
        experts: Experts = "ternary" if meta["hwmoe.experts"] == "ternary" else "int8"
        config = ModelConfig.model_validate_json(meta["hwmoe.config"])
        # Files of earlier releases have no choices.
        choices = tuple(RangeChoice(**row) for row in json.loads(meta.get("hwmoe.choices", "[]")))
        folded = {
            name.removeprefix(FOLDED): value
            for name, value in tensors.items()
            if name.startswith(FOLDED)
        }
        says = meta["hwmoe.calibration"]
        return cls(config, experts, ops, tensors["position"], scales, says, choices, folded)
