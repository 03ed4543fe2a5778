"""Random programs for the linear engine: what happens around it, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwmoe.dse.linear_cycles import LinearWork
from hwmoe.plan import packing
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.kernels import LinearParams, linear
from hwmoe.quant.numerics import SHIFTS, IntArray, Saturations

ISA = instruction_set()
SPACES = tuple(ISA.spaces)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What instruction `step` does: the words it reads, its result, its done.

    words: [n, L] the whole of its region at `dst` of `space`; beats: how many writes make it.
    """

    step: int
    null: bool
    signal: int
    tokens: int
    reads: range
    space: int
    dst: int
    words: IntArray
    beats: int
    clipped: int


@dataclass
class Script:
    """A program and its surroundings; `works` are the kernel's commands for the cycle formula."""

    events: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    works: list[LinearWork] = field(default_factory=list)
    weights: list[packing.Beats] = field(default_factory=list)
    params: bytearray = field(default_factory=bytearray)


@dataclass
class _Loaded:
    """What the kernel's activation memory holds since the last load."""

    x: IntArray
    base: int


class Writer:
    """Draws instructions one after the other and knows the state that they find."""

    def __init__(self, cfg: LinearConfig, port_bits: int, seed: int, tokens: bool = True) -> None:
        self.cfg, self.port_bytes, self.tokens = cfg, port_bits // 8, tokens
        self.rng = np.random.default_rng(seed)
        self.script = Script()
        self.top = 0  # of what is used of act8
        self.free = [0, 0, 0]  # of what is written to each memory; act8 grows from above
        self.loaded: _Loaded | None = None
        self.table: IntArray | None = None
        self.results: list[tuple[int, Outcome]] = []
        self.count = 0
        self.lists = 0
        self.weight_beats = 0

    def fill(self, count: int) -> Script:
        for _ in range(count):
            self.draw()
        return self.script

    def draw(self) -> None:
        """One instruction of any kind."""
        rng = self.rng
        if rng.random() < 0.15:
            self._null()
            return
        mode = str(rng.choice(["none", "gather", "listed"], p=[0.5, 0.3, 0.2]))
        older = [r for r in self.results if self.count - r[0] <= 6]
        if self.loaded is not None and rng.random() < 0.25:
            self.linear(self.loaded.x, mode, load=False)
        elif older and mode != "listed" and rng.random() < 0.4:
            index, outcome = older[int(rng.integers(len(older)))]
            self.linear(self._tensor(outcome), mode, src=outcome.dst, after=self.count - index)
        else:
            rows = int(rng.choice([1, 2, rng.integers(1, self.cfg.max_tokens + 1)]))
            if mode == "listed" and rng.random() < 0.2:
                rows = 0
            most = min(3, self.cfg.x_words // max(rows, 1))
            tiles = int(rng.integers(1, most + 1))
            self.linear(rng.integers(-128, 128, (rows, tiles * self.cfg.t_in)), mode)

    def linear(
        self,
        x: IntArray,
        mode: str,
        load: bool = True,
        src: int | None = None,
        after: int = 0,
    ) -> None:
        """One command on x; with `src` it lies in act8 already, otherwise it appears with the
        tokens. Without tokens there are no lists."""
        rng, cfg = self.rng, self.cfg
        n_tok, n_in = x.shape
        rows = self._rows(mode, n_tok)
        p, load_table = self._constants_of(n_in, n_tok > 0)
        wait = self._wait(any_of=src is None or mode != "none")
        slot, expert = self.lists % 16, self.lists // 16
        if mode != "none":
            self.lists += 1
            self._event(["L", slot, expert, *range(int(rng.integers(4)))], first=True)
        base = self.loaded.base if self.loaded is not None else 0
        if load:
            base = int(rng.integers(0, cfg.x_words - x.size // cfg.t_in + 1))
            if n_tok:
                self.loaded = _Loaded(x, base)
        self._gap()
        if load and src is None:
            src = self.top
            if n_tok:
                words = packing.pack_activations(x, cfg.t_in)
                self.top += len(words)
                self._event(["X", src, *words.reshape(-1).tolist()])
        if mode != "none":
            self._event(["L", slot, expert, *rows.tolist()])
        self._tokens(wait)
        flags = {"load_x": load, "load_table": load_table}
        fields = {"wait": wait, "after": after, "src": src or 0, "x_base": base}
        fields |= {"slot": slot, "expert": expert, "list_mode": ISA.list_modes[mode]}
        self._emit(x, p, rows, flags, fields)

    def _emit(
        self,
        x: IntArray,
        p: LinearParams,
        rows: IntArray,
        flags: dict[str, bool],
        fields: dict[str, int],
    ) -> None:
        """The instruction with its constants, and what must come of it."""
        cfg, rng = self.cfg, self.rng
        n_out, n_in = p.weight.shape
        sizes = {
            "in_tiles": n_in // cfg.t_in,
            "out_tiles": ceil_div(n_out, cfg.t_out),
            "chunks": ceil_div(n_out, cfg.t_epi),
        }
        bits = flags | {"gelu": p.table is not None, "wide": p.wide, "ternary": p.ternary}
        bits["gather"] = bool(rng.integers(2))  # of no meaning: list_mode says it
        space = 2 if p.wide else int(rng.integers(3))
        words, clipped = self._result(p, x[rows], sizes["chunks"])
        fields |= sizes
        fields |= {
            "signal": int(rng.integers(32)),
            "dst": self._place(space, len(words)),
            "weights": self._weights(p),
            "params": self._constants(packing.pack_params(cfg, p.bias, p.multiplier)),
            "table": self._constants(p.table.view(np.uint8)) if flags["load_table"] else 0,
            "n_tok": 77 if fields["list_mode"] == ISA.list_modes["listed"] else len(x),
            "n_list": len(rows) if fields["list_mode"] == ISA.list_modes["none"] else 99,
            "flags": sum(bits[name] << bit for bit, name in enumerate(packing.LINEAR_FLAGS)),
            "shift": SHIFTS.index(p.shift),
            "space": space,
        }
        step = int(rng.integers(1 << 16))
        self._instruction(0, step, fields)
        src = fields["src"]
        outcome = Outcome(
            step=step,
            null=False,
            signal=fields["signal"],
            tokens=fields["wait"],
            reads=range(src, src + (x.size // cfg.t_in if flags["load_x"] else 0)),
            space=space,
            dst=fields["dst"],
            words=words,
            beats=len(rows) * sizes["chunks"],
            clipped=clipped,
        )
        self.script.outcomes.append(outcome)
        if space == 0 and 0 < len(words) <= cfg.x_words:
            self.results.append((self.count, outcome))
        self.count += 1
        if len(x):
            sizes |= {"n_tok": len(x), "n_list": len(rows), "x_base": fields["x_base"]}
            self.script.works.append(LinearWork(**sizes, **flags, ternary=p.ternary))

    def _rows(self, mode: str, n_tok: int) -> IntArray:
        """The rows computed: all, the first ones, or any."""
        rng = self.rng
        if mode == "gather":
            empty = n_tok == 0 or rng.random() < 0.15
            length = 0 if empty else int(rng.integers(1, self.cfg.max_tokens + 1))
            return rng.integers(0, max(n_tok, 1), length)
        if mode == "none" and self.tokens and rng.random() < 0.3:
            return np.arange(int(rng.integers(n_tok + 1)))
        return np.arange(n_tok)

    def _constants_of(self, n_in: int, used: bool) -> tuple[LinearParams, bool]:
        """Parameters, and whether their table has to be loaded; a command without any rows
        (not `used`) loads none."""
        p = self._params(n_in)
        fresh = p.table is not None and p.table is not self.table
        if fresh and used:
            self.table = p.table
        elif fresh:
            return self._params(n_in, gelu=False), False
        return p, fresh

    def _null(self) -> None:
        """A null instruction: only its tokens count; the rest says nothing."""
        rng = self.rng
        wait = self._wait(any_of=False)
        signal, step = int(rng.integers(32)), int(rng.integers(1 << 16))
        self._gap()
        self._tokens(wait)
        fields = {name: 1 for name in ISA.formats["linear"].fields}
        fields |= {"wait": wait, "signal": signal, "list_mode": int(rng.integers(3))}
        fields |= {"flags": 9, "n_tok": 5, "after": int(rng.integers(3))}
        self._instruction(1, step, fields)
        nothing = np.zeros((0, self.cfg.t_in), np.int64)
        self.script.outcomes.append(
            Outcome(step, True, signal, wait, range(0), 0, 0, nothing, 0, 0)
        )
        self.count += 1

    def _params(self, n_in: int, gelu: bool = True) -> LinearParams:
        """Weights in range, and multipliers that use the range of the result and clip a little."""
        rng = self.rng
        table = None
        if gelu and rng.random() < 0.4:
            table = self.table
            if table is None or rng.random() < 0.5:
                table = rng.integers(-128, 128, 256).astype(np.int8)
        n_out = int(rng.integers(1, 2 * self.cfg.t_out + 1))
        ternary = bool(rng.integers(2))
        wide = table is None and bool(rng.integers(2))
        limit = 1 if ternary else 127
        spread = 64 * limit * np.sqrt(n_in)
        shift = int(rng.choice(SHIFTS))
        ratio = (32768 if wide else 128) / spread * rng.uniform(0.1, 0.8, n_out)
        return LinearParams(
            rng.integers(-limit, limit + 1, (n_out, n_in)).astype(np.int8),
            rng.integers(-int(spread), int(spread) + 1, n_out).astype(np.int32),
            np.clip(np.round(ratio * 2.0**shift), 1, (1 << 17) - 1).astype(np.int32),
            shift,
            wide,
            table,
            ternary,
        )

    def _result(self, p: LinearParams, x: IntArray, chunks: int) -> tuple[IntArray, int]:
        """The words of the region with all padding, and the clip count."""
        cfg, n_out = self.cfg, len(p.weight)
        width = ceil_div(chunks * cfg.t_epi, cfg.t_in) * cfg.t_in
        whole = np.zeros((len(x), width), np.int64)
        if not len(x):
            return whole.reshape(-1, cfg.t_in)[:0], 0
        sat = Saturations()
        whole[:, :n_out] = linear(x.astype(np.int8), p, "y", sat)[1]
        if p.table is not None:
            whole[:, n_out : chunks * cfg.t_epi] = p.table[0]
        return packing.tile_major(whole, cfg.t_in).reshape(-1, cfg.t_in), sat.total

    def _tensor(self, outcome: Outcome) -> IntArray:
        """A result as the activations of another command: whole words, tile-major."""
        words = outcome.words
        tiles = int(self.rng.choice([n for n in (1, 2, 3) if len(words) % n == 0]))
        rows = len(words) // tiles
        if rows > self.cfg.max_tokens:
            rows, tiles = self.cfg.max_tokens, 1
        return packing.from_tile_major(
            words[: rows * tiles].reshape(tiles, rows, -1), tiles * self.cfg.t_in
        )

    def _place(self, space: int, words: int) -> int:
        """A region that nothing else uses; sources grow from the bottom of act8."""
        self.free[space] += words + int(self.rng.integers(3))
        return 65536 - self.free[space]

    def _weights(self, p: LinearParams) -> int:
        first = self.weight_beats
        beats = packing.pack_weights(self.cfg, p.weight, p.ternary)
        self.script.weights.append(beats)
        self.weight_beats += len(beats)
        return first

    def _constants(self, data: packing.Beats) -> int:
        """Bytes at the next 64-byte boundary, in int32 values; whole beats of the port."""
        params = self.script.params
        params.extend(bytes(-len(params) % 64))
        first = len(params) // 4
        params.extend(data.tobytes())
        params.extend(b"\xa5" * (-len(params) % self.port_bytes))
        return first

    def _wait(self, any_of: bool) -> int:
        """Engines to wait for; at least one if something has to be told."""
        if not self.tokens:
            return 0
        mask = int(self.rng.choice([0, 1 << int(self.rng.integers(5)), self.rng.integers(32)]))
        return mask or (1 << int(self.rng.integers(5)) if any_of else 0)

    def _tokens(self, wait: int) -> None:
        for engine in range(5):
            if wait >> engine & 1:
                self._event(["T", engine])

    def _gap(self) -> None:
        if self.tokens and self.rng.random() < 0.5:
            self._event(["E", int(self.rng.choice([1, 5, 60, 300]))])

    def _event(self, parts: list[object], first: bool = False) -> None:
        line = " ".join(str(part) for part in parts)
        self.script.events.insert(0 if first else len(self.script.events), line)

    def _instruction(self, null: int, step: int, fields: dict[str, int]) -> None:
        words = np.array(ISA.encode("linear", fields), "<i4").view("<u4")
        self._event(["I", null, step, *words.tolist()])
