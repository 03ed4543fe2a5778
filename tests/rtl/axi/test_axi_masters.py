"""AXI masters: random traffic by the rules, speed at 150 cycles of latency, errors, halting.

Planted faults stand in the same build behind switches that are off, so one build serves all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from axi_sim import Simulation, all_names, build, write

from hwmoe.codegen.rtl_axi import axi_rtl
from hwmoe.sim.verilator import lint
from hwmoe.synth.yosys import synthesize

TESTS = (
    *(
        "read_random",
        "read_speed_long",
        "read_speed_short",
        "read_speed_single",
        "read_full",
        "read_error",
    ),
    *("read_halt", "mux_random", "mux_speed", "write_random", "write_done", "write_speed"),
    *("write_error", "write_halt"),
)
# what is wrong -> file, right text, wrong text, the test that finds it
FAULTS = {
    "blocks do not end": (
        "hwmoe_axi_plan",
        "9'(b_addr[BYTE_W+:OFFSET_W])",
        "(FAULT ? 9'd0 : 9'(b_addr[BYTE_W+:OFFSET_W]))",
        "read_random",
    ),
    "room is not asked for": (
        "hwmoe_axi_read",
        "(places >= CW'(b_beats))",
        "((places >= CW'(b_beats)) | FAULT)",
        "read_full",
    ),
    "address does not wait": (
        "hwmoe_axi_read",
        "(arvalid & ~arready)",
        "(arvalid & ~arready & ~FAULT)",
        "read_random",
    ),
    "reading goes on": (
        "hwmoe_axi_read",
        "~arvalid & ~halt",
        "~arvalid & (~halt | FAULT)",
        "read_halt",
    ),
    "quiet too early": ("hwmoe_axi_read", "(owed == '0)", "((owed == '0) | FAULT)", "read_halt"),
    "beats in any order": (
        "hwmoe_axi_read_mux",
        "& m_rlast)",
        "& (m_rlast | FAULT))",
        "mux_random",
    ),
    "halted data are written": (
        "hwmoe_axi_write",
        "{~halt, final_beat",
        "{~halt | FAULT, final_beat",
        "write_halt",
    ),
    "burst left open": (
        "hwmoe_axi_write",
        "(s_valid | halt)",
        "(s_valid | (halt & ~FAULT))",
        "write_halt",
    ),
    "done with every burst": (
        "hwmoe_axi_write",
        "answered & ends",
        "answered & (ends | FAULT)",
        "write_done",
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return build("masters_bench", tmp_path_factory.mktemp("masters"), list(FAULTS.values()))


@pytest.fixture(scope="module")
def results(bench: Simulation) -> dict[str, bool]:
    return bench.run()


@pytest.mark.parametrize("name", TESTS)
def test_masters(name: str, bench: Simulation, results: dict[str, bool]) -> None:
    assert results[name], bench.log()


def test_all_are_named(results: dict[str, bool]) -> None:
    assert sorted(results) == all_names(TESTS, FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, results: dict[str, bool]) -> None:
    assert not results[f"fault_{list(FAULTS).index(fault) + 1}"]


@pytest.mark.parametrize("top", ["hwmoe_axi_read", "hwmoe_axi_read_mux", "hwmoe_axi_write"])
def test_lint(top: str, tmp_path: Path) -> None:
    assert lint(write(axi_rtl(), tmp_path), top) == ""


@pytest.mark.slow
def test_buffer_is_block_ram(tmp_path: Path) -> None:
    """512 beats of 128 bits: two blocks of 36 Kbit; nothing else of note in RAM."""
    used = synthesize(write(axi_rtl(), tmp_path), "hwmoe_axi_read", tmp_path / "yosys").total
    assert (used.ramb36, used.ramb18, used.dsp, used.latch) == (2, 0, 0, 0)
    assert used.lutram < 100
