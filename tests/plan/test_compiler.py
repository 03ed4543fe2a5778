"""Programs: nothing is read that was not written, or that was overwritten in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_models import Small, small

from hwmoe.errors import HwmoeError
from hwmoe.model.zoo import seeded_model, zoo_config
from hwmoe.plan import packing
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.compiler import compile_model, schedule_only
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.layout import sized_for
from hwmoe.plan.program import Program, Step
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import QuantizedModel

SMALL = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=4),
    attention=AttentionConfig(dim_lanes=4),
    layernorm=LayerNormConfig(lanes=4),
)
ODD = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=24, t_tok=3, t_epi=2, w_rows=2),
    attention=AttentionConfig(rows=3, dim_lanes=2, head_units=2),
    layernorm=LayerNormConfig(lanes=2),
    stages=2,
)
WIDE = AcceleratorConfig(
    linear=LinearConfig(t_in=32, t_out=16, t_epi=8),
    attention=AttentionConfig(dim_lanes=16),
    stages=3,
)
MACHINES = {"small": SMALL, "odd": ODD, "wide": WIDE}
SHAPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "ternary": {"kind": "ternary"},
    "no shared": {"shared_hidden": 0, "moe_layers": (0, 1)},
    "dense": {"moe_layers": ()},
    "one patch, one expert": {"image": (4, 4), "experts": 1, "top_k": 1, "heads": 1},
    "wide heads": {"dim": 20, "heads": 4, "expert_hidden": 50, "dense_hidden": 9},
    "many classes": {"tasks": [{"name": "a", "classes": 70}, {"name": "b", "classes": 1}]},
    "many experts": {"experts": 40, "moe_layers": (0,), "shared_hidden": 33},
}

Words = range


@dataclass
class Memory:
    """Which write each word belongs to."""

    size: int
    owner: dict[int, tuple[int, Words]] = field(default_factory=dict)

    def write(self, step: int, words: Words) -> None:
        assert 0 <= words.start <= words.stop <= self.size, f"step {step} writes out of memory"
        for word in words:
            self.owner[word] = (step, words)

    def read(self, words: Words) -> int:
        """All words must come from one write, of which none was lost; the step that wrote."""
        assert 0 <= words.start < words.stop <= self.size
        owners = {self.owner.get(word) for word in words}
        assert len(owners) == 1, f"{words} comes from {owners}"
        owner = owners.pop()
        assert owner is not None, f"{words} was never written"
        step, whole = owner
        assert words.start >= whole.start
        assert words.stop <= whole.stop
        return step


class Checker:
    """Runs a program on addresses alone."""

    def __init__(self, program: Program, model: QuantizedModel, task: int) -> None:
        self.program, self.model = program, model
        self.lanes = program.accelerator.linear.t_in
        self.cfg = program.accelerator.linear
        sizes = program.sizes
        self.act8, self.heads = Memory(sizes.act8_words), Memory(sizes.heads_words)
        self.res, self.y = Memory(sizes.res_words), Memory(sizes.y_words)
        self.x = Memory(self.cfg.x_words)
        self.steps = dict(program.of_task(task))
        self.table: list[int] = []
        self.lists = False
        self.stored = 0

    def run(self) -> None:
        for index, step in self.steps.items():
            getattr(self, step.kind)(index, step, step.fields)
        assert self.stored == 1

    def source(self, memory: Memory, words: Words, name: str) -> None:
        found = self.steps[memory.read(words)].name
        assert found == name, f"{words} holds {found}, not {name}"

    def constants(self, base: int, count: int) -> list[int]:
        assert 0 <= base <= base + count <= len(self.program.params)
        return self.program.params[base : base + count].tolist()

    def load_image(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        assert f["words"] == self.program.image_words
        self.act8.write(index, range(f["dst"], f["dst"] + f["words"]))

    def load_const(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        values = np.array(self.constants(f["params"], f["words"] * self.lanes // 2), "<i4")
        tiles = values.view("<i2").reshape(-1, self.model.config.tokens, self.lanes)
        found = packing.from_tile_major(tiles, self.model.config.dim)
        assert np.array_equal(found, self.model.position)
        self.res.write(index, range(f["dst"], f["dst"] + f["words"]))

    def layernorm(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        tiles = -(-f["dim"] // self.lanes)
        assert f["first"] + f["count"] <= f["n_tok"]
        self.res.read(range(f["src"], f["src"] + tiles * f["n_tok"]))
        p = self.model.norm(step.name)
        pairs = np.array(self.constants(f["params"], 2 * tiles * self.lanes)).reshape(-1, 2)
        assert np.array_equal(pairs[: f["dim"]], np.stack([p.gain, p.bias], 1))
        assert not pairs[f["dim"] :].any()
        assert (f["eps_high"] << 32 | f["eps_low"]) == p.eps
        self.act8.write(index, range(f["dst"], f["dst"] + tiles * f["count"]))

    def linear(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        flags = {n: f["flags"] >> bit & 1 for bit, n in enumerate(packing.LINEAR_FLAGS)}
        words = f["in_tiles"] * f["n_tok"]
        loaded = range(f["x_base"], f["x_base"] + words)
        if flags["load_x"]:
            self.source(self.act8, range(f["src"], f["src"] + words), step.reads)
            origin = self.act8.read(range(f["src"], f["src"] + words))
            self.x.write(origin, loaded)
        assert self.steps[self.x.read(loaded)].name == step.reads
        p = self.model.linear(step.op)
        if flags["load_table"]:
            words = np.array(self.constants(f["table"], 64), "<i4")
            self.table = words.view(np.int8).tolist()
        if flags["gelu"]:
            assert p.table is not None
            assert self.table == p.table.tolist()
        assert bool(flags["gelu"]) == (p.table is not None)
        assert (bool(flags["wide"]), bool(flags["ternary"])) == (p.wide, p.ternary)
        assert flags["gather"] == (f["list_mode"] == 1)
        assert self.lists or not f["list_mode"]
        assert f["n_list"] <= self.cfg.max_tokens
        assert f["out_tiles"] == -(-f["chunks"] * self.cfg.t_epi // self.cfg.t_out)
        self.constants(f["params"], f["chunks"] * self.cfg.t_epi * 2)
        rows = self.cfg.w_rows * (4 if p.ternary else 1)
        beats = f["out_tiles"] * f["in_tiles"] * self.cfg.t_out // rows
        assert f["weights"] + beats <= len(self.program.weights)
        assert (f["n_tok"], f["n_list"]) <= (self.cfg.max_tokens,) * 2
        command = {name: f.get(name, 0) for name, _ in packing.LINEAR_COMMAND}
        packing.pack_fields(packing.LINEAR_COMMAND, command)  # raises if a field is too small
        out = -(-f["chunks"] * self.cfg.t_epi // self.lanes) * f["n_list"]
        assert f["space"] == ({"act8": 0, "heads": 1, "y": 2}[step.result.space])
        assert bool(flags["wide"]) == (step.result.space == "y")
        memory = (self.act8, self.heads, self.y)[f["space"]]
        memory.write(index, range(f["dst"], f["dst"] + out))

    def attention(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        att = self.program.accelerator.attention
        assert f["dim_tiles"] <= att.max_dim_tiles
        assert f["n_tok"] <= att.max_tokens
        beats = f["head_groups"] * f["dim_tiles"]
        tiles = -(-beats * att.dim_lanes * att.head_units // self.lanes)
        words = tiles * f["n_tok"]
        for part in "qkv":
            self.source(self.heads, range(f[part], f[part] + words), step.reads)
        bases = sorted((f[part], f[part] + words) for part in "qkv")
        assert all(a[1] <= b[0] for a, b in pairwise(bases))
        p = self.model.attention(step.op)
        assert (f["score_mult"], f["out_mult"]) == (p.score_mult, p.out_mult)
        self.act8.write(index, range(f["dst"], f["dst"] + words))

    def add(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        words = f["tiles"] * f["n_tok"]
        self.y.read(range(f["src"], f["src"] + f["tiles"] * f["count"]))
        self.res.read(range(f["base"], f["base"] + words))
        assert f["first"] + f["count"] <= f["n_tok"]
        assert self.lists or not f["list_mode"]
        self.res.write(index, range(f["dst"], f["dst"] + words))

    def gate(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        words = -(-f["experts"] // self.lanes) * f["n_tok"]
        gate = f"{step.name.rpartition('.')[0]}.gate"
        self.source(self.y, range(f["src"], f["src"] + words), gate)
        self.lists = True

    def store(self, index: int, step: Step, f: Mapping[str, int]) -> None:
        words = -(-f["n_out"] // self.lanes)
        assert (f["offset"], f["space"], f["last"]) == (0, instruction_set().spaces["y"], 1)
        self.source(self.y, range(f["src"], f["src"] + words), "head")
        self.stored += 1


def made(shape: str) -> Small:
    return small(**SHAPES[shape])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_reads_what_was_written_for_it(shape: str, machine: str) -> None:
    net = made(shape)
    program = compile_model(net.quantized, MACHINES[machine])
    for task in range(len(net.config.tasks)):
        Checker(program, net.quantized, task).run()


def broken(program: Program, name: str, **changes: int) -> Program:
    """One field of the first step called `name` changed by so much."""
    steps = list(program.steps)
    at = next(i for i, s in enumerate(steps) if s.name == name)
    fields = {k: v + changes.get(k, 0) for k, v in steps[at].fields.items()}
    steps[at] = replace(steps[at], fields=fields)
    return replace(program, steps=tuple(steps))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("blocks.0.mlp.gelu", {"dst": 1}),
        ("blocks.1.moe.experts.0.gelu", {"x_base": 1}),
        ("blocks.1.moe.shared.fc2", {"x_base": -1}),  # over the tokens that stay loaded
        ("blocks.1.moe.experts.0.gelu", {"table": -16}),
        ("blocks.1.norm2", {"dst": -1}),
        ("blocks.0.qkv", {"dst": -1}),
        ("blocks.0.proj", {"src": -1}),
        ("blocks.1.moe.gate", {"weights": 10**6}),
        ("blocks.0.proj", {"dst": 10**5}),
        ("position", {"params": 1}),
    ],
)
def test_the_checker_finds_faults(name: str, changes: dict[str, int]) -> None:
    net = made("as it is")
    program = broken(compile_model(net.quantized, SMALL), name, **changes)
    with pytest.raises(AssertionError):
        Checker(program, net.quantized, 0).run()


def test_tasks_share_constants_and_have_their_own_steps() -> None:
    net = made("as it is")
    program = compile_model(net.quantized, SMALL)
    assert program.outputs == (4, 3)
    first, second = (dict(program.of_task(t)) for t in (0, 1))
    assert {s.name for i, s in first.items() if i not in second} == {
        "blocks.1.moe.gate", "blocks.1.moe.topk", "head", "logits",
    }  # fmt: skip
    assert [s.name for s in first.values()] == [s.name for s in second.values()]
    linear = [n for n in net.quantized.ops if hasattr(net.quantized.ops[n], "weight")]
    seen = Counter(s.op for s in first.values() if s.kind == "linear")
    assert set(seen) == {n for n in linear if not n.endswith(".1") or ".gate" not in n} - {
        "heads.1"
    }
    assert set(seen.values()) == {1}


def test_encoded_programs_decode_to_their_steps() -> None:
    program = compile_model(made("ternary").quantized, ODD)
    words = program.encode()
    assert words.dtype == np.int32
    for step, row in zip(program.steps, words[1:], strict=True):
        assert instruction_set().decode(row) == (step.kind, dict(step.fields))


def test_the_schedule_alone_has_the_same_steps() -> None:
    net = made("ternary")
    whole, bare = compile_model(net.quantized, ODD), schedule_only(net.quantized, ODD)
    assert bare.accelerator == whole.accelerator
    assert bare.params.size == bare.weights.size == 0
    addresses = {"params", "weights", "table"}
    for a, b in zip(whole.steps, bare.steps, strict=True):
        assert (a.kind, a.name, a.site, a.op, a.result) == (b.kind, b.name, b.site, b.op, b.result)
        for name, value in a.fields.items():
            assert b.fields[name] == (0 if name in addresses else value)


@pytest.mark.parametrize("machine", MACHINES)
def test_memories_are_no_larger_than_needed(machine: str) -> None:
    """One word, token or tile less, and the checker or the kernel would refuse."""
    net = made("wide heads")
    acc = sized_for(MACHINES[machine], net.quantized)
    program = compile_model(net.quantized, MACHINES[machine])
    assert program.accelerator == acc
    steps = [s for s in program.steps if s.kind == "linear"]
    used = max(s.fields["x_base"] + s.fields["in_tiles"] * s.fields["n_tok"] for s in steps)
    assert used <= acc.linear.x_words
    assert acc.linear.max_tokens == acc.attention.max_tokens == net.config.tokens
    assert acc.attention.max_dim_tiles == -(-5 // acc.attention.dim_lanes)
    assert acc.linear.t_in == MACHINES[machine].linear.t_in


def test_a_model_too_large_for_the_machine() -> None:
    net = small(
        image=(248, 8), patch=(1, 8), channels=1, dim=768, heads=12, dense_hidden=3072,
        moe_layers=(), depth=1, count=1,
    )  # fmt: skip
    with pytest.raises(HwmoeError, match=r"an accelerator for small.*\n.*x_words"):
        compile_model(net.quantized, SMALL)


def test_a_real_geometry() -> None:
    config = zoo_config("m3vit-tiny").model_copy(update={"depth": 2, "moe_layers": (1,)})
    images = np.random.default_rng(0).random((1, config.channels, *config.image), np.float32)
    model = quantize(seeded_model(config), images)
    acc = AcceleratorConfig(linear=LinearConfig(t_in=16, t_out=64, w_rows=4), stages=2)
    program = compile_model(model, acc)
    for task in range(len(config.tasks)):
        Checker(program, model, task).run()


# ---- the program as a file ----------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    program = compile_model(made("ternary").quantized, ODD)
    path = tmp_path / "program.safetensors"
    program.save(path)
    again = Program.load(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    for name in ("accelerator", "sizes", "loop", "steps", "outputs", "image_words"):
        assert getattr(again, name) == getattr(program, name), name
    for name in ("params", "weights"):
        a, b = getattr(again, name), getattr(program, name)
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype
    assert np.array_equal(again.encode(), program.encode())


def test_load_errors(tmp_path: Path) -> None:
    path = tmp_path / "program.safetensors"
    with pytest.raises(HwmoeError, match="no such file; `hwmoe generate` writes it"):
        Program.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(HwmoeError, match="not a safetensors file"):
        Program.load(path)
    save_file({"params": np.zeros(1)}, path)
    with pytest.raises(HwmoeError, match="not a program"):
        Program.load(path)
    made("as it is").quantized.save(path)
    with pytest.raises(HwmoeError, match="not a program"):
        Program.load(path)
