"""The linear engine with everything around it modelled, against the integer reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from linear_script import Outcome, Script, Writer

from hwmoe.codegen.rtl_linear_engine import TOP, linear_engine_rtl
from hwmoe.dse.linear_cycles import linear_schedule
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.process import run_tool
from hwmoe.quant.numerics import IntArray
from hwmoe.sim.verilator import COMMON_FLAGS, lint, verilator_env

pytestmark = pytest.mark.xdist_group("linear_engine")  # with --dist loadgroup: one build for all

MOST_CYCLES = 60_000
OVERHEAD = 8  # cycles from start to done that the engine adds to the kernel, at most
BENCH = Path(__file__).with_name("linear_engine_bench.cpp")


def accelerator(port_bits: int, dim_lanes: int, lanes: int, **linear: int) -> AcceleratorConfig:
    return AcceleratorConfig(
        linear=LinearConfig(**linear),
        attention=AttentionConfig(dim_lanes=dim_lanes),
        layernorm=LayerNormConfig(lanes=lanes),
        ports=PortsConfig(port_bits=port_bits),
    )


CONFIGS = {
    # two parts a word, fine act8 mask, parameters joined from four beats
    "halves": accelerator(
        128, 4, 8, t_in=16, t_out=16, t_epi=8, w_rows=1, max_tokens=40, x_words=160
    ),
    # four parts a word, two beats of parameters in one of the port, two tokens at a time
    "quarters": accelerator(
        128, 4, 4, t_in=4, t_out=8, t_epi=1, t_tok=2, w_rows=2, max_tokens=20, x_words=64
    ),
}
LINT_ONLY = {
    "whole": accelerator(64, 8, 8, t_in=8, t_out=16, t_epi=8, t_tok=2, w_rows=2),
    "large": accelerator(
        128, 32, 32, t_in=32, t_out=64, t_epi=16, t_tok=2, w_rows=8, max_tokens=256, x_words=8192
    ),
}
BAD = "FAULT"  # 1 when the fault is switched on
FAULTS = {  # module, what is there, what is put there
    "tokens not waited for": (
        "hwmoe_linear_dispatch",
        "assign tokens  = (mask & ~tok_avail) == '0;",
        "assign tokens  = ((mask & ~tok_avail) == '0) | FAULT;",
    ),
    "list read before its tokens": (
        "hwmoe_linear_prefetch",
        "(busy & ~known & m_ready & tokens)",
        "(busy & ~known & m_ready & (tokens | FAULT))",
    ),
    "one instruction too early": (
        "hwmoe_linear_xfeed",
        "(unfinished < next_after)",
        "(unfinished < next_after + 8'(FAULT))",
    ),
    "address off by one": (
        "hwmoe_linear_collect",
        "part[PARTS-1] ? addr + 1'b1 : column",
        "part[PARTS-1] ? addr + (FAULT ? 16'd0 : 16'd1) : column",
    ),
    "rest of a word not written": (
        "hwmoe_linear_collect",
        "last_chunk ? above : part;",
        "(last_chunk & ~FAULT) ? above : part;",
    ),
    "rest of a word not zero": (
        "hwmoe_linear_collect",
        "(last_chunk & ~part[p])",
        "(last_chunk & ~part[p] & ~FAULT)",
    ),
    "done while a word waits": (
        "hwmoe_linear_collect",
        "(state == FINISH) & (wr_valid == '0)",
        "((state == FINISH) & (wr_valid == '0)) ^ (FAULT & (status_valid & status_ready))",
    ),
    "spare parameters kept": (
        "hwmoe_linear_split",
        "(s_last < TOP)",
        "((s_last < TOP) & ~FAULT)",
    ),
    "carry lost": (
        "hwmoe_linear_param_request",
        "{31'b0, carry}",
        "{31'b0, carry & ~FAULT}",
    ),
}


@dataclass(frozen=True)
class Engine:
    """A built bench."""

    acc: AcceleratorConfig
    program: Path
    folder: Path

    def run(self, script: Script, seed: int, stall: int, latency: int, fault: str = "") -> Log:
        """Events and states of one run; HwmoeError if the bench itself finds something wrong."""
        (self.folder / "script.txt").write_text("\n".join(script.events))
        weights = np.concatenate(script.weights) if script.weights else np.zeros(1, np.uint8)
        (self.folder / "weights.bin").write_bytes(weights.tobytes())
        (self.folder / "params.bin").write_bytes(bytes(script.params))
        settings = [str(v) for v in (seed, stall, latency, MOST_CYCLES)]
        text = run_tool([self.program, self.folder, *settings, fault], timeout=60)
        lines = (self.folder / "events.txt").read_text().splitlines()
        split = [line.split() for line in lines]
        events = [(parts[0], [int(v) for v in parts[1:]]) for parts in split]
        return Log(events, [int(v) for v in text.split()[1:]])


@dataclass(frozen=True)
class Log:
    """events: kind and numbers, the cycle first. states: cycles in each."""

    events: list[tuple[str, list[int]]]
    states: list[int]

    def of(self, kind: str) -> list[list[int]]:
        return [numbers for name, numbers in self.events if name == kind]


def build(acc: AcceleratorConfig, files: Mapping[str, str], folder: Path) -> Engine:
    """Verilate `files` with the bench."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    cfg = acc.linear
    sizes = {
        "L": cfg.t_in,
        "A8_MASK": cfg.t_in // acc.act8_grain,
        "W_BYTES": cfg.t_in * cfg.w_rows,
        "P_BYTES": acc.ports.port_bits // 8,
    }
    text = "".join(f"constexpr unsigned {name} = {value};\n" for name, value in sizes.items())
    (folder / "sizes.h").write_text(text)
    env = verilator_env()
    env.pop("MAKEFLAGS", None)
    flags = ["--cc", "--exe", "-O3", "--x-initial", "unique", "--x-assign", "unique"]
    cmd = ["verilator", *flags, *COMMON_FLAGS, "-Wno-fatal", "-Wno-lint", "--top-module", TOP]
    cmd += ["--prefix", "Vtop", "--Mdir", str(folder / "build"), "-o", "bench"]
    cmd += ["-CFLAGS", f"-I{folder}", str(BENCH)]
    run_tool([*cmd, *(folder / name for name in files)], env, folder)
    make = ["make", "-j1", "-C", str(folder / "build"), "-f", "Vtop.mk", "OPT_FAST=-O1"]
    run_tool([*make, "OPT_SLOW=-O0", "OPT_GLOBAL=-O0", "CFG_CXXFLAGS_PCH_I=-include"], env, folder)
    return Engine(acc, folder / "build" / "bench", folder)


@pytest.fixture(scope="module", params=list(CONFIGS))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    acc = CONFIGS[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "engine"
    return build(acc, linear_engine_rtl(acc, {}), folder)


def check(acc: AcceleratorConfig, script: Script, log: Log) -> None:
    """Every write, done, start, pop and read of a run."""
    outcomes = script.outcomes
    starts = [numbers[1] for numbers in log.of("S")]
    assert starts == [outcome.step for outcome in outcomes if not outcome.null]
    pops = np.bincount([numbers[1] for numbers in log.of("P")], minlength=5).tolist()
    assert pops == [sum(o.tokens >> engine & 1 for o in outcomes) for engine in range(5)]
    used = [o for o in outcomes if len(o.reads)]
    assert [numbers[1] for numbers in log.of("R")] == [at for o in used for at in o.reads]
    written: list[list[int]] = []
    left = list(outcomes)
    for kind, numbers in log.events:
        if kind == "W":
            written.append(numbers)
        if kind == "D":
            outcome = left.pop(0)
            done = [outcome.step, outcome.signal, outcome.clipped, int(outcome.null)]
            assert numbers[1:] == done, f"instruction {len(outcomes) - len(left) - 1}"
            region_is_right(acc, outcome, written)
            written = []
    assert not left
    assert not written


def region_is_right(acc: AcceleratorConfig, outcome: Outcome, written: list[list[int]]) -> None:
    """All of the result is there when the instruction is done, and nothing else was written."""
    lanes = acc.linear.t_in
    grain = acc.act8_grain if outcome.space == 0 else acc.linear.t_epi
    memory: dict[int, IntArray] = {}
    touched = np.zeros(outcome.words.shape, bool)
    assert len(written) == outcome.beats
    for _, space, addr, mask, *data in written:
        assert space == outcome.space
        assert 0 <= addr - outcome.dst < len(outcome.words)
        bits = np.array([mask >> lane // grain & 1 for lane in range(lanes)], bool)
        values = np.array(data, np.uint8).view("<i2" if space == 2 else np.int8)
        word = memory.setdefault(addr - outcome.dst, np.zeros(lanes, np.int64))
        word[bits] = values[bits]
        touched[addr - outcome.dst] |= bits
    assert touched.all()
    for row, word in memory.items():
        np.testing.assert_array_equal(word, outcome.words[row], f"word {row}")


@pytest.mark.parametrize("name", [*CONFIGS, *LINT_ONLY])
def test_lint_finds_nothing(name: str, tmp_path: Path) -> None:
    files = linear_engine_rtl((CONFIGS | LINT_ONLY)[name], {"act8": 65536})
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert lint([tmp_path / file for file in files], TOP) == ""


def random_runs(engine: Engine, fault: str = "") -> None:
    """Programs of 20 instructions, until one goes wrong."""
    for seed in range(24):
        script = Writer(engine.acc.linear, engine.acc.ports.port_bits, seed).fill(20)
        stall, latency = (0, 30, 70)[seed % 3], (0, 40)[seed % 2]
        check(engine.acc, script, engine.run(script, seed, stall, latency, fault))


def plain(engine: Engine, seed: int, shapes: list[tuple[int, int]]) -> Script:
    """Commands of (rows, tiles) without lists and tokens."""
    writer = Writer(engine.acc.linear, engine.acc.ports.port_bits, seed, tokens=False)
    for rows, tiles in shapes:
        x = writer.rng.integers(-128, 128, (rows, tiles * engine.acc.linear.t_in))
        writer.linear(x, "none")
    return writer.script


def test_random_programs(engine: Engine) -> None:
    """Lists, empty ones, null instructions, all spaces, tables, `after`; stalls or none."""
    random_runs(engine)


def test_commands_follow_without_bubbles(engine: Engine) -> None:
    """At full speed every status is as early as with the kernel alone, but for a constant."""
    cfg = engine.acc.linear
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = [int(n) for n in rng.integers(1, cfg.max_tokens + 1, 8)]
        shapes = [(n, int(rng.integers(1, min(3, cfg.x_words // n) + 1))) for n in rows]
        script = plain(engine, seed, shapes)
        log = engine.run(script, seed, stall=0, latency=0)
        check(engine.acc, script, log)
        done = np.array([numbers[0] for numbers in log.of("D")]) - log.of("S")[0][0]
        added = done - linear_schedule(cfg, script.works)
        assert added.min() == added.max() <= OVERHEAD


def test_state_tells_what_is_waited_for(engine: Engine) -> None:
    """Memory: only as long as there is nothing to compute; tokens: until they come."""
    cfg = engine.acc.linear
    shapes = [(cfg.max_tokens, 3)] * 4
    waits = []
    for latency in (0, 40):
        script = plain(engine, 1, shapes)
        waits.append(engine.run(script, 1, 0, latency).states[3])
    assert waits[0] <= 5
    assert 40 <= waits[1] <= 50  # for the first command; the others are asked for ahead
    writer = Writer(cfg, engine.acc.ports.port_bits, 3)
    writer.linear(writer.rng.integers(-128, 128, (3, cfg.t_in)), "none")
    writer.script.events.insert(0, "E 500")
    assert 450 <= engine.run(writer.script, 0, 0, 0).states[1] <= 850


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """One build with every fault in it, each switched on by an argument."""
    acc = CONFIGS["quarters"]
    files = linear_engine_rtl(acc, {})
    for number, (module, good, bad) in enumerate(FAULTS.values()):
        text = files[f"{module}.sv"]
        assert text.count(good) == 1, good
        switch = f'1\'($test$plusargs("fault{number}"))'
        files[f"{module}.sv"] = text.replace(good, bad.replace(BAD, switch))
    engine = build(acc, files, tmp_path_factory.mktemp("faulty") / "engine")
    random_runs(engine)  # nothing is wrong as long as no fault is switched on
    return engine


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=list(FAULTS))
def test_fault_is_found(faulty: Engine, number: int) -> None:
    with pytest.raises((AssertionError, HwmoeError)):
        random_runs(faulty, f"+fault{number}")


def test_sizes_that_do_not_fit_are_refused() -> None:
    acc = CONFIGS["halves"]
    with pytest.raises(HwmoeError, match="act8=65537"):
        linear_engine_rtl(acc, {"act8": 65537})
    odd = acc.model_copy(update={"ports": PortsConfig(port_bits=96)})
    with pytest.raises(HwmoeError, match="port_bits=96"):
        linear_engine_rtl(odd, {})
