"""Random kernels and commands, their cycles by the formulas and in the simulated SystemVerilog.

Streams run at full speed. Values are not compared here: tests/rtl does that with the same kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from cycles_results import Sample, sources_of, within
from pydantic import ValidationError

from hwmoe.codegen.rtl_attention import attention_rtl
from hwmoe.codegen.rtl_gate import gate_rtl
from hwmoe.codegen.rtl_layernorm import layernorm_rtl
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.dse.gate_cycles import gate_cycles
from hwmoe.dse.layernorm_cycles import layernorm_cycles
from hwmoe.dse.linear_cycles import LinearWork, linear_schedule
from hwmoe.flow.kept import Kept
from hwmoe.plan.accelerator import (
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.quant.kernels import AttentionParams, GateParams, LinearParams, NormParams
from hwmoe.quant.numerics import SHIFTS
from hwmoe.sim import kernel_cases as kc
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.compiled_build import Ports, digest
from hwmoe.sim.streams import StreamCase

Random = np.random.Generator
TIMEOUT = 5_000_000  # cycles of one run
OPTIMIZE = "-O0"  # these run for some thousand cycles: building takes longer
CLOSE, FEW = 0.01, 16  # share of a command's cycles, or cycles


@dataclass(frozen=True, eq=False)
class Bench:
    """One configuration of a kernel and what is sent to it.

    `predicted`: for each run, cycles of each command: from the status before (`chained`) or the
    command's own transfer to its status.
    """

    name: str
    top: str
    files: Mapping[str, str]
    widths: kc.Widths
    runs: Sequence[StreamCase]
    predicted: Sequence[Sequence[int]]
    chained: bool = False


def kernel_samples(
    name: str, entropy: int, configurations: int, runs: int, kept: Kept
) -> Iterator[list[Sample]]:
    """Commands of one configuration after the other; what is kept is not simulated again."""
    for number in range(configurations):
        rng = np.random.default_rng([entropy, list(BENCHES).index(name), number])
        bench = BENCHES[name](rng, runs)
        simulated = kept.get(f"{name}-{_key(bench, kept)}", lambda b=bench: _simulate(b, kept))
        yield [
            Sample(f"{bench.name}, run {run}, command {at}", mine, its, within(CLOSE, FEW))
            for run, (theirs, ours) in enumerate(zip(simulated, bench.predicted, strict=True))
            for at, (its, mine) in enumerate(zip(theirs, ours, strict=True))
        ]


def _key(bench: Bench, kept: Kept) -> str:
    """Of the simulator, and of all that is sent to it."""
    sources = sources_of(bench.files, kept.folder)
    own = digest(bench.top, sources, Ports(*kc.axis_ports(bench.widths)), OPTIMIZE)
    beats = [case.inputs[port].tobytes() for case in bench.runs for port in sorted(case.inputs)]
    return kept.digest(own.encode(), *beats)


def _simulate(bench: Bench, kept: Kept) -> list[list[int]]:
    """Cycles of the commands of each run."""
    sources = sources_of(bench.files, kept.folder)
    ports = kc.axis_ports(bench.widths)
    kernel = CompiledKernel(bench.top, sources, *ports, kept.folder, optimize=OPTIMIZE)
    found = []
    for case in bench.runs:
        stamps = kernel.run(case, timeout_cycles=TIMEOUT).stamps
        begin, end = stamps["s_axis_cmd"], stamps["m_axis_status"]
        if bench.chained:
            begin = np.concatenate([begin[:1], end[:-1]])
        found.append((end - begin).tolist())
    return found


def _drawn(draw: Callable[[], object]) -> object:
    """The first draw that is a configuration."""
    while True:
        try:
            return draw()
        except ValidationError:
            continue


def _pick(rng: Random, *values: int) -> int:
    return int(rng.choice(values))


def _upto(rng: Random, most: int) -> int:
    return int(rng.integers(1, most + 1))


# ---- linear and expert ----------------------------------------------------------------------


def _linear(rng: Random, runs: int, engine: str = "linear") -> Bench:
    lanes = (8, 16, 32) if engine == "expert" else (4, 6, 8, 12, 16, 32)

    def draw() -> LinearConfig:
        return LinearConfig(
            t_in=_pick(rng, *lanes),
            t_out=4 * _upto(rng, 12),
            t_tok=_pick(rng, 1, 1, 2, 3),
            t_epi=_pick(rng, 1, 2, 4, 8, 16),
            w_rows=_pick(rng, 1, 1, 2, 4),
            max_tokens=int(rng.integers(8, 140)),
            x_words=int(rng.integers(140, 1000)),
        )

    cfg = _drawn(draw)
    assert isinstance(cfg, LinearConfig)
    ops = [_commands(rng, cfg, engine, 1 + run % 4) for run in range(runs)]
    predicted = []
    for sequence in ops:
        ends = linear_schedule(cfg, [_work(cfg, op) for op in sequence], engine)
        predicted.append(np.diff([0, *ends]).tolist())
    sizes = f"{cfg.t_in}x{cfg.t_out}x{cfg.t_tok}, t_epi {cfg.t_epi}, w_rows {cfg.w_rows}"
    return Bench(
        sizes,
        f"hwmoe_{engine}",
        linear_rtl(cfg, engine),
        kc.linear_widths(cfg),
        [kc.linear_case(cfg, f"run {run}", sequence) for run, sequence in enumerate(ops)],
        predicted,
        chained=True,
    )


def _commands(rng: Random, cfg: LinearConfig, engine: str, count: int) -> list[kc.LinearOp]:
    """The first loads activations; others load some too, or use those of the one before."""
    ops: list[kc.LinearOp] = []
    for _ in range(count):
        if ops and rng.random() < 0.4:
            x, base, load = ops[-1].x, ops[-1].x_base, False
        else:
            tokens = _upto(rng, min(cfg.max_tokens, cfg.x_words))
            tiles = _upto(rng, min(6, cfg.x_words // tokens))
            shape = tokens, cfg.t_in * tiles - int(rng.integers(cfg.t_in))
            x, load = rng.integers(-128, 128, shape).astype(np.int8), True
            base = int(rng.integers(cfg.x_words - tokens * tiles + 1))
        op = kc.LinearOp(x, _weights(rng, cfg, engine, x.shape[1]), load_x=load, x_base=base)
        kind = rng.random()
        if kind < 0.1:
            op = replace(op, n_list=0)
        elif kind < 0.4:
            rows = rng.integers(0, len(x), _upto(rng, cfg.max_tokens))
            op = replace(op, rows=rows)
        elif kind < 0.6:
            op = replace(op, n_list=_upto(rng, len(x)))
        ops.append(op)
    return ops


def _weights(rng: Random, cfg: LinearConfig, engine: str, n_in: int) -> LinearParams:
    """Only their number takes time; small multipliers keep results in range."""
    ternary = engine == "expert" or bool(rng.integers(2))
    n_out = _upto(rng, 5 * cfg.t_out)
    limit = 1 if ternary else 127
    table = rng.integers(-128, 128, 256).astype(np.int8) if rng.random() < 0.3 else None
    return LinearParams(
        rng.integers(-limit, limit + 1, (n_out, n_in)).astype(np.int8),
        np.zeros(n_out, np.int32),
        np.ones(n_out, np.int32),
        int(rng.choice(SHIFTS)),
        table is None and bool(rng.integers(2)),
        table,
        ternary,
    )


def _work(cfg: LinearConfig, op: kc.LinearOp) -> LinearWork:
    fields = op.command(cfg)
    sizes = {name: fields[name] for name in ("n_tok", "n_list", "in_tiles", "out_tiles", "chunks")}
    return LinearWork(
        **sizes,
        load_x=op.load_x,
        gather=op.rows is not None,
        load_table=op.params.table is not None,
        ternary=op.params.ternary,
        x_base=op.x_base,
        rows=None if op.rows is None else op.rows.tolist(),
    )


# ---- the others -----------------------------------------------------------------------------


def _attention(rng: Random, runs: int) -> Bench:
    cfg = AttentionConfig(
        rows=_upto(rng, 12),
        dim_lanes=_pick(rng, 4, 5, 8, 16),
        head_units=_pick(rng, 1, 1, 2, 3),
        max_tokens=140,
        max_dim_tiles=6,
    )
    ops = []
    for _ in range(runs):
        heads = _upto(rng, 3 * cfg.head_units)
        shape = heads, _upto(rng, 139), _upto(rng, 6 * cfg.dim_lanes)
        q, k, v = (rng.integers(-128, 128, shape).astype(np.int8) for _ in range(3))
        ops.append(kc.AttentionOp(q, k, v, AttentionParams(40, SHIFTS[-1], 40_000, 18)))
    fields = [op.command(cfg) for op in ops]
    return Bench(
        f"{cfg.rows} rows, {cfg.head_units} x {cfg.dim_lanes} lanes",
        "hwmoe_attention",
        attention_rtl(cfg),
        kc.attention_widths(cfg),
        [kc.attention_case(cfg, f"run {run}", [op]) for run, op in enumerate(ops)],
        [[attention_cycles(cfg, f["n_tok"], f["dim_tiles"], f["head_groups"])] for f in fields],
    )


def _layernorm(rng: Random, runs: int) -> Bench:
    lanes = _upto(rng, 24)
    cfg = LayerNormConfig(lanes=lanes, max_tiles=min(40, 1023 // lanes + 1))
    ops = []
    for _ in range(runs):
        dim = _upto(rng, min(1024, lanes * cfg.max_tiles))
        x = rng.integers(-3000, 3000, (_upto(rng, 150), dim)).astype(np.int16)
        gain, bias = np.full(dim, 1000, np.int32), np.zeros(dim, np.int32)
        ops.append(kc.LayerNormOp(x, NormParams(gain, bias, 100, SHIFTS[-1])))
    fields = [op.command(cfg) for op in ops]
    return Bench(
        f"{lanes} lanes",
        "hwmoe_layernorm",
        layernorm_rtl(cfg),
        kc.layernorm_widths(cfg),
        [kc.layernorm_case(cfg, f"run {run}", [op]) for run, op in enumerate(ops)],
        [[layernorm_cycles(cfg, f["n_tok"], f["tiles"])] for f in fields],
    )


def _gate(rng: Random, runs: int) -> Bench:
    cfg = GateConfig(max_experts=int(rng.integers(4, 65)), max_k=_upto(rng, 4))
    ops = []
    for _ in range(runs):
        experts = _upto(rng, cfg.max_experts)
        logits = rng.integers(-9000, 9000, (_upto(rng, 200), experts)).astype(np.int16)
        params = GateParams(60_000, SHIFTS[-1], _upto(rng, min(cfg.max_k, experts)))
        ops.append(kc.GateOp(logits, params))
    return Bench(
        f"{cfg.max_k} of {cfg.max_experts} experts",
        "hwmoe_gate",
        gate_rtl(cfg),
        kc.gate_widths(),
        [kc.gate_case(f"run {run}", [op]) for run, op in enumerate(ops)],
        [[gate_cycles(*op.logits.shape, op.params.top_k)] for op in ops],
    )


BENCHES: dict[str, Callable[[Random, int], Bench]] = {
    "linear": _linear,
    "expert": lambda rng, runs: _linear(rng, runs, "expert"),
    "attention": _attention,
    "layernorm": _layernorm,
    "gate": _gate,
}
