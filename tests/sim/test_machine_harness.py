"""The bench of the whole machine, against a stand-in that reads, writes and breaks rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from machine_cases import (
    BEAT,
    ERROR_CODE,
    FREE,
    READERS,
    SOURCES,
    STANDIN,
    checksum,
    image_of,
    pattern,
    run,
    start,
    sums_of,
    work,
    written,
)

from hwmoe.errors import HwmoeError
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_session import CaptureRequest, MachineOptions, Progress
from hwmoe.sim.timeline import write_timeline


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


@pytest.fixture(scope="module")
def machine(build_dir: Path) -> Machine:
    return Machine(SOURCES, 8 * BEAT, 2, build_dir, optimize="-O1")


@pytest.mark.parametrize("stall", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("poll", [None, 37])
def test_data_arrive_and_stalls_change_only_cycles(
    machine: Machine, stall: float, poll: int | None
) -> None:
    beats = 333
    options = MachineOptions(FREE, stall=stall, seed=3)
    result = run(machine, beats, options, poll_cycles=poll, steps=3)
    np.testing.assert_array_equal(result.results, written(beats))
    image = image_of(beats)
    expected = [checksum(image[name], BEAT) for name in READERS]
    assert sums_of(machine, beats, options, image) == expected
    assert result.step_clipped == [1, 8, 15]
    assert {int(c["bytes"]) for c in result.channels.values()} == {beats * BEAT}
    assert {int(c["bursts"]) for c in result.channels.values()} == {-(-beats // 16)}
    assert result.mac_cycles == beats
    quick = run(machine, beats, MachineOptions(FREE, seed=3), poll_cycles=poll)
    assert stall == 0.0 or result.cycles > quick.cycles * (1 + stall / 4)


def test_the_image_given_is_not_changed(machine: Machine) -> None:
    image = image_of(20)
    result = run(machine, 20, MachineOptions(FREE), image=image)
    assert (image["results"] == 0x77).all()
    assert result.memory.region("results") == image.region("results")
    np.testing.assert_array_equal(result.memory["params"], image["params"])


def test_events_and_counts(machine: Machine) -> None:
    result = run(machine, 1500, MachineOptions(FREE, seed=1))
    events = result.events[["engine", "step", "done", "null"]].tolist()
    assert events[:3] == [(0, 0, 0, 0), (1, 1, 0, 0), (3, 2, 0, 0)]
    vector = [event[1:] for event in events if event[0] == 3]
    assert vector == [(2, 0, 0), (2, 1, 0), (3, 1, 1), (4, 0, 0), (4, 1, 0)]
    assert events[-2:] == [(4, 5, 0, 0), (4, 5, 1, 0)]
    assert sorted(event[:3] for event in events if event[2])[0:2] == [(0, 0, 1), (1, 1, 1)]
    for states in result.engine_cycles.values():
        assert sum(states.values()) == result.cycles
    at = {(int(e["step"]), int(e["done"])): int(e["cycle"]) for e in result.events}
    assert result.engine_cycles["load"]["running"] == at[0, 1] - at[0, 0]
    assert result.engine_cycles["store"]["held"] == at[5, 1] - at[5, 0]
    assert result.engine_cycles["attention"]["idle"] == result.cycles
    assert abs(result.cycles - result.registers["cycles_low"]) < 10
    windows = result.windows
    assert windows["cycles"].sum() == result.cycles
    assert (windows["cycles"][:-1] == 1024).all()
    assert windows["mac"].sum() == 1500
    assert windows["weights"].sum() == 2 * 1500 * BEAT
    assert windows["gmem_read"].sum() == windows["gmem_written"].sum() == 1500 * BEAT
    assert windows["gmem_written"][0] == 0


@pytest.mark.parametrize("rate", [7.3, 20.5, 33.0, 44.0])
def test_bandwidth_is_kept_and_shared(machine: Machine, rate: float) -> None:
    result = run(machine, 6000, MachineOptions(rate, seed=2))
    at = {(int(e["step"]), int(e["done"])): int(e["cycle"]) for e in result.events}
    windows, last = result.windows, min(at[0, 1], at[1, 1])
    full = (windows["cycle"] > at[0, 0] + 400) & (windows["cycle"] + 1024 < last)
    loaded = windows[full]
    assert len(loaded) >= 3
    moved = loaded["weights"] + loaded["gmem_read"] + loaded["gmem_written"]
    assert moved.sum() / loaded["cycles"].sum() == pytest.approx(rate, rel=0.01)
    assert moved.max() <= rate * 1024 + 5 * BEAT
    # Three ports that all ask for more than there is get the same.
    assert loaded["gmem_read"].sum() == pytest.approx(moved.sum() / 3, rel=0.01)
    writing = windows[(windows["gmem_written"] > 0) & (windows["cycle"] > last)][1:-1]
    assert writing["gmem_written"].sum() / writing["cycles"].sum() == pytest.approx(
        min(rate, BEAT), rel=0.01
    )


@pytest.mark.parametrize("latency", [1, 37, 150])
def test_latency_is_as_asked(machine: Machine, latency: int) -> None:
    options = MachineOptions(FREE, latency=latency, jitter=0, write_latency=2 * latency)
    result = run(machine, 1, options)
    at = {(int(e["step"]), int(e["done"])): int(e["cycle"]) for e in result.events}
    assert at[0, 1] - at[0, 0] == latency + 2  # two registers in the stand-in
    assert at[5, 1] - at[5, 0] == 2 * latency + 3  # the beat a cycle after its address


def test_jitter_spreads_the_latency(machine: Machine) -> None:
    seen = set()
    for seed in range(40):
        result = run(machine, 1, MachineOptions(FREE, latency=60, jitter=5, seed=seed))
        at = {(int(e["step"]), int(e["done"])): int(e["cycle"]) for e in result.events}
        seen.add(at[0, 1] - at[0, 0] - 2)
    assert seen == {60, 61, 62, 63, 64, 65}


def test_outstanding_bursts_are_limited(machine: Machine) -> None:
    times = {}
    for outstanding in (1, 2, 16):
        options = MachineOptions(FREE, jitter=0, outstanding=outstanding)
        result = run(machine, 1600, options)
        times[outstanding] = result.engine_cycles["load"]["running"]
    assert times[1] == pytest.approx(100 * (150 + 16), rel=0.01)
    assert times[2] == pytest.approx(50 * (150 + 16), rel=0.01)
    assert times[16] == pytest.approx(1600 + 150, rel=0.01)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (1, r"m_axi_gmem ar: a burst crosses a 4 KiB boundary, in cycle \d+ \(address 0x3456.*10"),
        (2, "m_axi_gmem arsize is not the width"),
        (3, "m_axi_gmem arburst is not INCR"),
        (4, "m_axi_gmem araddr, len, size or burst changed while valid waited"),
        (5, "m_axi_gmem arvalid dropped before ready came"),
        (6, "m_axi_gmem wlast came early"),
        (7, "m_axi_gmem wlast is missing"),
        (8, "m_axi_gmem wdata, strb or last changed while valid waited"),
        (9, "m_axi_gmem wvalid dropped before ready came"),
        (11, "s_axi_control: bvalid without a write"),
        (12, r"write of register 0x4: no answer in 10000 cycles"),
        (13, "m_axi_gmem awsize is not the width"),
    ],
)
def test_breaches_are_named(machine: Machine, fault: int, text: str) -> None:
    with pytest.raises(SimulationFault, match=text) as caught:
        run(machine, 200, MachineOptions(FREE, stall=0.3, seed=1), fault)
    assert "\n  linear: " in str(caught.value)


def test_reading_what_does_not_exist(machine: Machine) -> None:
    beats = 300
    image = image_of(beats, params=200 * BEAT)
    result = run(machine, beats, MachineOptions(FREE), image=image, tolerate_errors=True)
    assert result.registers["error_code"] == 2
    errors = result.access_errors
    assert (errors["channel"] == 0).all()
    assert (errors["beyond"] == 1).all()
    start = image.region("params").address
    # Burst 12 begins in the region and leaves it; the last one is of 12 beats.
    expected = [(start + 16 * BEAT * burst) for burst in range(12, 19)]
    assert errors["address"].tolist() == expected
    assert errors["bytes"].tolist() == [256] * 6 + [192]
    with pytest.raises(SimulationFault, match=r"error 2 \(read response\)") as caught:
        run(machine, beats, MachineOptions(FREE), image=image)
    assert "m_axi_gmem read of memory that does not exist" in str(caught.value)
    assert "(56 bytes after the end of params)" not in str(caught.value)
    assert "(128 bytes after the end of params)" in str(caught.value)
    with pytest.raises(SimulationFault, match="touched memory that it may not"):
        run(machine, beats, MachineOptions(FREE), 14, image=image)


def test_writing_what_is_read_only(machine: Machine) -> None:
    image = image_of(40, read_only=True)
    result = run(machine, 40, MachineOptions(FREE), image=image, tolerate_errors=True)
    assert result.registers["error_code"] == 3
    assert (result.results == 0x77).all()
    assert result.access_errors["channel"].tolist() == [3, 3, 3]
    assert result.access_errors["beyond"].tolist() == [0, 0, 0]


def test_memory_that_comes_and_goes(machine: Machine) -> None:
    beats, image = 600, image_of(600)
    with machine.open(replace(image, regions=()), MachineOptions(FREE)) as session:
        for name in ("params", "weights_0", "weights_1", "results"):
            session.map(image.region(name))
        with pytest.raises(ValueError, match="params overlaps another"):
            session.map(image.region("params"))
        work(session, image, beats)
        assert session.read(ERROR_CODE) == 0
        np.testing.assert_array_equal(session.memory["results"], written(beats))
        session.unmap(image.region("params"))
        work(session, image, beats)
        assert session.read(ERROR_CODE) == 2
        (_, _, errors) = session.lists()
        assert (errors["beyond"] == 1).all()
        assert errors["address"][0] == image.region("params").address
        session.map(image.region("params"))
        work(session, image, beats)
        assert session.read(ERROR_CODE) == 0
        start(session, image, beats)  # taken away while bursts in it are under way
        session.advance(200)
        session.unmap(image.region("weights_1"))
        assert session.wait(100_000, 60.0, poll_cycles=50) is None
        assert session.read(ERROR_CODE) == 2


@pytest.mark.parametrize(("name", "code"), [("weights_1", 2), ("params", 2), ("results", 3)])
def test_error_response_at_an_address(machine: Machine, name: str, code: int) -> None:
    image = image_of(100)
    region = image.region(name)
    for offset in (0, region.size // 2 + 5, region.size - 1):
        options = MachineOptions(FREE, fault_address=region.address + offset)
        result = run(machine, 100, options, image=image, tolerate_errors=True)
        assert result.registers["error_code"] == code
        assert len(result.access_errors) == 0
    for outside in (region.address - 1, region.address + region.size):
        result = run(machine, 100, MachineOptions(FREE, fault_address=outside), image=image)
        assert result.registers["error_code"] == 0


def test_one_seed_is_one_run(machine: Machine) -> None:
    first, again, other = (
        run(machine, 400, MachineOptions(20.0, stall=0.3, seed=seed)) for seed in (5, 5, 6)
    )
    assert first.cycles == again.cycles
    np.testing.assert_array_equal(first.events, again.events)
    np.testing.assert_array_equal(first.windows, again.windows)
    assert first.events.tolist() != other.events.tolist()
    np.testing.assert_array_equal(first.results, other.results)


def test_time_out_tells_where_everything_stands(machine: Machine) -> None:
    def step_name(step: int) -> str:
        return f"step-{step}"

    options = MachineOptions(FREE, latency=40)
    with pytest.raises(SimulationFault, match="did not finish within 5000 cycles") as caught:
        run(machine, 32, options, 10, cycle_limit=5000, step_name=step_name)
    text = str(caught.value)
    assert "load: idle, 1 steps complete; last started step-0 in cycle " in text
    assert "vector: idle, 3 steps complete; last started step-4" in text
    assert "last completed step-5 in cycle " in text
    assert "Nothing is under way" in text
    with pytest.raises(SimulationFault) as caught:
        run(machine, 32, MachineOptions(FREE, latency=100_000), cycle_limit=3000)
    text = str(caught.value)
    assert "linear: running, 0 steps complete; last started 1 in cycle " in text
    assert "store: waiting, 0 steps complete\n" in text
    assert "m_axi_w1 read: 0 bytes moved, 2 bursts outstanding, the oldest since cycle " in text
    assert "16 beats left from 0x" in text
    assert "(weights_1 + 0)" in text
    assert "Nothing is under way" not in text


def test_time_out_by_the_clock_on_the_wall(machine: Machine) -> None:
    with pytest.raises(SimulationFault, match=r"did not finish within 0.3 s, \d+ cycles"):
        run(machine, 32, MachineOptions(FREE), 10, seconds=0.3)


def test_progress_and_interrupt(machine: Machine) -> None:
    seen: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(machine, 32, MachineOptions(FREE), 10, progress=interrupt)
    assert 0 < seen[0].cycles < seen[1].cycles
    assert seen[1].events == 11  # 5 steps began, and these and a null one are complete
    assert run(machine, 32, MachineOptions(FREE)).cycles_per_second > 0


def test_captures(machine: Machine) -> None:
    requests = [
        CaptureRequest(2, "act8", 8, 32),
        CaptureRequest(2, "y", 10, 3),
        CaptureRequest(4, "act8", 8, 32),
        CaptureRequest(4, "y", 8, 32),
        CaptureRequest(3, "y", 0, 1),  # null: not captured
        CaptureRequest(5, "y", 8, 32),  # complete with the run
    ]
    result = run(machine, 16, MachineOptions(FREE), captures=requests)
    assert [capture.request for capture in result.captures] == requests[:4] + requests[5:]
    first, second = pattern(0), pattern(52)
    wanted = [first[0], first[1][2:5], second[0], second[1], second[1]]
    for capture, want in zip(result.captures, wanted, strict=True):
        np.testing.assert_array_equal(capture.data, want)
    done = {int(e["step"]): int(e["cycle"]) for e in result.events if e["done"]}
    assert [c.cycle - done[c.request.step] for c in result.captures] == [4] * 5
    late = run(machine, 16, MachineOptions(FREE, capture_delay=60), captures=requests[:1])
    np.testing.assert_array_equal(late.captures[0].data, second[0])
    assert run(machine, 16, MachineOptions(FREE)).captures == []


def test_captures_that_cannot_be(machine: Machine) -> None:
    options = MachineOptions(FREE)
    with pytest.raises(HwmoeError, match="capture of step 2: i_act8 has 64 words"):
        run(machine, 1, options, captures=[CaptureRequest(2, "act8", 60, 5)])
    with pytest.raises(HwmoeError, match=r"hwmoe_top.i_heads: no array `mem`"):
        run(machine, 1, options, captures=[CaptureRequest(2, "heads", 0, 1)])


def test_power_up(machine: Machine) -> None:
    never_written = [CaptureRequest(2, "y", 0, 8)]
    held = [
        run(machine, 4, MachineOptions(FREE, power_up_seed=seed), captures=never_written)
        .captures[0]
        .data
        for seed in (0, 1, 1, 2)
    ]
    assert (held[0] == 0).all()
    np.testing.assert_array_equal(held[1], held[2])
    assert np.mean(held[1] == held[3]) < 0.2
    assert np.mean(held[1] == 0) < 0.2


def test_registers_by_hand(machine: Machine) -> None:
    options = MachineOptions(FREE, stall=0.5, seed=4)
    with machine.open(image_of(1), options) as one, machine.open(image_of(1), options) as two:
        for i in range(50):
            one.write(0x10 + 4 * (i % 8), 0x01020304 * (i + 1) & 0xFFFFFFFF)
            assert one.read(0x10 + 4 * (i % 8)) == 0x01020304 * (i + 1) & 0xFFFFFFFF
        assert two.read(0x10) == 0  # a machine of its own
        with pytest.raises(SimulationFault, match="read of register 0x400: error response 2"):
            one.read(0x400)
        with pytest.raises(SimulationFault, match="write of register 0xfffc: error response 2"):
            one.write(0xFFFC, 1)
        before = one.cycle
        one.advance(1000)
        assert one.cycle == before + 1000
        assert two.cycle < before
    with pytest.raises(ValueError, match="closed"):
        one.read(0x10)


def test_trace_of_a_run(machine: Machine, tmp_path: Path) -> None:
    result = run(machine, 500, MachineOptions(20.0))
    write_timeline(tmp_path / "t" / "trace.json", result, lambda step: f"s{step}", 200.0)
    trace = json.loads((tmp_path / "t" / "trace.json").read_text())["traceEvents"]
    slices = {event["name"]: event for event in trace if event["ph"] == "X"}
    assert set(slices) == {"s0", "s1", "s2", "s4", "s5"}
    end = max(event["ts"] + event["dur"] for event in slices.values())
    assert result.cycles / 200.0 - 0.1 < end <= result.cycles / 200.0


@pytest.mark.slow  # another build
def test_wide_ports(tmp_path: Path) -> None:
    source = tmp_path / "wide.sv"
    source.write_text(STANDIN.read_text().replace("PORT_BITS = 128", "PORT_BITS = 512"))
    wide = Machine([source, *SOURCES[1:]], 512, 2, tmp_path / "build", optimize="-O0")
    image, beats = image_of(70, beat=64), 70
    options = MachineOptions(100.0, stall=0.2, seed=1)
    result = run(wide, beats, options, image=image)
    np.testing.assert_array_equal(result.results, written(beats, 64))
    expected = [checksum(image[name], 64) for name in READERS]
    assert sums_of(wide, beats, options, image) == expected


def test_build_is_kept(machine: Machine, build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hwmoe.sim.machine_build.build_library", lambda *_: pytest.fail("built again")
    )
    told: list[str] = []
    again = Machine(SOURCES, 8 * BEAT, 2, build_dir, optimize="-O1", notify=told.append)
    assert told == []
    assert run(again, 8, MachineOptions(FREE)).cycles > 0


def test_ports_must_fit(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(HwmoeError, match="m_axi_w1_arvalid: a port that was not named"):
        Machine(SOURCES, 128, 1, tmp_path, notify=told.append)
    assert len(told) == 1
    with pytest.raises(HwmoeError, match="m_axi_w2_araddr: expected output of 64 bits, found none"):
        Machine(SOURCES, 128, 3, tmp_path)
    with pytest.raises(HwmoeError, match="m_axi_gmem_wdata: expected output of 64 bits, found out"):
        Machine(SOURCES, 64, 2, tmp_path)
    assert list(tmp_path.iterdir()) == []
