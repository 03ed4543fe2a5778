"""What every importer hands over: a model of ours, or one report of all that stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT

SHOWN = 60  # problems in a message


@dataclass(frozen=True)
class Note:
    """Something a reader must know: what was inferred, assumed, folded or left out.

    ``name`` is the key, node or property of the source, ``text`` one sentence.
    """

    name: str
    text: str


@dataclass(frozen=True)
class ImportProblem:
    """One thing in the way.

    ``name`` is a key of a state dict, a node of a graph or a property such as ``heads``; ``kind``
    the operator, or ``weight``, ``missing``, ``option``; ``shape`` is empty if it has none;
    ``nearest`` is the nearest supported thing, or what to change.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    text: str
    nearest: str = ""

    def __str__(self) -> str:
        shape = f" {list(self.shape)}" if self.shape else ""
        nearest = f"; {self.nearest}" if self.nearest else ""
        return f"{self.name} ({self.kind}{shape}): {self.text}{nearest}"


class ImportFailed(HwmoeError):
    """All problems of one source in one message; ``problems`` has them one by one."""

    def __init__(self, what: str, problems: Sequence[ImportProblem]) -> None:
        self.problems = tuple(problems)
        lines = [f"  {problem}" for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"  and {len(self.problems) - SHOWN:,} more")
        super().__init__("\n".join([f"{what} cannot be imported:", *lines]))


@dataclass(frozen=True)
class Imported:
    """A foreign model as ours: `MoEViT(config)` with the float32 tensors of ``state``.

    ``family`` says what was recognized (``timm ViT``, ``QONNX``); ``sources`` names for each
    parameter of ours where it came from; ``scales`` holds the quantizer scales of the source by
    the name of our tensor, if it had any (QONNX).
    """

    config: ModelConfig
    state: dict[str, Tensor]
    notes: list[Note]
    family: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    scales: dict[str, Tensor] = field(default_factory=dict)

    def model(self) -> MoEViT:
        """The model, in evaluation mode; its weights are those of ``state``, not copies."""
        with torch.device("meta"):
            model = MoEViT(self.config)
        model.load_state_dict(self.state, assign=True)
        model.given_scales = dict(self.scales)
        return model.eval()
