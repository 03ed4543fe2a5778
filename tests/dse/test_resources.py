"""The formulas of LUTs and registers against syntheses that were kept, and one made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.dse.resource_features import features
from hwmoe.dse.resource_model import SAME, logic_by_module, logic_of, model
from hwmoe.dse.resources import cost_of
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig, PortsConfig
from hwmoe.plan.program import MachineSizes
from hwmoe.synth.parts import needed
from hwmoe.synth.yosys import synthesize

MEASURED = json.loads((Path(__file__).parent / "resources_measured.json").read_text())
LUT, FF = (MEASURED["counted"].index(name) for name in ("lut_sites", "ff"))
SIZES = MachineSizes(512, 256, 256, 256, 2, 8, 64, 64)
MACHINES = {
    "plain": AcceleratorConfig(linear=LinearConfig(w_rows=1), ports=PortsConfig(w_ports=1)),
    "expert": AcceleratorConfig(linear=LinearConfig(), expert=LinearConfig(t_out=32)),
}
TOLERANCE, EXACT = 0.10, 0.02


def points(use: str) -> list[Any]:
    """(part, what was counted, what the formulas say) of every measurement."""
    found = []
    for entry in MEASURED[use]:
        acc = AcceleratorConfig.model_validate(entry["accelerator"])
        predicted = logic_of(acc, MachineSizes(**entry["sizes"]))
        for part, modules in entry["parts"].items():
            counts = [sum(column) for column in zip(*modules.values(), strict=True)]
            found.append((part, counts, predicted[part]))
    return found


@pytest.mark.parametrize("use", ["fit", "check"])
def test_parts_are_within_the_tolerance(use: str) -> None:
    for part, counts, predicted in points(use):
        assert predicted.lut == pytest.approx(counts[LUT], rel=TOLERANCE), part
        assert predicted.ff == pytest.approx(counts[FF], rel=TOLERANCE), part


def test_whole_machines_that_no_coefficient_was_fitted_to_are_within_the_limits() -> None:
    whole, counted = 0, MEASURED["counted"]
    for entry in MEASURED["check"]:
        acc = AcceleratorConfig.model_validate(entry["accelerator"])
        sizes = MachineSizes(**entry["sizes"])
        if set(entry["parts"]) != set(logic_of(acc, sizes)):
            continue
        whole += 1
        modules = [counts for part in entry["parts"].values() for counts in part.values()]
        total = dict(zip(counted, map(sum, zip(*modules, strict=True)), strict=True))
        cost = cost_of(acc, sizes)
        assert cost.lut == pytest.approx(total["lut_sites"], rel=TOLERANCE)
        assert cost.ff == pytest.approx(total["ff"], rel=TOLERANCE)
        for kind in ("dsp", "bram36", "uram"):
            assert getattr(cost, kind) == pytest.approx(total[kind], rel=EXACT), kind
    assert whole >= 60


@pytest.mark.parametrize("name", MACHINES)
def test_every_part_has_coefficients_of_features_that_exist(name: str) -> None:
    own = features(MACHINES[name], SIZES)
    for part, modules in model()["parts"].items():
        if part in own:
            for module, kinds in modules.items():
                for coefficients in kinds.values():
                    assert set(coefficients) <= set(own[part]), module
                    assert min(coefficients.values()) > 0, module
    assert {SAME.get(part, part) for part in own} <= set(model()["parts"])


@pytest.mark.parametrize("name", MACHINES)
def test_modules_add_up_to_parts_and_parts_to_the_machine(name: str) -> None:
    acc = MACHINES[name]
    parts, cost = logic_of(acc, SIZES), cost_of(acc, SIZES)
    for part, modules in logic_by_module(acc, SIZES).items():
        assert sum(m.lut for m in modules.values()) == pytest.approx(parts[part].lut, abs=20)
        assert sum(m.ff for m in modules.values()) == pytest.approx(parts[part].ff, abs=20)
    assert cost.lut == sum(part.lut for part in parts.values())
    assert cost.ff == sum(part.ff for part in parts.values())


@pytest.mark.parametrize(
    ("part", "kind", "change"),
    [
        ("linear", "t_out", {"linear": LinearConfig(t_out=64)}),
        ("linear", "t_tok", {"linear": LinearConfig(t_tok=2)}),
        ("expert", "t_out", {"expert": LinearConfig(t_out=64)}),
        ("attention", "rows", {"attention": {"rows": 9}}),
    ],
)
def test_more_lanes_cost_more(part: str, kind: str, change: dict[str, Any]) -> None:
    small = MACHINES["expert"]
    fields = small.model_dump() | {
        name: value if isinstance(value, dict) else value.model_dump()
        for name, value in change.items()
    }
    large = AcceleratorConfig.model_validate(fields)
    before, after = logic_of(small, SIZES)[part], logic_of(large, SIZES)[part]
    assert after.lut > before.lut, kind
    assert after.ff > before.ff, kind


def test_no_memory_asks_for_ultra_ram() -> None:
    """So that the formula of UltraRAM is none, on boards that have it too."""
    for acc in MACHINES.values():
        memories = [t for t in machine_rtl(acc, SIZES).values() if "ram_style" in t]
        assert memories
        for text in memories:
            assert set(styles(text)) <= {"block", "distributed"}
        assert cost_of(acc, SIZES).uram == 0


def styles(text: str) -> list[str]:
    return [rest.split('"')[1] for rest in text.split("ram_style")[1:]]


@pytest.mark.slow  # 30 s
@pytest.mark.parametrize("part", ["gate", "fetch"])
def test_what_was_measured_is_measured_again(part: str, tmp_path: Path) -> None:
    entry = next(e for e in MEASURED["fit"] if part in e["parts"])
    acc = AcceleratorConfig.model_validate(entry["accelerator"])
    texts = machine_rtl(acc, MachineSizes(**entry["sizes"]))
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    top = f"hwmoe_{part}"
    sources = needed([tmp_path / name for name in texts], top)
    total = synthesize(sources, top, tmp_path / "work").total.as_dict()
    counts = [sum(column) for column in zip(*entry["parts"][part].values(), strict=True)]
    assert counts == [total[name] for name in MEASURED["counted"]]
