"""The machine's shared library as Python sees it: structures, constants, calls."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from hwmoe.plan.isa import instruction_set
from hwmoe.sim.library import load_library

RUNNING, FINISHED, BREACH, BROKEN = range(4)  # Status
LIMIT, INTERRUPT, POLLED_DONE = range(3)  # Until
ENGINES = instruction_set().engines  # a machine has Totals.engines of them
STATES = ("idle", "waiting", "running", "held")  # held: running, but off-chip memory is awaited
WINDOW_CYCLES = 1024
MOST_ERRORS = 64
NO_ADDRESS = 2**64 - 1


class Config(ctypes.Structure):
    """See machine_memory.hpp."""

    _fields_ = (
        ("bytes_per_cycle", ctypes.c_double),
        ("stall", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("latency", ctypes.c_int32),
        ("jitter", ctypes.c_int32),
        ("write_latency", ctypes.c_int32),
        ("outstanding", ctypes.c_int32),
        ("capture_delay", ctypes.c_int32),
        ("power_up_seed", ctypes.c_int32),
    )


class Setup(ctypes.Structure):
    """See machine_simulation.hpp.j2."""

    _fields_ = (
        ("config", Config),
        ("memory", ctypes.c_void_p),
        ("base", ctypes.c_uint64),
        ("regions", ctypes.c_void_p),
        ("wanted", ctypes.c_void_p),
        ("region_count", ctypes.c_int32),
        ("wanted_count", ctypes.c_int32),
    )


class Report(ctypes.Structure):
    """See machine_simulation.hpp.j2."""

    _fields_ = (
        ("cycle", ctypes.c_int64),
        ("status", ctypes.c_int64),
        ("message", ctypes.c_char * 512),
    )


class Totals(ctypes.Structure):
    """See machine_events.hpp."""

    _fields_ = (
        ("events", ctypes.c_int64),
        ("windows", ctypes.c_int64),
        ("captures", ctypes.c_int64),
        ("captured_bytes", ctypes.c_int64),
        ("access_errors", ctypes.c_int64),
        ("since", ctypes.c_int64),
        ("mac", ctypes.c_int64),
        ("states", ctypes.c_int64 * len(STATES) * len(ENGINES)),
        ("state", ctypes.c_int32 * len(ENGINES)),
        ("engines", ctypes.c_int32),
        ("interrupt", ctypes.c_int32),
    )


REGION = np.dtype([("address", "<u8"), ("size", "<u8"), ("writable", "<i8")])
WANTED = np.dtype([("step", "<i4"), ("memory", "<i4"), ("base", "<i8"), ("words", "<i8")])
EVENT = np.dtype(
    [("cycle", "<i8"), ("step", "<i4"), ("engine", "u1"), ("done", "u1"), ("null", "u1"),
     ("spare", "u1")]
)  # fmt: skip
WINDOW = np.dtype(
    [("cycle", "<i8"), ("cycles", "<i8"), ("gmem_read", "<i8"), ("gmem_written", "<i8"),
     ("weights", "<i8"), ("mac", "<i8")]
)  # fmt: skip
ACCESS_ERROR = np.dtype(
    [("cycle", "<i8"), ("address", "<u8"), ("bytes", "<u8"), ("channel", "<i4"),
     ("beyond", "<i4")]
)  # fmt: skip
CAPTURE = np.dtype(
    [("cycle", "<i8"), ("wanted", "<i4"), ("spare", "<i4"), ("offset", "<i8"), ("bytes", "<i8")]
)
CHANNEL = np.dtype(
    [("bursts", "<i8"), ("bytes", "<i8"), ("starved", "<i8"), ("outstanding", "<i8"),
     ("since", "<i8"), ("left", "<i8"), ("address", "<u8")]
)  # fmt: skip


def load_machine(path: Path) -> ctypes.CDLL:
    """The library with the types of its calls set."""
    library = load_library(path)
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    calls: dict[str, tuple[type | None, list[type]]] = {
        "open": (pointer, [pointer, pointer]),
        "close": (None, [pointer]),
        "run": (i32, [pointer, i64, i32, i64, pointer]),
        "access": (i32, [pointer, i32, i32, pointer, pointer, i64, pointer]),
        "map": (None, [pointer, pointer]),
        "unmap": (None, [pointer, ctypes.c_uint64]),
        "reset": (i32, [pointer, pointer]),
        "save": (i64, [pointer]),
        "saved": (None, [pointer, pointer]),
        "restore": (i32, [pointer, pointer, i64, pointer]),
        "clear": (None, [pointer]),
        "totals": (None, [pointer, pointer]),
        "channels": (None, [pointer, pointer]),
        "lists": (None, [pointer] * 4),
        "captures": (None, [pointer] * 3),
    }
    for name, (result, arguments) in calls.items():
        call = getattr(library, f"machine_{name}")
        call.restype, call.argtypes = result, arguments
    return library
