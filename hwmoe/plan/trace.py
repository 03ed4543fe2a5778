"""A program that also stores the residual stream, so that hardware names its first wrong layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.chain import Chain
from hwmoe.plan.compiler import link, logit_bytes
from hwmoe.plan.image import RESULT_ALIGN, Bytes
from hwmoe.plan.layout import Tiles, sized_for
from hwmoe.plan.memory import Memory
from hwmoe.plan.packing import from_tile_major, pad_up
from hwmoe.plan.places import Places
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel


@dataclass(frozen=True)
class Tap:
    """A tensor int16 [rows, channels] among an image's results: tile-major words from byte
    `offset` on. Its name is that of the integer reference."""

    name: str
    offset: int
    rows: int
    channels: int


@dataclass(frozen=True)
class TraceProgram:
    """`tensors`: of each task, in the order of the network. The logits are at offset 0."""

    program: Program
    tensors: Mapping[int, tuple[Tap, ...]]

    def read(self, results: Bytes, task: int) -> dict[str, npt.NDArray[np.int16]]:
        """Bytes of the results of one image of a task -> int16 [rows, channels] by name."""
        lanes = self.program.accelerator.linear.t_in
        found = {}
        for tap in self.tensors[task]:
            size = 2 * tap.rows * pad_up(tap.channels, lanes)
            words = results[tap.offset : tap.offset + size].view("<i2")
            tiles = words.reshape(-1, tap.rows, lanes)
            found[tap.name] = from_tile_major(tiles, tap.channels).astype(np.int16)
        return found


def trace_program(model: QuantizedModel, acc: AcceleratorConfig, program: Program) -> TraceProgram:
    """For the machine, the parameters and the weights of `program`, which `compile_model` made
    of `model` and `acc`: one image at a time, all tasks, and with the logits every residual.

    `HwmoeError` if `program` was made of something else.
    """
    c, machine = model.config, program.accelerator
    if sized_for(acc, model) != machine:
        raise HwmoeError(f"a trace of {c.name}: the program was compiled for another machine")
    chain = _TappedChain(model, machine)
    chain.stage(0, list(range(c.depth)))
    traced = link(chain, program.sizes, chain.end)
    for name in ("params", "weights"):
        if not np.array_equal(getattr(traced, name), getattr(program, name)):
            raise HwmoeError(f"a trace of {c.name}: the program has {name} of another model")
    return TraceProgram(traced, dict.fromkeys(range(len(c.tasks)), tuple(chain.taps)))


class _TappedChain(Chain):
    """Stores what every LayerNorm reads: that is a finished residual. `end`: of the results."""

    def __init__(self, model: QuantizedModel, acc: AcceleratorConfig) -> None:
        tiles = Tiles.of(acc, model)
        super().__init__(model, acc, tiles, Places.of(acc, model.config, tiles), Memory())
        self.end = logit_bytes(model.config)
        self.taps: list[Tap] = []

    def norm(self, name: str, first: int, count: int) -> None:
        c, tensor = self.config, self.holds["res", self.residual]
        values = c.tokens * self.tiles.dim * self.lanes
        self.store(tensor, "res", self.residual, values, offset=self.end)
        self.taps.append(Tap(tensor, self.end, c.tokens, c.dim))
        self.end = pad_up(self.end + 2 * values, RESULT_ALIGN)
        super().norm(name, first, count)
