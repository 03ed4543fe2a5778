"""A command of the linear engine in time: what it is, and when its streams come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hwmoe.dse.bandwidth_time import Burst
from hwmoe.dse.memory_time import Transfer
from hwmoe.dse.weights_time import Weights
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.plan.packing import LINEAR_FLAGS

_BIT = {name: 1 << bit for bit, name in enumerate(LINEAR_FLAGS)}


class Loading(NamedTuple):
    """Of a command: `begin` of the kernel's loader, and of the words that enter it, if any."""

    begin: float
    x_begin: float
    x_words: Burst | None


@dataclass
class Command:
    """An instruction on its way: let go at `go`; table and parameters as they come.

    `loading`: when its activations begin to enter the kernel, and their reads, once known.
    """

    fields: Mapping[str, int]
    null: bool
    n_tok: int
    n_list: int
    finish: Callable[[float], None]  # told when it is complete
    go: float = 0.0
    table: Transfer | None = None
    params: Transfer | None = None
    loading: Loading | None = None

    @property
    def used(self) -> bool:
        return not self.null and self.n_tok > 0

    def flag(self, name: str) -> bool:
        return bool(self.fields["flags"] & _BIT[name])

    def tile_beats(self, cfg: LinearConfig) -> int:
        """Beats of a tile of weights."""
        return cfg.t_out // (cfg.w_rows * (4 if self.flag("ternary") else 1))

    def ask(self, cfg: LinearConfig, weights: Weights) -> None:
        """Ask for its weights."""
        f = self.fields
        weights.ask(f["weights"], f["in_tiles"] * f["out_tiles"] * self.tile_beats(cfg))

    @property
    def words(self) -> int:
        """Activations that it loads."""
        return self.n_tok * self.fields["in_tiles"] if self.flag("load_x") else 0

    @property
    def region(self) -> tuple[int, int]:
        """Of the kernel's activation memory: the first word, and the one behind the last."""
        base = self.fields["x_base"]
        return base, base + self.n_tok * self.fields["in_tiles"]
