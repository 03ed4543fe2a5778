"""The machine's control: registers, runs, interrupts, errors, counts of clipped values.

Planted faults stand in the same build behind switches that are off, so one build serves all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from axi_sim import Simulation, all_names, build, write

from hwmoe.codegen.rtl_axi import (
    CONTROL_TOP,
    MAX_STEPS,
    MAX_WEIGHT_PORTS,
    axi_rtl,
    register_map,
    step_clipped,
)
from hwmoe.errors import HwmoeError
from hwmoe.sim.verilator import lint
from hwmoe.synth.yosys import synthesize

TESTS = (
    *("registers", "counters", "clear_on_read", "interrupts", "auto_restart", "no_images"),
    *("unaligned", "errors", "steps", "steps_stale"),
)
# what is wrong -> file, right text, wrong text, the test that finds it
FAULTS = {
    "done lost to a read": (
        "hwmoe_control_block",
        "done  <= finish |",
        "done  <= (finish & ~(FAULT & rd_control)) |",
        "clear_on_read",
    ),
    "a one clears": (
        "hwmoe_control_block",
        "status ^ wr_data[1:0]",
        "(FAULT ? status & ~wr_data[1:0] : status ^ wr_data[1:0])",
        "interrupts",
    ),
    "starts again after an error": (
        "hwmoe_control_block",
        "(restart & ~failed)",
        "(restart & (~failed | FAULT))",
        "auto_restart",
    ),
    "strobes ignored": ("hwmoe_control_args", "(wr_strb[b])", "(wr_strb[b] | FAULT)", "registers"),
    "any pointer will do": (
        "hwmoe_control_args",
        "words[96*i+:12] != '0",
        "(words[96*i+:12] != '0) & ~FAULT",
        "unaligned",
    ),
    "does not wait for quiet": (
        "hwmoe_control_run",
        "& quiet & counted",
        "& (quiet | FAULT) & counted",
        "errors",
    ),
    "last error holds": (
        "hwmoe_control_error",
        "armed & ~failed",
        "armed & (~failed | FAULT)",
        "errors",
    ),
    "sum is swept away": ("hwmoe_control_steps", "< swept);", "< swept | FAULT);", "steps"),
    "stale count": (
        "hwmoe_control_steps",
        "15'(r_addr) < swept",
        "(15'(r_addr) < swept) | FAULT",
        "steps_stale",
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return build("control_bench", tmp_path_factory.mktemp("control"), list(FAULTS.values()))


@pytest.fixture(scope="module")
def results(bench: Simulation) -> dict[str, bool]:
    return bench.run()


@pytest.mark.parametrize("name", TESTS)
def test_control(name: str, bench: Simulation, results: dict[str, bool]) -> None:
    assert results[name], bench.log()


def test_all_are_named(results: dict[str, bool]) -> None:
    assert sorted(results) == all_names(TESTS, FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, results: dict[str, bool]) -> None:
    assert not results[f"fault_{list(FAULTS).index(fault) + 1}"]


def test_lint(tmp_path: Path) -> None:
    assert lint(write(axi_rtl(), tmp_path), CONTROL_TOP) == ""


def test_register_map() -> None:
    """Nothing overlaps, for any number of ports; the two offsets the contract names for one."""
    for ports in range(1, MAX_WEIGHT_PORTS + 1):
        offsets = [offset for register in register_map(ports) for offset in register.offsets]
        assert offsets == sorted(set(offsets))
        assert max(offsets) < step_clipped(0)
    at = {register.name: register.offset for register in register_map(4)}
    assert (at["program"], at["results"], at["weights_3"], at["n_images"]) == (
        0x10,
        0x34,
        0x64,
        0x70,
    )
    assert (at["load_running"], at["store_clipped"]) == (0x240, 0x2D0)
    assert step_clipped(MAX_STEPS - 1) == 0xFFFC


@pytest.mark.parametrize("ports", [0, MAX_WEIGHT_PORTS + 1])
def test_ports_out_of_range(ports: int) -> None:
    with pytest.raises(HwmoeError, match="weight ports"):
        register_map(ports)


@pytest.mark.parametrize("step", [-1, MAX_STEPS])
def test_step_out_of_range(step: int) -> None:
    with pytest.raises(HwmoeError, match="steps 0 to"):
        step_clipped(step)


@pytest.mark.slow
def test_counts_of_steps_are_block_ram(tmp_path: Path) -> None:
    """1024 words of 32 bits: one block of 36 Kbit."""
    used = synthesize(write(axi_rtl(), tmp_path), CONTROL_TOP, tmp_path / "yosys").total
    assert (used.ramb36, used.ramb18, used.dsp, used.latch) == (1, 0, 0, 0)
