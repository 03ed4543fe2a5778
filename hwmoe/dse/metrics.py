"""Costs and bounds of every machine of a space: the scalar formulas, asked along each axis.

A machine's resources and its engines' bounds are sums over its parts, so they are known for all
machines from those of few: `cost_of` and `bounds_of` are asked where one part differs from a
reference, and the differences are added by numpy. No formula is written twice. Only where heads
that are padded to the lanes are a model's widest tensor, a memory's size depends on two parts at
once, and a sum can be off by an address bit. tests/dse compares sums with the formulas themselves;
a plan that is chosen is asked again as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwmoe.dse.bounds import Bounds, bounds_of, products_of
from hwmoe.dse.resources import Cost, cost_of
from hwmoe.dse.space import Expert, Front, Space, goes_with
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig
from hwmoe.plan.board import Board
from hwmoe.plan.layout import Tiles, sized_for
from hwmoe.plan.places import Places
from hwmoe.plan.program import MachineSizes
from hwmoe.quant.quantized import QuantizedModel

Floats = npt.NDArray[np.float64]
STEPS = 1024  # about, of a program; only the memory of counters depends on it


def cost_on(model: QuantizedModel, acc: AcceleratorConfig) -> Cost:
    """Of the machine sized for the model; `HwmoeError` if it cannot be."""
    sized, sizes = sized_machine(model, acc)
    return cost_of(sized, sizes)


def sized_machine(
    model: QuantizedModel, acc: AcceleratorConfig
) -> tuple[AcceleratorConfig, MachineSizes]:
    sized = sized_for(acc, model)
    places = Places.of(sized, model.config, Tiles.of(sized, model))
    return sized, places.sizes(sized, model.config, STEPS)


def resources_of(board: Board) -> list[str]:
    """Resources that a cost names and the board has; one it has none of cannot bind a fraction."""
    return [f.name for f in fields_of(Cost) if getattr(board.resources, f.name, 0)]


@dataclass(frozen=True)
class Columns:
    """What is known of each machine, by number: resources, then bounds in cycles."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, board: Board) -> Columns:
        return cls((*resources_of(board), *(f.name for f in fields_of(Bounds))))

    @property
    def resources(self) -> int:
        return len(self.names) - len(fields_of(Bounds))

    def __getitem__(self, name: str) -> int:
        return self.names.index(name)


class Metrics:
    """Of all machines of a space, in the columns of `columns`.

    A machine is a front (attention block) and a back (linear kernel, expert engine or none); both
    are rows that are added. For stages and fronts see `front`, for backs `back`.
    """

    def __init__(self, model: QuantizedModel, board: Board, space: Space) -> None:
        self.model, self.board, self.space = model, board, space
        self.columns = Columns.of(board)
        self.products = products_of(model)
        self._ports = dict(zip(space.linears, space.ports, strict=True))
        self._sized: dict[object, tuple[AcceleratorConfig, MachineSizes]] = {}
        self._points: dict[object, Floats] = {}
        self._stage_cost: dict[object, Floats] = {}
        self._lanes: dict[object, Floats] = {}
        self._origin = Front(space.rows[0], *space.heads[0], space.norms[0])
        self._stages = space.stages[0]

    def point(self, front: Front, linear: LinearConfig, expert: Expert, stages: int) -> Floats:
        """The formulas themselves for one machine: [columns]."""
        asked = (front, linear, expert, stages)
        if asked not in self._points:
            self._points[asked] = self._asked(*asked)
        return self._points[asked]

    def _asked(self, front: Front, linear: LinearConfig, expert: Expert, stages: int) -> Floats:
        heads = (front.dim_lanes, front.head_units)
        key = (expert is not None, stages, heads)
        if key not in self._sized:
            some = next(i for i, cfg in enumerate(self.space.linears) if goes_with(expert, cfg))
            acc = self.space.machine(front, some, expert, stages)
            self._sized[key] = sized_machine(self.model, acc)
        acc, sizes = self._sized[key]
        lanes = {name: getattr(linear, name) for name in ("t_out", "t_tok", "t_epi", "w_rows")}
        tiles = acc.layernorm.max_tiles * acc.layernorm.lanes // front.norm_lanes
        update = {
            "linear": acc.linear.model_copy(update=lanes),
            "attention": acc.attention.model_copy(update={"rows": front.rows}),
            "layernorm": acc.layernorm.model_copy(
                update={"lanes": front.norm_lanes, "max_tiles": tiles}
            ),
            "ports": self._ports[linear],
        }
        if expert and acc.expert:
            wide = lanes | {"t_out": expert[0], "t_tok": expert[1]}
            update["expert"] = acc.expert.model_copy(update=wide)
        acc = acc.model_copy(update=update)
        cost = cost_of(acc, sizes)
        bounds = bounds_of(acc, self.model, self.products, self.board.bytes_per_cycle)
        values = [getattr(cost, name) for name in self.columns.names[: self.columns.resources]]
        return np.array([*values, *(getattr(bounds, f.name) for f in fields_of(bounds))], float)

    def _at(
        self,
        linear: LinearConfig | None = None,
        expert: Expert = None,
        stages: int | None = None,
        **front: int,
    ) -> Floats:
        """A point; what is not said is as in the reference."""
        own = replace(self._origin, **front)
        return self.point(own, linear or self._linear, expert, stages or self._stages)

    @cached_property
    def _linear(self) -> LinearConfig:
        """The reference: the least kernel, of one beat."""
        return min(self.space.linears, key=lambda cfg: (cfg.w_rows, -cfg.t_epi, *_size(cfg)))

    @cached_property
    def kernels(self) -> Floats:
        """[linear, expert or none, columns] at the reference; inf where they do not fit."""
        space = self.space
        found = np.full((len(space.linears), len(space.experts), len(self.columns.names)), np.inf)
        least: dict[tuple[int, int], tuple[LinearConfig, Expert, Floats]] = {}
        for number, cfg in enumerate(space.linears):
            found[number, 0] = self._at(cfg)
            kind = (cfg.w_rows, cfg.t_epi)
            if kind not in least:
                wide = [e for e in space.experts[1:] if goes_with(e, cfg)]
                added = np.full(found.shape[1:], np.inf)
                for at, expert in enumerate(space.experts):
                    if expert in wide:
                        added[at] = self._at(cfg, expert)
                least[kind] = (cfg, wide[0] if wide else None, added)
            first, expert, added = least[kind]
            if expert:
                own = self._at(cfg, expert)
                found[number, 1:] = added[1:] + (own - self._at(first, expert))
        return found

    @cached_property
    def _rows(self) -> dict[Front, Floats]:
        """What more rows add to the least of a front's heads; norm lanes do not matter."""
        found = {}
        for d, h in self.space.heads:
            least = self._at(dim_lanes=d, head_units=h)
            for rows in self.space.rows:
                own = self._at(rows=rows, dim_lanes=d, head_units=h)
                found[Front(rows, d, h, self._origin.norm_lanes)] = own - least
        return found

    @cached_property
    def epilogues(self) -> tuple[list[int], npt.NDArray[np.intp]]:
        """The t_epi there are, and for each linear kernel the number of its own."""
        kinds = sorted({cfg.t_epi for cfg in self.space.linears})
        return kinds, np.array([kinds.index(cfg.t_epi) for cfg in self.space.linears])

    def back(self, stages: int) -> Floats:
        """[linear, expert or none, columns] of all backs, with so many images in flight.

        Without the bounds of attention and vector engine: those are all in the front.
        """
        found = self.kernels.copy()
        found[..., self._front_bounds] = 0
        shared = self._some_expert(self._linear, stages)
        base = self._more(self._linear, shared, stages)
        for cfg in self._like_reference:
            own = np.array([c.t_tok == cfg.t_tok for c in self.space.linears])
            for at, expert in enumerate(self.space.experts):
                if not self._sizable(expert, stages):
                    found[own, at] = np.inf
                    continue
                if expert and not goes_with(expert, self._linear):
                    expert = self._widened(expert)
                found[own, at] += self._more(cfg, expert, stages) - base
        return found

    def _sizable(self, expert: Expert, stages: int) -> bool:
        """Whether the kernels can address so many images in flight."""
        try:
            some = next(cfg for cfg in self.space.linears if goes_with(expert, cfg))
            self._at(some, expert, stages)
        except HwmoeError:
            return False
        return True

    def _some_expert(self, linear: LinearConfig, stages: int) -> Expert:
        """None, or an expert engine if only machines with one can have so many images in flight.

        `HwmoeError` if none can.
        """
        if self._sizable(None, stages):
            return None
        for expert in self.space.experts[1:]:
            if goes_with(expert, linear) and self._sizable(expert, stages):
                return expert
        self._at(linear, None, stages)
        raise AssertionError("an accelerator of no expert engine is refused")

    @cached_property
    def _like_reference(self) -> list[LinearConfig]:
        """Kernels that differ from the reference in t_tok only."""
        ref = self._linear
        return [c for c in self.space.linears if c == ref.model_copy(update={"t_tok": c.t_tok})]

    def _widened(self, expert: tuple[int, int]) -> Expert:
        """An expert engine of as many tokens that goes with the reference."""
        wide = [e for e in self.space.experts if e and e[1] == expert[1]]
        return next(e for e in wide if goes_with(e, self._linear))

    def _more(self, cfg: LinearConfig, expert: Expert, stages: int) -> Floats:
        key = (cfg.t_tok, expert and expert[1], stages)
        if key not in self._stage_cost:
            self._stage_cost[key] = self._at(cfg, expert, stages) - self._at(cfg, expert)
        return self._stage_cost[key]

    def front(self, front: Front, stages: int) -> Floats:
        """[t_epi, columns]: what a front adds to a back, for each t_epi of the linear kernel."""
        key = (front.dim_lanes, front.head_units, front.norm_lanes, stages)
        if key not in self._lanes:
            own = replace(front, rows=self._origin.rows)
            shared = [self._some_expert(cfg, stages) for cfg in self._kinds]
            added = [
                self.point(own, cfg, expert, stages) - self._at(cfg, expert)
                for cfg, expert in zip(self._kinds, shared, strict=True)
            ]
            self._lanes[key] = np.array(added)
        rows = self._rows[replace(front, norm_lanes=self._origin.norm_lanes)]
        found = self._lanes[key] + rows
        found[:, self._front_bounds] += self._at()[self._front_bounds]
        return np.asarray(found)

    @cached_property
    def fastest_fronts(self) -> Floats:
        """[fronts, columns] of bounds alone, of the fronts with the widest LayerNorm."""
        space, found = self.space, []
        for d, h in space.heads:
            wide = self._at(dim_lanes=d, head_units=h, norm_lanes=space.norms[-1])
            for rows in space.rows:
                found.append(wide + self._rows[Front(rows, d, h, self._origin.norm_lanes)])
        bounds = np.zeros((len(found), len(self.columns.names)))
        bounds[:, self._front_bounds] = np.array(found)[:, self._front_bounds]
        return bounds

    def least_front(self, stages: int) -> Floats:
        """Of the least attention block."""
        return self.front(self._origin, stages)

    @cached_property
    def _front_bounds(self) -> list[int]:
        return [self.columns[name] for name in ("attention", "attention_fill", "vector")]

    @cached_property
    def _kinds(self) -> list[LinearConfig]:
        kinds, _ = self.epilogues
        return [min((c for c in self.space.linears if c.t_epi == k), key=_size) for k in kinds]


def _size(cfg: LinearConfig) -> tuple[int, int]:
    return cfg.macs_per_cycle, cfg.w_rows
