"""Scripts for vector_bench.sv, and a model of the vector engine that says what must come back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwmoe.dse.gate_cycles import gate_cycles
from hwmoe.dse.layernorm_cycles import layernorm_cycles
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import GATE_SCORES, ceil_div, pack_norm_params, tile_major
from hwmoe.quant.kernels import GateParams, NormParams, gate, norm
from hwmoe.quant.numerics import INT16, SHIFTS, IntArray, Saturations, apply_score, saturate

WORDS = 256
LISTED = 2
COMMAND, ANSWER = 72, 64  # bytes
POKE = {"res": 0, "y": 1, "act8": 2}
GO, WAIT, LEN, ROW, SET = 3, 4, 7, 8, 9
PEEK = {"res": 5, "act8": 6}
FIRST_ROW = 48  # cycles of the kernel from the first row's last beat to its result, about


@dataclass(frozen=True)
class Tables:
    """Sizes of the routing tables."""

    slots: int
    max_experts: int
    max_tokens: int


@dataclass
class Script:
    """Commands, LayerNorm parameters, and what every answer must be."""

    acc: AcceleratorConfig
    tables: Tables
    commands: list[bytes] = field(default_factory=list)
    params: list[np.ndarray] = field(default_factory=list)
    wanted: list[tuple[str, bytes]] = field(default_factory=list)
    limits: dict[int, tuple[str, int]] = field(default_factory=dict)  # answer -> kind, cycles
    clipped: int = 0
    memory: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lanes = self.acc.linear.t_in
        for name, dtype in (("res", np.int16), ("y", np.int16), ("act8", np.int8)):
            self.memory[name] = np.zeros((WORDS, self.lanes), dtype)

    # --- single commands

    def send(
        self,
        op: int,
        data: bytes = b"",
        at: int = 0,
        list_: tuple[int, int] = (0, 0),
        index: int = 0,
    ) -> None:
        head = bytes([op, *at.to_bytes(2, "little"), *list_, *index.to_bytes(2, "little"), 0])
        self.commands.append(data.ljust(64, b"\0") + head)

    def settings(self, seed: int, refused: float, fault: int = 0) -> None:
        """Share of refused grants, and the planted fault."""
        data = (seed * 2 + 1).to_bytes(8, "little") + bytes([int(256 * refused), fault])
        self.send(SET, data)

    def poke(self, memory: str, base: int, words: IntArray) -> None:
        """Words [n, lanes] from `base` on."""
        self.memory[memory][base : base + len(words)] = words
        for i, word in enumerate(words):
            self.send(POKE[memory], word.tobytes(), base + i)

    def peek(self, memory: str, base: int = 0, count: int = WORDS) -> None:
        """Words must be those of the model."""
        for at in range(base, base + count):
            self.send(PEEK[memory], at=at)
            self.wanted.append((f"{memory} word {at}", self.memory[memory][at].tobytes()))

    def go(self, op: str, **fields: int) -> None:
        row = instruction_set().encode(op, fields)
        self.send(GO, np.array(row, "<i4").tobytes())

    def wait(self, what: str, clipped: int, most: int) -> None:
        """The end of the instruction; `most` cycles at full speed."""
        self.send(WAIT)
        self.clipped += clipped
        self.limits[len(self.wanted)] = (what, most)
        self.wanted.append((f"clipped values of {what}", clipped.to_bytes(4, "little")))

    def peek_list(self, slot: int, expert: int) -> None:
        """Length and all rows through the ports of the linear engine."""
        rows = [row for row, _ in self.lists.get((slot, expert), [])]
        where = f"list ({slot}, {expert})"
        self.send(LEN, list_=(slot, expert))
        self.wanted.append((f"length of {where}", len(rows).to_bytes(4, "little")))
        for index, row in enumerate(rows):
            self.send(ROW, list_=(slot, expert), index=index)
            self.wanted.append((f"row {index} of {where}", row.to_bytes(4, "little")))

    # --- instructions

    def layernorm(
        self, at: dict[str, int], n_tok: int, first: int, count: int, p: NormParams
    ) -> None:
        """at: src and dst."""
        dim, lanes = len(p.gain), self.lanes
        tiles = ceil_div(dim, lanes)
        source = self.memory["res"][at["src"] : at["src"] + tiles * n_tok]
        x = source.reshape(tiles, n_tok, lanes)[:, first : first + count]
        x = x.transpose(1, 0, 2).reshape(count, -1)[:, :dim]
        sat = Saturations()
        words = tile_major(norm(x, p, "y", sat), lanes).reshape(-1, lanes)
        self.memory["act8"][at["dst"] : at["dst"] + len(words)] = words
        beats = pack_norm_params(p.gain, p.bias, lanes)
        self.params.append(beats.reshape(-1, self.acc.ports.port_bits // 8))
        self.go(
            "layernorm",
            **at,
            params=77,
            n_tok=n_tok,
            first=first,
            count=count,
            dim=dim,
            eps_low=p.eps & 0xFFFFFFFF,
            eps_high=p.eps >> 32,
            shift=SHIFTS.index(p.shift),
        )
        part = self.acc.layernorm.lanes
        beats_in = tiles * lanes // part
        late = max(0, beats_in * (64 * part // self.acc.ports.port_bits - 1) - FIRST_ROW)
        most = layernorm_cycles(self.acc.layernorm, count, beats_in) + 16 + late
        self.wait(f"layernorm [{count}, {dim}]", sat.total, most)

    def add(self, at: dict[str, int], n_tok: int, tiles: int, first: int, count: int) -> None:
        """at: dst, base, src."""
        rows = np.arange(first, first + count)
        term = self._terms(at["src"], tiles, count)
        clipped = self._sum(at["base"], at["dst"], n_tok, rows, term)
        self.go(
            "add",
            **at,
            n_tok=n_tok,
            tiles=tiles,
            first=first,
            count=count,
            list_mode=0,
            expert=0,
            slot=0,
        )
        self.wait(f"add [{count}, {tiles}]", clipped, tiles * count + 24)

    def add_listed(
        self, at: dict[str, int], n_tok: int, tiles: int, which: tuple[int, int]
    ) -> None:
        """at: dst, src; which: slot and expert."""
        entries = self.lists.get(which, [])
        rows = np.array([row for row, _ in entries], int)
        scores = np.array([score for _, score in entries], np.int64).reshape(1, -1, 1)
        term = apply_score(self._terms(at["src"], tiles, len(entries)), scores)
        clipped = self._sum(at["dst"], at["dst"], n_tok, rows, term)
        self.go(
            "add",
            **at,
            base=at["dst"],
            n_tok=n_tok,
            tiles=tiles,
            first=0,
            count=0,
            list_mode=LISTED,
            slot=which[0],
            expert=which[1],
        )
        self.wait(f"listed add [{len(rows)}, {tiles}]", clipped, tiles * len(rows) + 24)

    def gate(
        self,
        src: int,
        n_tok: int,
        experts: int,
        slot: int,
        p: GateParams,
        meanwhile: int | None = None,
    ) -> None:
        """meanwhile: a slot whose lists are read while the gate runs."""
        tiles = ceil_div(experts, self.lanes)
        logits = self._terms(src, tiles, n_tok).transpose(1, 0, 2).reshape(n_tok, -1)[:, :experts]
        chosen, scores = gate(logits, p)
        self.go(
            "gate",
            src=src,
            mult=p.score_mult,
            n_tok=n_tok,
            experts=experts,
            top_k=p.top_k,
            shift=SHIFTS.index(p.score_shift),
            slot=slot,
            scores=GATE_SCORES.index(p.scores),
        )
        if meanwhile is not None and meanwhile != slot:
            for expert in range(self.tables.max_experts):
                self.peek_list(meanwhile, expert)
        most = gate_cycles(n_tok, experts, p.top_k, p.scores) + 16
        self.wait(f"gate [{n_tok}, {experts}]", 0, most)
        for expert in range(self.tables.max_experts):
            self.lists[slot, expert] = [
                (row, int(score))
                for row in range(n_tok)
                for who, score in zip(chosen[row], scores[row], strict=True)
                if who == expert
            ]

    def _terms(self, src: int, tiles: int, count: int) -> IntArray:
        """int16 [tiles, count, lanes] of y."""
        return self.memory["y"][src : src + tiles * count].reshape(tiles, count, self.lanes)

    def _sum(self, base: int, dst: int, n_tok: int, rows: IntArray, term: IntArray) -> int:
        """Clipped lanes of res[dst] = res[base] + term on `rows`."""
        sat, res = Saturations(), self.memory["res"]
        where = (np.arange(len(term))[:, None] * n_tok + rows).astype(int)
        total = res[base + where].astype(np.int64) + term
        res[dst + where] = saturate(total, INT16, "sum", sat)
        return sat.total
