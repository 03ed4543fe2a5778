"""The third hand-over: a program for the machine of isa.toml and the memory it works on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwmoe.errors import HwmoeError
from hwmoe.files import replacing
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import Beats, Ints, pad_up

Space = Literal["act8", "heads", "res", "y", "none"]

MEMORIES = ("act8", "heads", "res", "y")
"""On chip, in the order of the bits of a fault."""

QUEUE_DEPTH = 8
"""Instructions that wait in front of an engine."""


@dataclass(frozen=True)
class MachineSizes:
    """What surrounds the kernels: words of `t_in` lanes of each memory, and the largest counts.

    slots: tables of token lists; max_steps: instructions whose clipped values are counted.
    """

    act8_words: int
    heads_words: int
    res_words: int
    y_words: int
    slots: int
    max_experts: int
    max_tokens: int
    max_steps: int

    def words(self, space: str) -> int:
        """Of the memory called `space`."""
        return int(getattr(self, f"{space}_words"))

    def memories(self) -> dict[str, int]:
        """Memory -> its words."""
        return {name: self.words(name) for name in MEMORIES}


@dataclass(frozen=True)
class HeadLayout:
    """Channels in the beats of the attention kernel: head group, dim tile, head unit, lane."""

    heads: int
    head_dim: int
    dim_lanes: int
    units: int

    @property
    def dim_tiles(self) -> int:
        return -(-self.head_dim // self.dim_lanes)

    @property
    def groups(self) -> int:
        return -(-self.heads // self.units)

    @property
    def width(self) -> int:
        """Channels with the padding of head groups and dim tiles."""
        return self.groups * self.units * self.dim_tiles * self.dim_lanes

    def places(self) -> Ints:
        """int [heads * head_dim]: where each channel lies among `width`."""
        head, dim = np.divmod(np.arange(self.heads * self.head_dim), self.head_dim)
        group, unit = np.divmod(head, self.units)
        tile, lane = np.divmod(dim, self.dim_lanes)
        beat = (group * self.dim_tiles + tile) * self.units + unit
        place: Ints = beat * self.dim_lanes + lane
        return place


@dataclass(frozen=True)
class Result:
    """Where a step leaves its tensor, so that a trace can be read back.

    The tensor is tile-major at word `base` of `space`; its rows are `rows`, or as many as the
    list of `expert` is long. With `head_layout`, the channels are `regions` equal parts (q, k,
    v), each starting at a whole word, laid out for the attention kernel.
    """

    space: Space
    base: int = 0
    rows: int = 0
    channels: int = 0
    expert: int | None = None
    head_layout: HeadLayout | None = None
    regions: int = 1

    def width(self, lanes: int) -> int:
        """Channels with all padding, in words of `lanes`."""
        if not self.head_layout:
            return pad_up(self.channels, lanes)
        return self.regions * pad_up(self.head_layout.width, lanes)

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
        if not self.head_layout:
            return np.arange(self.channels)
        region = self.width(lanes) // self.regions
        places = self.head_layout.places()
        return np.concatenate([places + region * part for part in range(self.regions)])


@dataclass(frozen=True)
class Step:
    """One instruction: `name` is the tensor it makes, `site` where its saturations count.

    `fields` are those of isa.toml, common ones included. `op` names the constants in the
    quantized model and `reads` the tensor that a LINEAR or ATTENTION step works on; both are
    empty for other steps.
    """

    kind: str
    name: str
    site: str
    fields: Mapping[str, int]
    result: Result
    op: str = ""
    reads: str = ""

    @property
    def engine(self) -> int:
        """Number of the engine that runs it."""
        isa = instruction_set()
        return isa.engines.index(isa.formats[self.kind].engine)


@dataclass(frozen=True, eq=False)
class Program:
    """The instructions of one iteration, and all constants packed for a machine.

    loop: fields of the `loop` instruction in front. outputs: logits of each task. params int32;
    weights uint8 [beats, bytes] in the order of the s_axis_w port; image_words of `t_in` lanes.
    """

    accelerator: AcceleratorConfig
    sizes: MachineSizes
    loop: Mapping[str, int]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    params: npt.NDArray[np.int32]
    weights: Beats
    image_words: int

    def encode(self) -> npt.NDArray[np.int32]:
        """int32 [1 + steps, words]: the loop instruction, then the steps."""
        isa = instruction_set()
        rows = [isa.encode("loop", self.loop)]
        rows += [isa.encode(s.kind, s.fields) for s in self.steps]
        return np.array(rows, np.int64).astype(np.int32)

    def of_task(self, task: int) -> tuple[tuple[int, Step], ...]:
        """(index, step) of what one image of a task goes through, in the order of the network."""
        chosen = [
            (index, step)
            for index, step in enumerate(self.steps)
            if step.fields["tasks"] >> task & 1
        ]
        return tuple(sorted(chosen, key=lambda entry: entry[1].fields["stage"]))

    def save(self, path: Path) -> None:
        """Write one safetensors file, beside and then renamed."""
        meta: dict[str, Any] = {
            "outputs": self.outputs,
            "image_words": self.image_words,
            "loop": dict(self.loop),
            "sizes": asdict(self.sizes),
            "steps": [asdict(step) for step in self.steps],
            "accelerator": self.accelerator.model_dump(),
        }
        with replacing(path) as beside:
            save_file(
                {"params": self.params, "weights": self.weights},
                beside,
                metadata={"hwmoe.kind": "program", "hwmoe.program": json.dumps(meta)},
            )

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
        return cls(
            AcceleratorConfig.model_validate(meta["accelerator"]),
            MachineSizes(**meta["sizes"]),
            meta["loop"],
            tuple(_step(entry) for entry in meta["steps"]),
            tuple(meta["outputs"]),
            params,
            weights,
            meta["image_words"],
        )


def last_stores(program: Program) -> frozenset[int]:
    """Indices of the steps that complete the results of an image: one for each task."""
    return frozenset(i for i, step in enumerate(program.steps) if step.fields.get("last"))


def steady_cycles(stores: Sequence[int], stages: int) -> float:
    """Cycles between results while every stage holds an image.

    stores: cycles from the start to each image's results. The last `stages` - 1 intervals do not
    count, as the machine is running empty and faster then; a run too short to be full counts whole.
    """
    full = len(stores) - stages
    if full > 0:
        return (stores[full] - stores[0]) / full
    return stores[-1] / len(stores)


def _step(entry: dict[str, Any]) -> Step:
    result = dict(entry["result"])
    if result["head_layout"]:
        result["head_layout"] = HeadLayout(**result["head_layout"])
    return Step(**{**entry, "result": Result(**result)})
