"""The machines among which the search chooses: a grid of kernel sizes, in parts that fit together.

Weights are streamed from off-chip memory on every machine (docs/decisions, 17), so resident weights
are no axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product, starmap
from math import lcm, prod

from hwmoe.dse.candidates import PORT_BITS, WEIGHT_PORTS, WIDEST_PORT
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.board import Board
from hwmoe.plan.layout import has_ternary_experts
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.quantized import QuantizedModel

MIN_EPILOGUE = 4  # lanes; fewer would make the epilogue what all wait for


@dataclass(frozen=True)
class Grid:
    """Values that each axis may take. `all_rows`: not only those that fill the last group."""

    name: str
    t_in: tuple[int, ...] = (8, 16, 32)
    t_out: tuple[int, ...] = (8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 112, 128, 160, 192)
    t_tok: tuple[int, ...] = (1, 2, 4)
    expert_t_tok: tuple[int, ...] = (1, 2)
    dim_lanes: tuple[int, ...] = (4, 8, 16, 32)
    head_units: tuple[int, ...] = (1, 2, 4)
    norm_lanes: tuple[int, ...] = (8, 16, 32)
    stages: tuple[int, ...] = (1, 2, 3, 4)
    rows: tuple[int, int] = (2, 64)
    all_rows: bool = False


COARSE = Grid("coarse")
FINE = Grid(
    "fine",
    t_out=tuple(range(8, 257, 8)),
    t_tok=(1, 2, 3, 4),
    expert_t_tok=(1, 2, 3, 4),
    stages=(1, 2, 3, 4, 5, 6),
    all_rows=True,
)
GRIDS = {grid.name: grid for grid in (COARSE, FINE)}


@dataclass(frozen=True)
class Front:
    """The attention block of a machine: what the first stage of the search varies."""

    rows: int
    dim_lanes: int
    head_units: int
    norm_lanes: int


Expert = tuple[int, int] | None
"""t_out and t_tok of the expert engine; the rest is as the linear kernel has it."""


@dataclass(frozen=True)
class Space:
    """All machines of one word width `t_in` that could run a model on a board, part by part.

    Any front, linear kernel (with its ports), expert engine that `goes_with` the linear kernel and
    number of stages make a machine.
    """

    t_in: int
    linears: tuple[LinearConfig, ...]
    ports: tuple[PortsConfig, ...]
    experts: tuple[Expert, ...]
    rows: tuple[int, ...]
    heads: tuple[tuple[int, int], ...]
    norms: tuple[int, ...]
    stages: tuple[int, ...]

    @property
    def front_axes(self) -> dict[str, int]:
        """How many values each axis of a front has."""
        return {"rows": len(self.rows), "heads": len(self.heads), "norm": len(self.norms)}

    def front(self, rows: int, heads: int, norm: int) -> Front:
        """By the number of its value on each axis."""
        return Front(self.rows[rows], *self.heads[heads], self.norms[norm])

    def fronts(self) -> Iterator[Front]:
        return starmap(self.front, product(*map(range, self.front_axes.values())))

    @property
    def fronts_count(self) -> int:
        return prod(self.front_axes.values())

    @property
    def size(self) -> int:
        """How many machines."""
        backs = sum(goes_with(e, cfg) for cfg in self.linears for e in self.experts)
        return backs * self.fronts_count * len(self.stages)

    def machine(self, front: Front, linear: int, expert: Expert, stages: int) -> AcceleratorConfig:
        """With memories that are not sized yet."""
        cfg = self.linears[linear]
        second = expert and cfg.model_copy(update={"t_out": expert[0], "t_tok": expert[1]})
        return AcceleratorConfig(
            linear=cfg,
            expert=second,
            attention=AttentionConfig(
                rows=front.rows, dim_lanes=front.dim_lanes, head_units=front.head_units
            ),
            layernorm=LayerNormConfig(lanes=front.norm_lanes, max_tiles=1),
            ports=self.ports[linear],
            stages=stages,
        )


def goes_with(expert: Expert, linear: LinearConfig) -> bool:
    """Whether an expert engine of this width can share words and beats with the linear kernel."""
    return expert is None or expert[0] % lcm(linear.t_epi, 4 * linear.w_rows) == 0


def spaces(model: QuantizedModel, board: Board, grid: Grid) -> list[Space]:
    """One for each word width that the board's ports allow."""
    found = [_space(model, board, grid, t_in) for t_in in grid.t_in]
    return [space for space in found if space.linears]


def _space(model: QuantizedModel, board: Board, grid: Grid, t_in: int) -> Space:
    tokens = model.config.tokens
    least, most = grid.rows
    even = {ceil_div(tokens, groups) for groups in range(1, tokens + 1)}
    rows = range(least, min(most, tokens) + 1)
    kept = [count for count in rows if grid.all_rows or count in even] or [least]
    kernels = list(_linears(board, grid, t_in))
    experts: list[Expert] = [None]
    if has_ternary_experts(model):
        experts += [(t_out, t_tok) for t_out in grid.t_out for t_tok in grid.expert_t_tok]
    lanes = [(d, h) for d in grid.dim_lanes for h in grid.head_units if t_in % (d * h) == 0]
    heads = [(d, h) for d, h in lanes if d <= model.config.head_dim and h <= model.config.heads]
    return Space(
        t_in=t_in,
        linears=tuple(linear for linear, _ in kernels),
        ports=tuple(ports for _, ports in kernels),
        experts=tuple(experts),
        rows=tuple(kept),
        heads=tuple(heads or lanes[:1]),
        norms=tuple(n for n in grid.norm_lanes if t_in % n == 0),
        stages=tuple(s for s in grid.stages if s <= model.config.depth) or (1,),
    )


def _linears(board: Board, grid: Grid, t_in: int) -> Iterator[tuple[LinearConfig, PortsConfig]]:
    """Linear kernels with the ports that feed them; one port of the board is for all else."""
    bits = PORT_BITS.get(
        board.family, min(WIDEST_PORT, 1 << (board.axi.width_bits.bit_length() - 1))
    )
    most = min(WEIGHT_PORTS, board.axi.ports - 1)
    for t_out in grid.t_out:
        w_rows = 1
        while t_out % (4 * w_rows) == 0:
            beat = 8 * t_in * w_rows
            port = min(bits, beat)
            if beat > bits * most:
                break
            ports = PortsConfig(port_bits=port, w_ports=beat // port)
            t_epi = min(t_in, t_out & -t_out)
            while t_epi >= MIN_EPILOGUE and 64 * t_epi >= port:
                for t_tok in grid.t_tok:
                    sizes = {"t_in": t_in, "t_out": t_out, "t_tok": t_tok, "w_rows": w_rows}
                    yield LinearConfig(**sizes, t_epi=t_epi), ports
                t_epi //= 2
            w_rows *= 2
