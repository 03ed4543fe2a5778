"""One machine for several programs: its sizes, and what does not fit it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from small_models import small
from whole_cases import LANES

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.fit import check_fit, largest
from hwmoe.plan.program import Program


def program(lanes: str = "narrow", stages: int = 1, **shape: Any) -> Program:
    acc = LANES[lanes].model_copy(update={"stages": stages})
    return compile_model(small(**shape).quantized, acc)


WIDE = program(dim=36, dense_hidden=50, heads=2)
MANY = program(stages=2, experts=7, top_k=3, image=(16, 16), dim=3, heads=1)


def sizes(program: Program) -> dict[str, int]:
    """All that may be larger."""
    acc = program.accelerator
    return {
        "x_words": acc.linear.x_words,
        "linear_tokens": acc.linear.max_tokens,
        "attention_tokens": acc.attention.max_tokens,
        "dim_tiles": acc.attention.max_dim_tiles,
        "norm_tiles": acc.layernorm.max_tiles,
        "experts": acc.gate.max_experts,
        "k": acc.gate.max_k,
        "stages": acc.stages,
        **asdict(program.sizes),
    }


def test_the_largest_of_each_size() -> None:
    acc, memories = largest([WIDE, MANY])
    made = sizes(replace(WIDE, accelerator=acc, sizes=memories))
    wide, many = sizes(WIDE), sizes(MANY)
    assert made == {name: max(wide[name], many[name]) for name in made}
    assert any(wide[name] > many[name] for name in made)
    assert any(wide[name] < many[name] for name in made)
    assert machine_rtl(acc, memories)
    check_fit(WIDE, acc, memories)
    check_fit(MANY, acc, memories)


def test_of_one_program() -> None:
    assert largest([WIDE]) == (WIDE.accelerator, WIDE.sizes)


def test_of_none() -> None:
    with pytest.raises(HwmoeError, match="give at least one"):
        largest([])


def test_other_lanes() -> None:
    with pytest.raises(HwmoeError) as caught:
        largest([WIDE, MANY, program("wide")])
    text = str(caught.value)
    for problem in (
        "program 2: linear.t_in: compiled for 16, program 0 for 8",
        "program 2: ports.port_bits: compiled for 128, program 0 for 64",
        "program 2: layernorm.lanes: compiled for 16, program 0 for 4",
    ):
        assert problem in text
    assert "program 1" not in text


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(HwmoeError) as caught:
        check_fit(MANY, WIDE.accelerator, WIDE.sizes)
    lines = str(caught.value).splitlines()[1:]
    found = {line.split(":")[0].strip() for line in lines}
    wide, many = sizes(WIDE), sizes(MANY)
    names = {
        "linear.x_words": "x_words",
        "linear.max_tokens": "linear_tokens",
        "attention.max_tokens": "attention_tokens",
        "attention.max_dim_tiles": "dim_tiles",
        "layernorm.max_tiles": "norm_tiles",
        "gate.max_experts": "experts",
        "gate.max_k": "k",
        **{name: name for name in asdict(WIDE.sizes) if name != "max_steps"},
    }
    assert found == {name for name, own in names.items() if many[own] > wide[own]}
    assert f"  slots: 2 needed, the machine has {WIDE.sizes.slots}" in lines
    assert {"gate.max_k", "slots", "max_tokens"} <= found


SMALLER = [
    ("linear", "max_tokens"),
    ("linear", "x_words"),
    ("attention", "max_dim_tiles"),
    ("layernorm", "max_tiles"),
    ("gate", "max_experts"),
    ("gate", "max_k"),
]


@pytest.mark.parametrize(("kernel", "name"), SMALLER)
def test_one_less_is_too_little(kernel: str, name: str) -> None:
    config = MANY.accelerator.model_dump()
    config["attention"]["max_dim_tiles"] = max(2, config["attention"]["max_dim_tiles"])
    roomy = AcceleratorConfig.model_validate(config)
    needed = MANY if kernel != "attention" else replace(MANY, accelerator=roomy)
    config[kernel][name] -= 1
    with pytest.raises(HwmoeError, match=rf"^.*\n  {kernel}.{name}: \d+ needed.*$"):
        check_fit(needed, AcceleratorConfig.model_validate(config), MANY.sizes)


def test_the_softmax_over_all_experts_is_a_size() -> None:
    """A machine that has it runs both kinds of programs."""
    of_all = program(
        stages=2, experts=7, top_k=3, image=(16, 16), dim=3, heads=1, gate_scores="all"
    )
    acc, memories = largest([MANY, of_all])
    assert acc.gate.all_scores
    assert not MANY.accelerator.gate.all_scores
    check_fit(MANY, acc, memories)
    check_fit(of_all, acc, memories)
    with pytest.raises(HwmoeError, match=r"gate.all_scores: True needed, the machine has False"):
        check_fit(of_all, MANY.accelerator, memories)


@pytest.mark.parametrize("name", [name for name in asdict(MANY.sizes) if name != "max_steps"])
def test_one_word_less_is_too_little(name: str) -> None:
    less = replace(MANY.sizes, **{name: asdict(MANY.sizes)[name] - 1})
    with pytest.raises(HwmoeError, match=rf"^.*\n  {name}: \d+ needed.*$"):
        check_fit(MANY, MANY.accelerator, less)


def test_steps_are_counted() -> None:
    exact = replace(MANY.sizes, max_steps=len(MANY.steps))
    check_fit(MANY, MANY.accelerator, exact)
    with pytest.raises(HwmoeError, match="max_steps"):
        check_fit(MANY, MANY.accelerator, replace(exact, max_steps=len(MANY.steps) - 1))


def test_stages_are_the_program_s_own() -> None:
    check_fit(WIDE, WIDE.accelerator.model_copy(update={"stages": 5}), WIDE.sizes)


def test_lanes_and_sizes_in_one_message() -> None:
    other = program("wide")
    with pytest.raises(HwmoeError, match=r"(?s)linear.t_in: compiled for 8, .*max_tokens: "):
        check_fit(MANY, other.accelerator, other.sizes)
