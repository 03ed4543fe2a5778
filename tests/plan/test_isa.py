"""The instruction set: packing, its inverse, and programs as text."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from small_models import small

from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LayerNormConfig, LinearConfig
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.disassembler import disassemble, listing
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.isa_page import isa_page

ISA = instruction_set()
STORE = dict.fromkeys(ISA.formats["store"].fields, 1)


@pytest.mark.parametrize("op", ISA.formats)
def test_random_fields_come_back(op: str) -> None:
    chance = random.Random(op)
    layout = ISA.formats[op].layout
    for _ in range(20):
        fields = {n: chance.getrandbits(bits) for n, (_, bits) in layout.items() if n != "opcode"}
        row = ISA.encode(op, fields)
        assert len(row) == ISA.words == 16
        assert ISA.decode(row) == (op, fields)


@pytest.mark.parametrize("op", ISA.formats)
def test_fields_do_not_overlap_and_stay_in_their_words(op: str) -> None:
    taken: set[int] = set()
    for low, bits in ISA.formats[op].layout.values():
        places = set(range(low, low + bits))
        assert not places & taken
        assert low // 32 == (low + bits - 1) // 32
        taken |= places
    assert max(taken) < 512


def test_opcodes_and_engines() -> None:
    assert len({f.opcode for f in ISA.formats.values()}) == len(ISA.formats)
    assert {f.engine for f in ISA.formats.values()} == {"fetch", *ISA.engines}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"src": 1}, "fields"),
        (STORE | {"space": 1 << 8}, "space=256 does not fit 8 bits"),
        (STORE | {"src": -1}, "src=-1 does not fit"),
        (STORE | {"opcode": 3}, "fields"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ISA.encode("store", fields)


def test_an_unknown_opcode_is_refused() -> None:
    with pytest.raises(ValueError, match="no instruction has opcode 77"):
        ISA.decode([77] + [0] * 15)
    rows = np.array([[9] + [0] * 15, [77] + [0] * 15], np.int32)
    with pytest.raises(ValueError, match="instruction 1: no instruction has opcode 77"):
        list(disassemble(rows))


def test_listing() -> None:
    acc = AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_epi=4),
        attention=AttentionConfig(dim_lanes=4),
        layernorm=LayerNormConfig(lanes=4),
        stages=2,
    )
    program = compile_model(small().quantized, acc)
    lines = listing(program).splitlines()
    assert len(lines) == 1 + len(program.steps)
    assert "loop" in lines[0]
    assert "stages=2" in lines[0]
    for line, step in zip(lines[1:], program.steps, strict=True):
        assert line.startswith(step.name)
        assert f" {step.kind} " in line
    head = next(line for line in lines if line.startswith("logits"))
    assert "store     store" in head
    assert "wait=linear" in head


def test_the_page_in_the_documentation_is_up_to_date(update: bool) -> None:
    page = Path(__file__).parents[2] / "docs" / "isa.md"
    if update:
        page.write_text(isa_page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == isa_page(), "run: pytest tests/plan --update"
