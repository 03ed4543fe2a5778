"""The cocotb bench: full speed, stalls, and each broken rule by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from adder_cases import ADDER, FATAL, FAULTS, RESET, adder_case, check_sum

from hwmoe.errors import HwmoeError
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.streams import StreamCase


def test_full_speed_is_one_beat_a_cycle(cocotb_dir: Path) -> None:
    cases = [adder_case("first", 50), adder_case("second", 9, seed=1)]
    for case, result in zip(
        cases, run_cocotb("stream_adder", ADDER, cases, cocotb_dir, stall=0.0), strict=True
    ):
        check_sum(case, result)
        beats = np.arange(case.outputs["m_axis_y"])
        # Cycle 1 is the first in which an input may be valid; the mode is a register, the sum too.
        assert result.stamps["s_axis_mode"].tolist() == [1]
        np.testing.assert_array_equal(result.stamps["s_axis_a"], beats + 2)
        np.testing.assert_array_equal(result.stamps["m_axis_y"], beats + 3)


@pytest.mark.parametrize("mode", FAULTS)
def test_each_fault_is_named(cocotb_dir: Path, mode: int) -> None:
    cases = [adder_case("sound", 20), adder_case("broken", 20, mode)]
    with pytest.raises(HwmoeError, match=FAULTS[mode]) as caught:
        run_cocotb("stream_adder", ADDER, cases, cocotb_dir, seed=5, timeout_cycles=500)
    assert "case 'broken'" in str(caught.value)
    if mode == 3:
        assert "in  s_axis_a: 7 of 20 beats   <- unfinished" in str(caught.value)
        assert "in  s_axis_mode: 1 of 1 beats\n" in str(caught.value)


def test_valid_during_reset_is_named(cocotb_dir: Path) -> None:
    cases = [adder_case("before", 20, RESET), adder_case("after", 20)]
    with pytest.raises(HwmoeError, match="case 'after': m_axis_y held TVALID high during reset"):
        run_cocotb("stream_adder", ADDER, cases, cocotb_dir)


def test_a_simulator_that_breaks_off_is_an_error(cocotb_dir: Path) -> None:
    with pytest.raises(HwmoeError, match=r"broke off(.|\n)*told to give up"):
        run_cocotb("stream_adder", ADDER, [adder_case("fatal", 20, FATAL)], cocotb_dir)


def test_ports_must_fit(cocotb_dir: Path) -> None:
    case = adder_case("c", 4)
    narrow = {**case.inputs, "s_axis_a": case.inputs["s_axis_a"][:, :2]}
    for inputs, outputs, text in (
        (narrow, case.outputs, "s_axis_a_TDATA of stream_adder has 2080 bits, the cases give 16"),
        (case.inputs, {"m_axis_z": 1}, "no port m_axis_z_TDATA"),
        (case.inputs, {}, "no case names these streams of module stream_adder: m_axis_y"),
    ):
        with pytest.raises(HwmoeError, match=text):
            run_cocotb("stream_adder", ADDER, [StreamCase("c", inputs, outputs)], cocotb_dir)


def test_a_module_that_does_not_build_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sv"
    broken.write_text("module broken (input logic ap_clk; endmodule\n")
    with pytest.raises(HwmoeError, match=r"building broken for cocotb(.|\n)*syntax error"):
        run_cocotb("broken", [broken], [StreamCase("c", {}, {})], tmp_path / "build")
