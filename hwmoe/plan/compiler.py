"""From a quantized model and a machine to a program: which tensor lies where, what runs when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwmoe.plan import packing
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.layout import Tiles, sized_for
from hwmoe.plan.memory import Memory, NoMemory
from hwmoe.plan.packing import Ints, ceil_div
from hwmoe.plan.program import Program, Result, Space, Step
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.numerics import SHIFTS
from hwmoe.quant.quantized import QuantizedModel


def compile_model(model: QuantizedModel, accelerator: AcceleratorConfig) -> Program:
    """Schedule every task of `model` on the machine; its memories are sized for the model."""
    compiler = _Compiler(model, sized_for(accelerator, model))
    return compiler.compile()


def schedule_only(model: QuantizedModel, accelerator: AcceleratorConfig) -> Program:
    """The steps of `compile_model` without their constants: fast, for cost formulas."""
    compiler = _Compiler(model, sized_for(accelerator, model))
    compiler.memory = NoMemory()
    return compiler.compile()


class _Compiler:
    def __init__(self, model: QuantizedModel, accelerator: AcceleratorConfig) -> None:
        self.model, self.config, self.acc = model, model.config, accelerator
        self.lanes = accelerator.linear.t_in
        self.tiles = Tiles.of(accelerator, model)
        self.modes = instruction_set().list_modes
        self.memory = Memory()
        self.steps: list[Step] = []
        self.holds: dict[tuple[Space, int], str] = {}
        self._place()

    def _place(self) -> None:
        """Regions of the two activation memories, one after the other."""
        t, tiles, c = self.config.tokens, self.tiles, self.config
        sizes = {"image": c.patches * tiles.patch, "norm": t * tiles.dim}
        sizes |= dict.fromkeys("qkv", t * tiles.heads)
        sizes |= {"attn": t * tiles.heads, "hidden": t * tiles.hidden}
        wide = max(tiles.dim, ceil_div(max(c.experts, *(k.classes for k in c.tasks)), self.lanes))
        self.at, self.act8_words = _stack(sizes)
        at16, self.act16_words = _stack({"res": t * tiles.dim, "y": t * wide})
        self.at |= at16

    def compile(self) -> Program:
        entries = []
        for task in range(len(self.config.tasks)):
            entries.append(len(self.steps))
            self.task(task)
        return Program(
            self.acc,
            tuple(self.steps),
            tuple(entries),
            tuple(task.classes for task in self.config.tasks),
            *self.memory.joined(),
            self.config.patches * self.tiles.patch,
            self.act8_words,
            self.act16_words,
        )

    def emit(
        self,
        kind: str,
        name: str,
        result: Result,
        site: str = "",
        op: str = "",
        reads: str = "",
        **fields: int,
    ) -> None:
        """Append a step. `reads` is a region of act8; the step notes the tensor it holds now."""
        tensor = self.holds["act8", self.at[reads]] if reads else ""
        self.steps.append(Step(kind, name, site or name, fields, result, op, tensor))
        self.holds[result.space, result.base] = name

    # --- one operation each -------------------------------------------------------------------

    def linear(
        self,
        op: str,
        src: str,
        dst: str,
        rows: int,
        *,
        name: str = "",
        params: LinearParams | None = None,
        x_base: int = 0,
        load_x: bool = True,
        table: str = "",
        mode: str = "none",
        expert: int | None = None,
        heads: bool = False,
    ) -> None:
        """A linear operation. `params` replaces the model's where the layout needs padding;
        `table` names the feed-forward block whose GELU table is loaded with this command."""
        p, cfg = params or self.model.linear(op), self.acc.linear
        n_out, n_in = p.weight.shape
        flags = {
            "load_x": load_x,
            "gather": mode == "gather",
            "gelu": p.table is not None,
            "load_table": bool(table),
            "wide": p.wide,
            "ternary": p.ternary,
        }
        space: Space = "act16" if p.wide else "act8"
        channels = len(self.model.linear(op).weight)
        result = Result(space, self.at[dst], rows, channels, expert)
        if heads:
            stride = self.tiles.head_stride
            dim = self.config.head_dim
            result = replace(result, head_dim=dim, head_stride=stride, regions=3)
        self.emit(
            "linear",
            name or op,
            result,
            site=op,
            op=op,
            reads=src,
            src=self.at[src],
            n_tok=rows,
            n_list=rows,
            in_tiles=ceil_div(n_in, self.lanes),
            out_tiles=ceil_div(n_out, cfg.t_out),
            chunks=ceil_div(n_out, cfg.t_epi),
            x_base=x_base,
            shift=SHIFTS.index(p.shift),
            flags=sum(flags[f] << bit for bit, f in enumerate(packing.LINEAR_FLAGS)),
            dst=self.at[dst],
            weights=self.memory.weight(op, lambda: packing.pack_weights(cfg, p.weight, p.ternary)),
            params=self.memory.param(op, lambda: self._pairs(p)),
            table=self._table(table) if table else 0,
            list_mode=self.modes[mode],
            expert=expert or 0,
        )

    def _pairs(self, p: LinearParams) -> Ints:
        """(bias, multiplier) of each channel, padded to whole chunks."""
        return packing.pad_to(np.stack([p.bias, p.multiplier], 1), 0, self.acc.linear.t_epi)

    def _table(self, block: str) -> int:
        fc1 = block + (".fc1" if f"{block}.fc1" in self.model.ops else ".experts.0.fc1")
        table = self.model.linear(fc1).table
        assert table is not None
        whole = table
        return self.memory.param(f"{block}.table", lambda: whole)

    def norm(self, name: str, first: int, count: int) -> None:
        p, dim = self.model.norm(name), self.config.dim
        self.emit(
            "layernorm",
            name,
            Result("act8", self.at["norm"], count, dim),
            src=self.at["res"],
            n_tok=self.config.tokens,
            first=first,
            count=count,
            dim=dim,
            dst=self.at["norm"],
            params=self.memory.param(name, lambda: np.concatenate([p.gain, p.bias])),
            shift=SHIFTS.index(p.shift),
            eps_low=int(np.uint32(p.eps & 0xFFFFFFFF).astype(np.int32)),
            eps_high=p.eps >> 32,
        )

    def add(self, site: str, first: int, count: int, expert: int | None = None) -> None:
        """Residual += y; with `expert`, onto the rows of its list, weighted by the scores."""
        tokens = self.config.tokens
        self.emit(
            "add",
            site,
            Result("act16", self.at["res"], tokens, self.config.dim),
            dst=self.at["res"],
            n_tok=tokens,
            tiles=self.tiles.dim,
            src=self.at["y"],
            first=first,
            count=count,
            list_mode=self.modes["none" if expert is None else "listed"],
            expert=expert or 0,
        )

    # --- the model, layer by layer ------------------------------------------------------------

    def task(self, task: int) -> None:
        c, t = self.config, self.config.tokens
        words = c.patches * self.tiles.patch
        image = Result("act8", self.at["image"], c.patches, c.patch_size)
        self.emit("load_image", "image", image, dst=self.at["image"], words=words)
        self.emit(
            "load_const",
            "position",
            Result("act16", self.at["res"], t, c.dim),
            dst=self.at["res"],
            words=t * self.tiles.dim,
            params=self.memory.param(
                "position", lambda: packing.tile_major(self.model.position, self.lanes)
            ),
        )
        self.linear("patch_embed", "image", "y", c.patches)
        self.add("embed", 1, c.patches)
        for layer in range(c.depth):
            block = f"blocks.{layer}"
            self.attention(block)
            self.norm(f"{block}.norm2", 0, t)
            if c.is_moe(layer):
                self.moe(block, task)
            else:
                self.feed_forward(f"{block}.mlp", 0)
                self.add(f"{block}.res2", 0, t)
        self.norm("norm", 0, 1)
        self.linear(f"heads.{task}", "norm", "y", 1, name="head")
        n_out = c.tasks[task].classes
        self.emit("store", "logits", Result("none"), src=self.at["y"], n_out=n_out)
        self.emit("end", "end", Result("none"))

    def attention(self, block: str) -> None:
        t, tiles, p = self.config.tokens, self.tiles, self.model.attention(f"{block}.attn")
        self.norm(f"{block}.norm1", 0, t)
        padded = self._padded_heads(self.model.linear(f"{block}.qkv"))
        self.linear(f"{block}.qkv", "norm", "q", t, params=padded, heads=True)
        result = Result("act8", self.at["attn"], t, self.config.dim)
        self.emit(
            "attention",
            f"{block}.attn",
            replace(result, head_dim=self.config.head_dim, head_stride=tiles.head_stride),
            op=f"{block}.attn",
            reads="q",
            q=self.at["q"],
            k=self.at["k"],
            v=self.at["v"],
            dst=self.at["attn"],
            n_tok=t,
            heads=self.config.heads,
            dim_tiles=tiles.head_stride // self.acc.attention.dim_lanes,
            score_mult=p.score_mult,
            out_mult=p.out_mult,
            shifts=SHIFTS.index(p.score_shift) + 256 * p.out_shift,
        )
        proj = self.model.linear(f"{block}.proj")
        columns = self._spread(proj.weight.T).T
        self.linear(f"{block}.proj", "attn", "y", t, params=replace(proj, weight=columns))
        self.add(f"{block}.res1", 0, t)

    def _spread(self, rows: Ints) -> Ints:
        """[heads*head_dim, ...] -> each head padded to its stride, all heads to whole tiles."""
        c, stride = self.config, self.tiles.head_stride
        heads = rows.reshape(c.heads, c.head_dim, *rows.shape[1:])
        flat = packing.pad_to(heads, 1, stride).reshape(c.heads * stride, *rows.shape[1:])
        return packing.pad_to(flat, 0, self.lanes)

    def _padded_heads(self, p: LinearParams) -> LinearParams:
        """q, k and v channels each spread as the attention kernel reads them."""
        weight, bias, multiplier = (
            np.concatenate([self._spread(part) for part in np.split(array, 3)])
            for array in (p.weight, p.bias, p.multiplier)
        )
        return replace(p, weight=weight, bias=bias, multiplier=multiplier)

    def feed_forward(self, name: str, x_base: int) -> None:
        """fc1 with GELU, fc2. The hidden tensor goes to `x_base`, so that x can stay loaded."""
        t = self.config.tokens
        self.linear(f"{name}.fc1", "norm", "hidden", t, name=f"{name}.gelu", table=name)
        self.linear(f"{name}.fc2", "hidden", "y", t, x_base=x_base)

    def moe(self, block: str, task: int) -> None:
        """Shared expert, gate, experts one by one; the normed tokens are loaded once."""
        c, t, name = self.config, self.config.tokens, f"{block}.moe"
        beside = t * self.tiles.dim
        if c.shared_hidden:
            self.feed_forward(f"{name}.shared", beside)
            self.add(f"{block}.res2", 0, t)
        gate = f"{name}.gate.{task}"
        self.linear(
            gate, "norm", "y", t, name=f"{name}.gate", load_x=not c.shared_hidden, table=name
        )
        p = self.model.gate(f"{name}.softmax.{task}")
        self.emit(
            "gate",
            f"{name}.topk",
            Result("none", rows=t),
            src=self.at["y"],
            n_tok=t,
            experts=c.experts,
            top_k=p.top_k,
            mult=p.score_mult,
            shift=SHIFTS.index(p.score_shift),
        )
        for expert in range(c.experts):
            own = f"{name}.experts.{expert}"
            self.linear(
                f"{own}.fc1",
                "norm",
                "hidden",
                t,
                name=f"{own}.gelu",
                load_x=False,
                mode="gather",
                expert=expert,
            )
            self.linear(f"{own}.fc2", "hidden", "y", t, x_base=beside, mode="listed", expert=expert)
            self.add(f"{block}.res2", 0, t, expert)


def _stack(sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    """Addresses of regions laid one after the other, and where the last one ends."""
    at, end = {}, 0
    for name, size in sizes.items():
        at[name], end = end, end + size
    return at, end
