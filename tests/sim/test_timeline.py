"""The trace of a run, from records made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwmoe.sim.machine import MachineRun
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_library import ACCESS_ERROR, ENGINES, EVENT, WINDOW
from hwmoe.sim.timeline import trace_events, write_timeline

CLOCK = 250.0  # MHz: a cycle is 0.004 us
START, DONE, NULL = (0, 0), (1, 0), (1, 1)


def run_of(
    events: list[tuple[int, int, int, tuple[int, int]]], windows: list[tuple[int, ...]] = ()
) -> MachineRun:
    """A run of 4000 cycles that began in cycle 100; events: cycle, step, engine, kind."""
    return MachineRun(
        cycles=4000,
        start_cycle=100,
        memory=MemoryImage.build({"results": np.zeros(1, np.uint8)}, ()),
        registers={},
        step_clipped=[],
        engine_cycles={engine: {} for engine in ENGINES[:5]},
        mac_cycles=0,
        events=np.array([(c, s, e, *kind, 0) for c, s, e, kind in events], EVENT),
        windows=np.array(list(windows), WINDOW),
        channels={},
        access_errors=np.zeros(0, ACCESS_ERROR),
        captures=[],
        seconds=1.0,
    )


def slices_of(run: MachineRun) -> list[tuple[Any, ...]]:
    """(row, name, begin in cycles, cycles long, argument start)"""
    return [
        (e["tid"], e["name"], round(e["ts"] * CLOCK), round(e["dur"] * CLOCK), e["args"]["start"])
        for e in trace_events(run, lambda step: f"block {step}", CLOCK)
        if e["ph"] == "X"
    ]


def test_steps_are_slices_of_their_engine() -> None:
    run = run_of(
        [
            (110, 0, 0, START),
            (120, 7, 4, START),
            (150, 0, 0, DONE),
            (160, 1, 0, START),
            (170, 1, 0, DONE),
            (600, 7, 4, DONE),
        ]
    )
    assert slices_of(run) == [
        (1, "block 0", 10, 40, 10),
        (1, "block 1", 60, 10, 60),
        (5, "block 7", 20, 480, 20),
    ]


def test_steps_under_way_together_follow_each_other() -> None:
    run = run_of(
        [
            (110, 3, 1, START),
            (115, 4, 1, START),
            (140, 3, 1, DONE),
            (141, 5, 1, START),
            (190, 4, 1, DONE),
            (191, 5, 1, DONE),
        ]
    )
    assert slices_of(run) == [
        (2, "block 3", 10, 30, 10),
        (2, "block 4", 40, 50, 15),
        (2, "block 5", 90, 1, 41),
    ]


def test_steps_without_work_and_without_end() -> None:
    run = run_of(
        [
            (110, 3, 1, NULL),
            (120, 4, 1, DONE),  # nothing to do: never started
            (130, 5, 1, START),
            (150, 6, 1, START),
        ]
    )
    assert slices_of(run) == [
        (2, "block 4", 20, 0, 20),
        (2, "block 5 (unfinished)", 30, 3970, 30),
        (2, "block 6 (unfinished)", 4000, 0, 50),
    ]


def test_completion_out_of_order_finds_its_start() -> None:
    events = [(110, 3, 1, START), (120, 4, 1, START), (140, 4, 1, DONE), (150, 3, 1, DONE)]
    assert slices_of(run_of(events)) == [
        (2, "block 4", 20, 20, 20),
        (2, "block 3", 40, 10, 10),
    ]


def test_a_step_run_twice_is_counted() -> None:
    events = [(110 + 10 * i, 2, 3, START if i % 2 == 0 else DONE) for i in range(6)]
    found = trace_events(run_of(events), str, CLOCK)
    assert [e["args"]["time"] for e in found if e["ph"] == "X"] == [1, 2, 3]


def test_counters() -> None:
    run = run_of([], [(100, 1024, 2048, 512, 8192, 256), (1124, 100, 0, 0, 1600, 100)])
    found = [e for e in trace_events(run, str, CLOCK) if e["ph"] == "C"]
    memory = [e for e in found if "GB/s" in e["name"]]
    macs = [e for e in found if "MAC" in e["name"]]
    # 8192 bytes in 1024 cycles of 4 ns: 2 GB/s.
    assert memory[0]["args"] == {"weights": 2.0, "other reads": 0.5, "writes": 0.125}
    assert memory[1]["args"]["weights"] == pytest.approx(4.0)
    assert set(memory[2]["args"].values()) == {0.0}
    assert [e["args"]["busy"] for e in macs] == [25.0, 100.0, 0.0]
    for events in (memory, macs):
        assert [e["ts"] for e in events] == pytest.approx([0.0, 4.096, 4.496])


def test_the_file_is_json_that_names_every_row(tmp_path: Path) -> None:
    run = run_of([(110, 0, 2, START), (150, 0, 2, DONE)], [(100, 50, 1, 2, 3, 4)])
    write_timeline(tmp_path / "new" / "trace.json", run, lambda _: 'a "name"', CLOCK)
    whole = json.loads((tmp_path / "new" / "trace.json").read_text())
    events = whole["traceEvents"]
    rows = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert rows == {1: "load", 2: "linear", 3: "attention", 4: "vector", 5: "store"}
    (slice_,) = (e for e in events if e["ph"] == "X")
    assert (slice_["name"], rows[slice_["tid"]]) == ('a "name"', "attention")
    for event in events:
        assert {"ph", "pid", "tid", "name"} <= event.keys()
        assert event["ph"] == "M" or event["ts"] >= 0
