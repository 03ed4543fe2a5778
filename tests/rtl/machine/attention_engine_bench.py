"""The attention engine's core on modelled memories: commands, the C++ bench, what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmoe.codegen.rtl_attention_engine import TOP
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import ceil_div, pad_up
from hwmoe.plan.program import HeadLayout
from hwmoe.process import run_tool
from hwmoe.quant.kernels import AttentionParams, attention
from hwmoe.quant.numerics import SHIFTS, IntArray, Saturations
from hwmoe.sim.verilator import COMMON_FLAGS, verilator_env, verilator_root

BENCH = Path(__file__).with_name("attention_engine_bench.cpp")
Shape = tuple[int, int, int]  # heads, tokens, head dimension


@dataclass(frozen=True)
class Grants:
    """How ready the memories are, in percent; cycles between instructions; see the bench."""

    read: int = 100
    write: int = 100
    gap: int = 0
    abort: int = 0
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Command:
    """One instruction; q, k, v int8 [heads, T, d]; addresses of words."""

    q: IntArray
    k: IntArray
    v: IntArray
    params: AttentionParams
    at: dict[str, int]
    layout: HeadLayout

    @property
    def tokens(self) -> int:
        return int(self.q.shape[1])

    @property
    def sizes(self) -> Shape:
        """n_tok, dim_tiles, head_groups."""
        return self.tokens, self.layout.dim_tiles, self.layout.groups

    def encode(self) -> bytes:
        n_tok, dim_tiles, head_groups = self.sizes
        fields = {
            "n_tok": n_tok,
            "dim_tiles": dim_tiles,
            "head_groups": head_groups,
            "score_shift": SHIFTS.index(self.params.score_shift),
            "out_shift": self.params.out_shift,
            "score_mult": self.params.score_mult,
            "out_mult": self.params.out_mult,
        }
        row = instruction_set().encode("attention", self.at | fields)
        return np.array(row, "<i4").tobytes()

    def reference(self) -> tuple[IntArray, int]:
        sat = Saturations()
        out = attention(self.q, self.k, self.v, self.params, "o", sat)[1]
        return out, sat.total


@dataclass(frozen=True, eq=False)
class Job:
    """Commands with the memories before them; heads and act8 are int8 [words, lanes]."""

    acc: AcceleratorConfig
    commands: tuple[Command, ...]
    heads: IntArray
    act8: IntArray

    def expected(self) -> IntArray:
        """act8 afterwards."""
        after = self.act8.copy()
        for command in self.commands:
            out, _ = command.reference()
            words = to_words(out, command.layout, self.acc.linear.t_in)
            start = command.at["dst"]
            after[start : start + len(words)] = words
        return after


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the bench reports of every command (go, fin, clipped, words of q, of k and v)."""

    reports: IntArray
    act8: IntArray


def to_words(
    x: IntArray, layout: HeadLayout, lanes: int, above: IntArray | None = None
) -> IntArray:
    """int8 [heads, T, d] -> int8 [word rows * T, lanes], channels placed as HeadLayout says.

    The channels above the layout's width, in the last word row, are those of `above` or zero.
    """
    heads, tokens, dim = x.shape
    padded = np.zeros((tokens, pad_up(layout.width, lanes)), np.int8)
    if above is not None:
        padded[:, layout.width :] = above[:, : padded.shape[1] - layout.width]
    padded[:, layout.places()] = x.transpose(1, 0, 2).reshape(tokens, heads * dim)
    return padded.reshape(tokens, -1, lanes).transpose(1, 0, 2).reshape(-1, lanes)


def make_job(acc: AcceleratorConfig, shapes: Sequence[Shape], seed: int) -> Job:
    """Random commands; what does not belong to them in the memories is noise."""
    rng = np.random.default_rng(seed)
    lanes, cfg = acc.linear.t_in, acc.attention
    commands = []
    heads, act8_words = [], 3
    heads_words = 0

    def noise(words: int) -> IntArray:
        return rng.integers(-128, 128, (words, lanes)).astype(np.int8)

    for shape in shapes:
        layout = HeadLayout(shape[0], shape[2], cfg.dim_lanes, cfg.head_units)
        at, values = {}, []
        for name in ("v", "q", "k"):  # not in the order of the fields
            value = rng.integers(-128, 128, shape).astype(np.int8)
            gap = noise(int(rng.integers(1, 4)))
            words = to_words(value, layout, lanes, noise(shape[1]))
            at[name] = heads_words + len(gap)
            heads += [gap, words]
            heads_words += len(gap) + len(words)
            values.append(value)
        at["dst"] = act8_words
        act8_words += ceil_div(layout.width, lanes) * shape[1] + int(rng.integers(1, 4))
        v, q, k = values
        commands.append(Command(q, k, v, make_params(rng, shape[2]), at, layout))
    return Job(acc, tuple(commands), np.concatenate([*heads, noise(2)]), noise(act8_words))


def make_params(rng: np.random.Generator, dim: int) -> AttentionParams:
    """Scores spread by about 5500 * sqrt(dim); their indices shall by about 100. Some clip."""
    shift = SHIFTS[int(rng.integers(2, len(SHIFTS)))]
    ratio = 100 / (5500 * np.sqrt(dim)) * rng.uniform(0.3, 3)
    mult = int(min(max(1, ratio * 2**shift), (1 << 17) - 1))
    c, f = int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(14, 17))
    return AttentionParams(mult, shift, c, f)


def write(files: dict[str, str], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def compile_cpp(sources: Sequence[Path], target: Path, *more: str | Path) -> None:
    include = verilator_root() / "include"
    flags = ["-std=c++17", "-O0", f"-I{include}", f"-I{include / 'vltstd'}", "-pthread"]
    run_tool(["g++", *flags, *more, *sources, "-o", target], timeout=300)


def build(acc: AcceleratorConfig, grain: int, files: dict[str, str], folder: Path) -> Path:
    """The bench for `files` in `folder`, if it is not there yet.

    All C++ of the model is one source, as most of the time goes into Verilator's headers;
    Verilator's run time is compiled once, beside `folder`.
    """
    bench, model, include = folder / "bench", folder / "model", verilator_root() / "include"
    if bench.is_file():
        return bench
    sources = write(files, folder / "rtl")
    for name in ("verilated", "verilated_threads"):
        if not (folder.parent / f"{name}.o").is_file():
            compile_cpp([include / f"{name}.cpp"], folder.parent / f"{name}.o", "-c")
    flags = ["--cc", "-O3", "--x-assign", "unique", "-Wno-fatal", "-Wno-lint", *COMMON_FLAGS]
    flags += ["--top-module", TOP, "--prefix", "Vtop", "--Mdir", str(model)]
    run_tool(["verilator", *flags, f"-GA8_GRAIN={grain}", *sources], env=verilator_env())
    parts = [*sorted(model.glob("*.cpp")), BENCH]
    whole = write({"all.cpp": "".join(f'#include "{part}"\n' for part in parts)}, folder)
    compile_cpp([*whole, *sorted(folder.parent.glob("*.o"))], bench, f"-I{model}")
    return bench


def run(bench: Path, job: Job, grain: int, grants: Grants, spare: Sequence[bytes] = ()) -> Outcome:
    """The commands of `job`, then the `spare` instructions.

    HwmoeError with the bench's words if a rule was broken or it did not end.
    """
    instructions = [*(c.encode() for c in job.commands), *spare]
    words = (len(job.heads), len(job.act8), len(instructions))
    header = [job.acc.linear.t_in, grain, *words, grants.seed]
    header += [grants.read, grants.write, grants.gap, grants.abort]
    before, after = bench.with_name("in"), bench.with_name("out")
    parts = [np.array(header, "<i4").tobytes(), job.heads.tobytes(), job.act8.tobytes()]
    before.write_bytes(b"".join([*parts, *instructions]))
    after.unlink(missing_ok=True)
    run_tool([bench, before, after], timeout=120)
    data = after.read_bytes()
    reports = np.frombuffer(data, "<i4", 5 * len(instructions)).reshape(-1, 5)
    act8 = np.frombuffer(data, np.int8, offset=reports.nbytes).reshape(job.act8.shape)
    return Outcome(reports, act8)
