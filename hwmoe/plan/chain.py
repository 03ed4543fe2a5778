"""The steps of one image, stage by stage, in the order of the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwmoe.plan import packing
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.layout import Tiles
from hwmoe.plan.memory import Memory
from hwmoe.plan.packing import Ints, ceil_div
from hwmoe.plan.places import Places
from hwmoe.plan.program import Result, Space, Step
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.numerics import SHIFTS
from hwmoe.quant.quantized import QuantizedModel

LATER = -1
"""`x_base` of an input that one command uses: chosen when the order of commands is known."""


class Chain:
    """Makes the steps of every stage; `tables` maps steps that use GELU to their table.

    Steps that depend on the task are made for every task, each for its own alone.
    """

    def __init__(
        self,
        model: QuantizedModel,
        acc: AcceleratorConfig,
        tiles: Tiles,
        places: Places,
        memory: Memory,
    ) -> None:
        self.model, self.config, self.acc = model, model.config, acc
        self.lanes, self.tiles, self.places, self.memory = acc.linear.t_in, tiles, places, memory
        self.modes, self.spaces = instruction_set().list_modes, instruction_set().spaces
        self.stages: list[list[Step]] = []
        self.tables: dict[str, int] = {}
        self.holds: dict[tuple[Space, int], str] = {}
        self.every = (1 << len(self.config.tasks)) - 1

    def stage(self, stage: int, layers: list[int]) -> None:
        """Append a stage of these layers; the first holds the embedding, the last the heads."""
        self.now = stage
        self.stages.append([])
        self.residual = self._at("res", "res") if stage else self._at("res", "embed")
        if stage:
            self.residual = self.places.base("res", "res", stage - 1)
        else:
            self.embed()
        for layer in layers:
            self.layer(layer)
        if layers[-1] == self.config.depth - 1:
            self.heads()

    def _at(self, memory: str, region: str) -> int:
        return self.places.base(memory, region, self.now)

    def emit(
        self,
        kind: str,
        name: str,
        result: Result,
        site: str = "",
        op: str = "",
        reads: int | None = None,
        task: int | None = None,
        **fields: int,
    ) -> None:
        """Append a step. `reads` is a base of act8 or heads; the step notes what it holds now."""
        tasks = self.every if task is None else 1 << task
        common = {"stage": self.now, "wait": 0, "signal": 0, "tasks": tasks, "after": 0}
        space: Space = "heads" if kind == "attention" else "act8"
        tensor = "" if reads is None else self.holds[space, reads]
        fields = {**common, "reserved": 0, **fields}
        self.stages[-1].append(Step(kind, name, site or name, fields, result, op, tensor))
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
        x_base: int = LATER,
        load_x: bool = True,
        table: str = "",
        mode: str = "none",
        expert: int | None = None,
        task: int | None = None,
        regions: int = 1,
    ) -> None:
        """A linear operation; of an expert, on the expert engine if there is one and it can.

        `params` replaces the model's where the layout needs padding;
        `table` names the feed-forward block whose GELU table it uses."""
        p = params or self.model.linear(op)
        kind = "expert" if expert is not None and self._apart(p) else "linear"
        cfg = self.acc.linears[kind]
        n_out, n_in = p.weight.shape
        flags = {
            "load_x": load_x,
            "gather": mode == "gather",
            "gelu": p.table is not None,
            "wide": p.wide,
            "ternary": p.ternary,
        }
        space: Space = "y" if p.wide else "heads" if regions > 1 else "act8"
        channels = len(self.model.linear(op).weight)
        result = Result(space, self._at(space, dst), rows, channels, expert)
        if regions > 1:
            result = replace(result, head_layout=self.tiles.heads_layout, regions=regions)
        if table:
            self.tables[name] = self._table(table)
        self.emit(
            kind,
            name or op,
            result,
            site=op,
            op=op,
            reads=self._at("act8", src),
            task=task,
            src=self._at("act8", src),
            n_tok=rows,
            n_list=rows,
            in_tiles=ceil_div(n_in, self.lanes),
            out_tiles=ceil_div(n_out, cfg.t_out),
            chunks=ceil_div(n_out, cfg.t_epi),
            x_base=x_base,
            shift=SHIFTS.index(p.shift),
            flags=sum(bool(flags.get(f)) << bit for bit, f in enumerate(packing.LINEAR_FLAGS)),
            dst=result.base,
            space=self.spaces[space],
            weights=self.memory.weight(op, lambda: packing.pack_weights(cfg, p.weight, p.ternary)),
            params=self.memory.param(op, lambda: self._pairs(p)),
            table=self._table(table) if table else 0,
            list_mode=self.modes[mode],
            expert=expert or 0,
            slot=self.now if mode != "none" else 0,
        )

    def _apart(self, p: LinearParams) -> bool:
        """Whether an expert with these weights has an engine of its own."""
        return self.acc.expert is not None and p.ternary

    def _pairs(self, p: LinearParams) -> Ints:
        """(bias, multiplier) of each channel, padded to whole chunks."""
        return packing.pad_to(np.stack([p.bias, p.multiplier], 1), 0, self.acc.linear.t_epi)

    def _table(self, block: str) -> int:
        fc1 = block + (".fc1" if f"{block}.fc1" in self.model.ops else ".experts.0.fc1")
        table = self.model.linear(fc1).table
        assert table is not None
        whole = table.astype(np.int8)
        return self.memory.param(f"{block}.table", lambda: whole.view("<i4"))

    def norm(self, name: str, first: int, count: int) -> None:
        p, dim = self.model.norm(name), self.config.dim
        gains = packing.pad_to(np.stack([p.gain, p.bias], 1), 0, self.lanes)
        self.emit(
            "layernorm",
            name,
            Result("act8", self._at("act8", "norm"), count, dim),
            src=self.residual,
            n_tok=self.config.tokens,
            first=first,
            count=count,
            dim=dim,
            dst=self._at("act8", "norm"),
            params=self.memory.param(name, lambda: gains),
            shift=SHIFTS.index(p.shift),
            eps_low=p.eps & 0xFFFFFFFF,
            eps_high=p.eps >> 32,
        )

    def add(
        self, site: str, first: int, count: int, expert: int | None = None, src: str = "y"
    ) -> None:
        """Residual + y; with `expert`, onto the rows of its list, weighted by the scores."""
        tokens = self.config.tokens
        own = self._at("res", "res") if site != "embed" else self.residual
        self.emit(
            "add",
            site,
            Result("res", own, tokens, self.config.dim),
            dst=own,
            base=self.residual,
            n_tok=tokens,
            tiles=self.tiles.dim,
            src=self._at("y", src),
            first=first,
            count=count,
            list_mode=self.modes["none" if expert is None else "listed"],
            expert=expert or 0,
            slot=0 if expert is None else self.now,
        )
        self.residual = own

    def store(
        self, name: str, space: Space, src: int, n_out: int, *, offset: int = 0, last: int = 0,
        task: int | None = None,
    ) -> None:  # fmt: skip
        """Values from word `src` on to byte `offset` of the image's results."""
        self.emit(
            "store", name, Result("none"), task=task,
            src=src, n_out=n_out, offset=offset, space=self.spaces[space], last=last,
        )  # fmt: skip

    # --- the model, layer by layer ------------------------------------------------------------

    def embed(self) -> None:
        c, t = self.config, self.config.tokens
        words = c.patches * self.tiles.patch
        at = self._at("act8", "image")
        image = Result("act8", at, c.patches, c.patch_size)
        self.emit("load_image", "image", image, dst=at, words=words)
        self.emit(
            "load_const",
            "position",
            Result("res", self.residual, t, c.dim),
            dst=self.residual,
            words=t * self.tiles.dim,
            params=self.memory.param("position", self._position),
        )
        self.linear("patch_embed", "image", "y", c.patches)
        self.add("embed", 1, c.patches)

    def _position(self) -> Ints:
        """int16 words, two values an int32."""
        words = packing.tile_major(self.model.position, self.lanes)
        return np.ascontiguousarray(words, "<i2").reshape(-1).view("<i4")

    def layer(self, layer: int) -> None:
        block, t = f"blocks.{layer}", self.config.tokens
        self.attention(block)
        self.norm(f"{block}.norm2", 0, t)
        if self.config.is_moe(layer):
            self.moe(block)
        else:
            self.feed_forward(f"{block}.mlp")
            self.add(f"{block}.res2", 0, t)

    def heads(self) -> None:
        self.norm("norm", 0, 1)
        tasks = self.config.tasks
        for task in range(len(tasks)):
            self.linear(f"heads.{task}", "norm", "y", 1, name="head", task=task)
        src = self._at("y", "y")
        for task, kind in enumerate(tasks):
            self.store("logits", "y", src, kind.classes, task=task, last=1)

    def attention(self, block: str) -> None:
        t, p = self.config.tokens, self.model.attention(f"{block}.attn")
        layout = self.tiles.heads_layout
        self.norm(f"{block}.norm1", 0, t)
        padded = self._padded_heads(self.model.linear(f"{block}.qkv"))
        self.linear(f"{block}.qkv", "norm", "q", t, params=padded, regions=3)
        at = self._at("act8", "attn")
        self.emit(
            "attention",
            f"{block}.attn",
            Result("act8", at, t, self.config.dim, head_layout=layout),
            op=f"{block}.attn",
            reads=self._at("heads", "q"),
            q=self._at("heads", "q"),
            k=self._at("heads", "k"),
            v=self._at("heads", "v"),
            dst=at,
            n_tok=t,
            head_groups=layout.groups,
            dim_tiles=layout.dim_tiles,
            score_mult=p.score_mult,
            out_mult=p.out_mult,
            score_shift=SHIFTS.index(p.score_shift),
            out_shift=p.out_shift,
        )
        proj = self.model.linear(f"{block}.proj")
        columns = self._spread(proj.weight.T).T
        self.linear(f"{block}.proj", "attn", "y", t, params=replace(proj, weight=columns))
        self.add(f"{block}.res1", 0, t)

    def _spread(self, rows: Ints) -> Ints:
        """[heads*head_dim, ...] -> each channel in its place for the attention kernel."""
        layout = self.tiles.heads_layout
        flat = np.zeros((self.tiles.heads * self.lanes, *rows.shape[1:]), rows.dtype)
        flat[layout.places()] = rows
        return flat

    def _padded_heads(self, p: LinearParams) -> LinearParams:
        """q, k and v channels each spread as the attention kernel reads them."""
        weight, bias, multiplier = (
            np.concatenate([self._spread(part) for part in np.split(array, 3)])
            for array in (p.weight, p.bias, p.multiplier)
        )
        return replace(p, weight=weight, bias=bias, multiplier=multiplier)

    def feed_forward(self, name: str) -> None:
        """fc1 with GELU, fc2."""
        t = self.config.tokens
        self.linear(f"{name}.fc1", "norm", "hidden", t, name=f"{name}.gelu", table=name)
        self.linear(f"{name}.fc2", "hidden", "y", t)

    def moe(self, block: str) -> None:
        """Shared expert, gate, experts one by one; the normed tokens are loaded once, by the gate
        or, if the experts have an engine of their own, by the first of them.

        An expert's second operation comes after the next one's first, so that its input has
        been written when its turn comes.
        """
        c, t, name = self.config, self.config.tokens, f"{block}.moe"
        apart = self._apart(self.model.linear(f"{name}.experts.0.fc1"))
        loaded = self.tiles.expert if apart else self.tiles.loaded
        kept = t * (2 * loaded + self.now * self.tiles.dim)
        if c.shared_hidden:
            self.feed_forward(f"{name}.shared")
            self.add(f"{block}.res2", 0, t)
        self.gates(name, LATER if apart else kept)
        for expert in range(c.experts + 1):
            own = f"{name}.experts.{expert}"
            turn = ("", "2")[expert % 2]
            if expert < c.experts:
                self.linear(
                    f"{own}.fc1",
                    "norm",
                    f"hidden{turn}",
                    t,
                    name=f"{own}.gelu",
                    x_base=kept,
                    load_x=apart and expert == 0,
                    table=name,
                    mode="gather",
                    expert=expert,
                )
            if expert:
                own, turn = f"{name}.experts.{expert - 1}", ("2", "")[expert % 2]
                self.linear(
                    f"{own}.fc2", f"hidden{turn}", f"y{turn}", t, mode="listed", expert=expert - 1
                )
                self.add(f"{block}.res2", 0, t, expert - 1, f"y{turn}")

    def gates(self, name: str, kept: int) -> None:
        """Of every task: logits, then routing. The tokens are loaded to `kept`."""
        c, t, tasks = self.config, self.config.tokens, range(len(self.config.tasks))
        for task in tasks:
            self.linear(
                f"{name}.gate.{task}", "norm", "y", t, name=f"{name}.gate", x_base=kept, task=task
            )
        for task in tasks:
            p = self.model.gate(f"{name}.softmax.{task}")
            self.emit(
                "gate",
                f"{name}.topk",
                Result("none", rows=t),
                task=task,
                src=self._at("y", "y"),
                n_tok=t,
                experts=c.experts,
                top_k=p.top_k,
                mult=p.score_mult,
                shift=SHIFTS.index(p.score_shift),
                slot=self.now,
                scores=packing.GATE_SCORES.index(p.scores),
            )
