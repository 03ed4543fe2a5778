"""A run of the machine as a trace for https://ui.perfetto.dev or chrome://tracing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwmoe.sim.machine import MachineRun
from hwmoe.sim.machine_session import Records

_PROCESS = 1
_MEMORY = "off-chip memory, GB/s"
_MAC = "linear kernel, % of cycles with MACs"


def write_timeline(
    path: Path, run: MachineRun, step_name: Callable[[int], str], clock_mhz: float
) -> None:
    """Write the trace of `run` as JSON."""
    events = trace_events(run, step_name, clock_mhz)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"displayTimeUnit": "ns", "traceEvents": events}
    path.write_text(json.dumps(whole, separators=(",", ":")) + "\n")


def trace_events(
    run: MachineRun, step_name: Callable[[int], str], clock_mhz: float
) -> list[dict[str, Any]]:
    """One row an engine, a slice a step from start to completion; counters of memory and MACs.

    Time is in microseconds of the machine's clock from its start. Where an engine has several
    steps under way, the slice of one begins when the one before is complete; `start` in its
    arguments is when it really began. Null steps are left out.
    """
    found: list[dict[str, Any]] = [_name("process_name", 0, "hwmoe_top")]
    for engine, name in enumerate(run.engine_cycles):
        found.append(_name("thread_name", engine + 1, name))
        mine = run.events[(run.events["engine"] == engine) & (run.events["null"] == 0)]
        found += _slices(run, mine, engine, step_name, clock_mhz)
    return found + _counters(run, clock_mhz)


def _slices(
    run: MachineRun,
    events: Records,
    engine: int,
    step_name: Callable[[int], str],
    clock_mhz: float,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    under_way: list[tuple[int, int]] = []  # step, start
    times: Counter[int] = Counter()
    row_free = 0

    def add(step: int, start: int, end: int, unfinished: bool = False) -> None:
        nonlocal row_free
        shown = max(start, row_free)
        name = step_name(step) + (" (unfinished)" if unfinished else "")
        times[step] += 1
        found.append(
            {
                "ph": "X", "pid": _PROCESS, "tid": engine + 1, "name": name,
                "ts": shown / clock_mhz, "dur": max(end - shown, 0) / clock_mhz,
                "args": {"step": step, "time": times[step], "start": start, "end": end},
            }
        )  # fmt: skip
        row_free = max(row_free, end)

    for event in events:
        step, cycle = int(event["step"]), int(event["cycle"]) - run.start_cycle
        if not event["done"]:
            under_way.append((step, cycle))
        else:
            starts = [i for i, (begun, _) in enumerate(under_way) if begun == step]
            # Complete without a start: there was no work in it.
            add(step, under_way.pop(starts[0])[1] if starts else cycle, cycle)
    for step, start in under_way:
        add(step, start, run.cycles, unfinished=True)
    return found


def _counters(run: MachineRun, clock_mhz: float) -> list[dict[str, Any]]:
    found = []
    end = 0.0
    for window in run.windows:
        cycles = int(window["cycles"])
        start = (int(window["cycle"]) - run.start_cycle) / clock_mhz
        end = start + cycles / clock_mhz
        scale = clock_mhz / 1000 / cycles
        memory = {
            "weights": int(window["weights"]) * scale,
            "other reads": int(window["gmem_read"]) * scale,
            "writes": int(window["gmem_written"]) * scale,
        }
        found.append(_counter(_MEMORY, start, memory))
        found.append(_counter(_MAC, start, {"busy": 100 * int(window["mac"]) / cycles}))
    found.append(_counter(_MEMORY, end, {"weights": 0.0, "other reads": 0.0, "writes": 0.0}))
    found.append(_counter(_MAC, end, {"busy": 0.0}))
    return found


def _counter(name: str, time: float, values: dict[str, float]) -> dict[str, Any]:
    return {"ph": "C", "pid": _PROCESS, "tid": 0, "name": name, "ts": time, "args": values}


def _name(kind: str, row: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _PROCESS, "tid": row, "name": kind, "args": {"name": name}}
