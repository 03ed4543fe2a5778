"""The third hand-over: a program for the machine of isa.toml and the memory it works on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import Beats, Ints, pad_up

Space = Literal["act8", "act16", "none"]


@dataclass(frozen=True)
class Result:
    """Where a step leaves its tensor, so that a trace can be read back.

    The tensor is tile-major at word `base` of `space`; its rows are `rows`, or as many as the
    list of `expert` is long. With `head_stride`, the channels are `regions` equal parts (q, k,
    v), each starting at a whole tile, of heads of `head_dim` channels padded to that stride.
    """

    space: Space
    base: int = 0
    rows: int = 0
    channels: int = 0
    expert: int | None = None
    head_dim: int = 0
    head_stride: int = 0
    regions: int = 1

    @property
    def heads(self) -> int:
        return self.channels // (self.regions * self.head_dim)

    def width(self, lanes: int) -> int:
        """Channels with all padding, in words of `lanes`."""
        if not self.head_stride:
            return pad_up(self.channels, lanes)
        return self.regions * pad_up(self.heads * self.head_stride, lanes)

    def padded(self, tensor: Ints, lanes: int) -> Ints:
        """[rows, channels] -> [rows, width], zeros in the padding."""
        out = np.zeros((len(tensor), self.width(lanes)), tensor.dtype)
        out[:, self._lanes(lanes)] = tensor
        return out

    def plain(self, padded: Ints, lanes: int) -> Ints:
        """[rows, width or more] -> [rows, channels]."""
        return padded[:, self._lanes(lanes)]

    def _lanes(self, lanes: int) -> Ints:
        """For each channel, its place among the padded ones."""
        channel = np.arange(self.channels)
        if not self.head_stride:
            return channel
        region, inside = np.divmod(channel, self.heads * self.head_dim)
        head, dim = np.divmod(inside, self.head_dim)
        place: Ints = region * (self.width(lanes) // self.regions) + head * self.head_stride + dim
        return place


@dataclass(frozen=True)
class Step:
    """One instruction: `name` is the tensor it makes, `site` where its saturations count.

    `op` names the constants in the quantized model and `reads` the tensor that a LINEAR or
    ATTENTION step works on; both are empty for other steps.
    """

    kind: str
    name: str
    site: str
    fields: Mapping[str, int]
    result: Result
    op: str = ""
    reads: str = ""


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions for every task, one after the other, with all constants packed for a machine.

    entries: first step of each task; params int32; weights uint8 [beats, bytes] in the order of
    the s_axis_w port; the sizes are words of `t_in` lanes.
    """

    accelerator: AcceleratorConfig
    steps: tuple[Step, ...]
    entries: tuple[int, ...]
    outputs: tuple[int, ...]
    params: npt.NDArray[np.int32]
    weights: Beats
    image_words: int
    act8_words: int
    act16_words: int

    def encode(self) -> npt.NDArray[np.int32]:
        """int32 [steps, words]."""
        isa = instruction_set()
        return np.array([isa.encode(s.kind, s.fields) for s in self.steps], np.int32)

    def of_task(self, task: int) -> tuple[tuple[int, Step], ...]:
        """(index, step) of one task's program, `end` left out."""
        first = self.entries[task]
        chosen = []
        for index in range(first, len(self.steps)):
            if self.steps[index].kind == "end":
                break
            chosen.append((index, self.steps[index]))
        return tuple(chosen)

    def save(self, path: Path) -> None:
        """Write one safetensors file, beside and then renamed."""
        meta: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("entries", "outputs", "image_words", "act8_words", "act16_words")
        }
        meta["steps"] = [asdict(step) for step in self.steps]
        meta["accelerator"] = self.accelerator.model_dump()
        beside = path.with_name(path.name + ".part")
        save_file(
            {"params": self.params, "weights": self.weights},
            beside,
            metadata={"hwmoe.kind": "program", "hwmoe.program": json.dumps(meta)},
        )
        os.replace(beside, path)

    @classmethod
    def load(cls, path: Path) -> Program:
        """Read what `save` wrote; `HwmoeError` if the file is missing or another kind."""
        if not path.is_file():
            raise HwmoeError(f"{path}: no such file; `hwmoe generate` writes it")
        try:
            with safe_open(path, framework="numpy") as file:
                info = file.metadata() or {}
                if info.get("hwmoe.kind") != "program":
                    raise HwmoeError(f"{path}: not a program made by `hwmoe generate`")
                params, weights = file.get_tensor("params"), file.get_tensor("weights")
        except (SafetensorError, OSError) as error:
            raise HwmoeError(f"{path}: not a safetensors file ({error})") from None
        meta = json.loads(info["hwmoe.program"])
        steps = tuple(
            Step(**{**entry, "result": Result(**entry["result"])}) for entry in meta["steps"]
        )
        return cls(
            AcceleratorConfig.model_validate(meta["accelerator"]),
            steps,
            tuple(meta["entries"]),
            tuple(meta["outputs"]),
            params,
            weights,
            meta["image_words"],
            meta["act8_words"],
            meta["act16_words"],
        )
