"""What one image asks of each engine, from the sizes of its operations: at least so many cycles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.dse.attention_feed_time import query_wait
from hwmoe.dse.linear_cycles import MIN_PASS
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.layout import Tiles
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel

LOADED_LATE = 0.5  # share of steps whose words could not be loaded while the one before computed


@dataclass(frozen=True)
class Product:
    """A linear operation on so many rows."""

    rows: int
    n_in: int
    n_out: int
    ternary: bool
    expert: bool


@dataclass(frozen=True)
class Bounds:
    """Cycles of each engine for one image, and of the memory for its weights and parameters.

    *_fill: cycles in which an engine waits for its own words, or only drains, unless other work of
    its own hides them. They are no bounds; they tell machines apart that have the same.
    """

    linear: float
    memory: float
    attention: float
    vector: float
    expert: float = 0.0
    linear_fill: float = 0.0
    expert_fill: float = 0.0
    attention_fill: float = 0.0

    @property
    def expected(self) -> float:
        """Cycles between images of a machine with two in flight, about; only to compare machines.

        The attention and the vector engine hide behind the linear engine in part.
        """
        return hypot(max(self.linear, self.expert, self.memory), self.attention, self.vector)


def products_of(model: QuantizedModel) -> Counter[Product]:
    """The linear operations of one image of the first task, and how many are alike.

    Tokens spread evenly over the experts.
    """
    c = model.config
    share = max(1, round(c.tokens * c.top_k / c.experts))
    found: Counter[Product] = Counter()
    for name, op in model.ops.items():
        of, _, task = name.rpartition(".")
        per_task = of == "heads" or of.endswith(".gate")
        if not isinstance(op, LinearParams) or (per_task and task != "0"):
            continue
        rows = share if ".experts." in name else 1 if of == "heads" else c.tokens
        n_out, n_in = op.weight.shape
        found[Product(rows, n_in, n_out, op.ternary, ".experts." in name)] += 1
    return found


def bounds_of(
    acc: AcceleratorConfig, model: QuantizedModel, products: Mapping[Product, int], rate: float
) -> Bounds:
    """For a machine whose memories are not sized yet, at `rate` bytes a cycle."""
    c, memory = model.config, 0.0
    cycles, fill = (dict.fromkeys(acc.linears, 0.0) for _ in range(2))
    for p, times in products.items():
        engine = "expert" if acc.expert and p.expert and p.ternary else "linear"
        cfg = acc.linears[engine]
        in_tiles, out_tiles = ceil_div(p.n_in, cfg.t_in), ceil_div(p.n_out, cfg.t_out)
        chunks = ceil_div(p.n_out, cfg.t_epi)
        beats = cfg.t_out // (cfg.w_rows * (4 if p.ternary else 1))
        slots = max(ceil_div(p.rows, cfg.t_tok), MIN_PASS, beats)
        passes = in_tiles * out_tiles
        cycles[engine] += times * max(passes * slots, chunks * p.rows)
        late = in_tiles * max(0, p.rows - slots)  # the first tile, if nothing was loaded ahead
        drained = (chunks - (out_tiles - 1) * (cfg.t_out // cfg.t_epi)) * p.rows  # of the last
        fill[engine] += times * (LOADED_LATE * late + drained)
        size = passes * beats * cfg.t_in * cfg.w_rows + 8 * chunks * cfg.t_epi
        memory += times * size / rate
    layout = Tiles.of(acc, model).heads_layout
    sizes = c.tokens, layout.dim_tiles, layout.groups
    attention = attention_cycles(acc.attention, *sizes)
    wait = query_wait(acc.attention, acc.linear.t_in, *sizes)
    words = c.tokens * ceil_div(c.dim, acc.linear.t_in)
    gates = len(c.moe_layers) * c.tokens * c.experts
    adds = words * (2 * c.depth + 1 + len(c.moe_layers) * c.top_k)
    norms = 2 * c.depth * words * acc.linear.t_in // acc.layernorm.lanes
    vector = gates + adds + norms
    return Bounds(
        linear=cycles["linear"],
        memory=memory,
        attention=c.depth * attention,
        vector=vector,
        expert=cycles.get("expert", 0.0),
        linear_fill=fill["linear"],
        expert_fill=fill.get("expert", 0.0),
        attention_fill=c.depth * wait,
    )
