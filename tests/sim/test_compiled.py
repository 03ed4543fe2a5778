"""The compiled bench: cycle for cycle what the cocotb bench does, and nothing kept between runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from adder_cases import (
    ADDER,
    FATAL,
    FAULTS,
    INPUTS,
    OUTPUTS,
    RESET,
    RTL,
    adder_case,
    check_sum,
)

from hwmoe.errors import HwmoeError
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.streams import StreamCase


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def adder(build_dir: Path) -> CompiledKernel:
    return CompiledKernel("stream_adder", ADDER, INPUTS, OUTPUTS, build_dir, optimize="-O1")


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_equals_the_cocotb_bench(adder: CompiledKernel, cocotb_dir: Path, stall: float) -> None:
    cases = [adder_case("empty", 0), adder_case("some", 300, seed=4)]
    # Stalls change the cycles and not the data; neither bench may differ in a single cycle.
    reference = run_cocotb("stream_adder", ADDER, cases, cocotb_dir, stall=stall, seed=9)
    for case, want in zip(cases, reference, strict=True):
        check_sum(case, want)
        assert want.cycles >= case.outputs["m_axis_y"] / (1 - stall)
        got = adder.run(case, stall=stall, seed=9)
        assert got.cycles == want.cycles
        assert got.stamps.keys() == want.stamps.keys()
        for port, stamps in want.stamps.items():
            np.testing.assert_array_equal(got.stamps[port], stamps)
        np.testing.assert_array_equal(got.outputs["m_axis_y"], want.outputs["m_axis_y"])


@pytest.mark.parametrize("mode", FAULTS)
def test_each_fault_is_named(adder: CompiledKernel, mode: int) -> None:
    with pytest.raises(HwmoeError, match=FAULTS[mode]):
        adder.run(adder_case("broken", 20, mode), stall=0.3, seed=5, timeout_cycles=500)
    case = adder_case("sound", 20)
    check_sum(case, adder.run(case, stall=0.3))


def test_faults_show_in_the_same_cycle(adder: CompiledKernel, cocotb_dir: Path) -> None:
    case = adder_case("broken", 20, 2)
    texts = []
    for run in (
        lambda: run_cocotb("stream_adder", ADDER, [case], cocotb_dir, stall=0.3, seed=5),
        lambda: adder.run(case, stall=0.3, seed=5),
    ):
        with pytest.raises(HwmoeError) as caught:
            run()
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_fatal_in_the_module_does_not_end_python(adder: CompiledKernel) -> None:
    for _ in range(2):
        with pytest.raises(HwmoeError, match=r"ended in cycle .*fatal"):
            adder.run(adder_case("fatal", 20, FATAL))


def test_no_state_is_kept(adder: CompiledKernel) -> None:
    adder.run(adder_case("before", 20, RESET))  # its mode outlives a reset, not a new model
    case = adder_case("after", 20)
    check_sum(case, adder.run(case))


def test_long_runs_report_progress_and_can_be_interrupted(adder: CompiledKernel) -> None:
    case = adder_case("long", 100_000)
    seen: list[int] = []

    def interrupt(cycle: int, done: Mapping[str, int]) -> None:
        assert done.keys() == case.expected().keys()
        seen.append(cycle)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adder.run(case, progress=interrupt)
    assert 0 < seen[0] < seen[1] < 100_000
    short = adder_case("short", 20)
    result = adder.run(short)
    check_sum(short, result)
    assert result.cycles_per_second > 0


def test_a_second_kernel_is_not_built(
    adder: CompiledKernel, build_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwmoe.sim.compiled.build", lambda *_: pytest.fail("built again"))
    again = CompiledKernel("stream_adder", ADDER, INPUTS, OUTPUTS, build_dir, optimize="-O1")
    case = adder_case("again", 10)
    check_sum(case, again.run(case))


def test_ports_must_fit(adder: CompiledKernel, tmp_path: Path) -> None:
    with pytest.raises(HwmoeError, match="s_axis_a_TDATA: expected input of 16 bits, found input"):
        CompiledKernel("stream_adder", ADDER, {**INPUTS, "s_axis_a": 2}, OUTPUTS, tmp_path)
    with pytest.raises(HwmoeError, match="m_axis_y_TVALID: a stream that was not named"):
        CompiledKernel("stream_adder", ADDER, INPUTS, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []  # no half-built folder
    with pytest.raises(HwmoeError, match="no output m_axis_z"):
        adder.run(StreamCase("c", {}, {"m_axis_z": 1}))
    with pytest.raises(HwmoeError, match="gives s_axis_a 2 bytes"):
        adder.run(StreamCase("c", {"s_axis_a": np.zeros((1, 2), np.uint8)}, {}))


def test_two_libraries_in_one_process(adder: CompiledKernel, tmp_path: Path) -> None:
    ports = {"s_axis_x": 512}, {"m_axis_y": 512}
    wide = CompiledKernel("wide_negate", [RTL / "wide_negate.sv"], *ports, tmp_path, optimize="-O1")
    data = np.random.default_rng(0).integers(0, 256, (200, 512), dtype=np.uint8)
    case = StreamCase("wide", {"s_axis_x": data}, {"m_axis_y": 200})
    for stall in (0.0, 0.3):
        result = wide.run(case, stall=stall)
        np.testing.assert_array_equal(result.outputs["m_axis_y"], ~data)
    narrow = adder_case("narrow", 10)
    check_sum(narrow, adder.run(narrow))
