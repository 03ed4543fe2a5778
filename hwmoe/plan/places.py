"""Where the tensors of every stage lie in the on-chip memories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwmoe.model.config import ModelConfig
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.layout import Tiles
from hwmoe.plan.packing import ceil_div
from hwmoe.plan.program import MEMORIES, MachineSizes

MIN_WORDS = 2


@dataclass(frozen=True)
class Places:
    """`at[memory][region, stage]`: base words; `words[memory]`: how many there are in all.

    Stage s reads the residual of its first layer where stage s-1 left it: region "res" of s-1, or
    "embed" for the first. Hidden tensors and results of experts alternate between two regions.
    """

    at: Mapping[str, Mapping[tuple[str, int], int]]
    words: Mapping[str, int]

    @classmethod
    def of(cls, acc: AcceleratorConfig, c: ModelConfig, tiles: Tiles) -> Places:
        t, lanes = c.tokens, acc.linear.t_in
        most = max(c.experts if c.moe_layers else 0, *(task.classes for task in c.tasks))
        wide = max(tiles.dim, ceil_div(most, lanes))
        at: dict[str, dict[tuple[str, int], int]] = {memory: {} for memory in MEMORIES}
        end = dict.fromkeys(MEMORIES, 0)

        def put(memory: str, region: str, stage: int, tiles_a_row: int) -> None:
            at[memory][region, stage] = end[memory]
            end[memory] += t * tiles_a_row

        put("res", "embed", 0, tiles.dim)
        for stage in range(acc.stages):
            # The image is gone when the first hidden tensor is made; so they share a region.
            first = max(tiles.hidden, tiles.expert, tiles.patch if stage == 0 else 0)
            put("act8", "hidden", stage, max(first, 2 * tiles.expert))
            at["act8"]["image", stage] = at["act8"]["hidden", stage]
            at["act8"]["hidden2", stage] = at["act8"]["hidden", stage] + t * tiles.expert
            put("act8", "norm", stage, tiles.dim)
            put("act8", "attn", stage, tiles.heads)
            for part in "qkv":
                put("heads", part, stage, tiles.heads)
            put("res", "res", stage, tiles.dim)
            put("y", "y", stage, wide)
            put("y", "y2", stage, tiles.dim if c.moe_layers else 0)
        return cls(at, end)

    def base(self, memory: str, region: str, stage: int) -> int:
        return self.at[memory][region, stage]

    def sizes(self, acc: AcceleratorConfig, c: ModelConfig, steps: int) -> MachineSizes:
        """Memories just large enough."""
        words = {f"{memory}_words": max(MIN_WORDS, n) for memory, n in self.words.items()}
        return MachineSizes(
            **words,
            slots=acc.stages,
            max_experts=acc.gate.max_experts,
            max_tokens=c.tokens,
            max_steps=max(64, 1 << (steps - 1).bit_length()),
        )
