"""All that the machine reads and that never changes, as one file: programs, parameters, weights."""

from __future__ import annotations

import hashlib
from typing import Any

from hwmoe.errors import HwmoeError
from hwmoe.plan.image import constant_parts
from hwmoe.plan.packing import pad_up
from hwmoe.plan.program import Program
from hwmoe.plan.trace import TraceProgram

PAGE = 4096
TRACE_PROGRAM = "trace_program"


def memory_image(program: Program, trace: TraceProgram) -> tuple[bytes, list[dict[str, Any]]]:
    """The bytes, and of each part its name, offset (a multiple of 4096), bytes and sha256.

    `HwmoeError` if the traced program is not for the same parameters and weights.
    """
    parts, traced = constant_parts(program), constant_parts(trace.program)
    own = {"program": parts.pop("program"), TRACE_PROGRAM: traced.pop("program")}
    if {name: part.tobytes() for name, part in parts.items()} != {
        name: part.tobytes() for name, part in traced.items()
    }:
        raise HwmoeError("the traced program has other parameters or weights than the program")
    image, table = bytearray(), []
    for name, part in (own | parts).items():
        data = part.tobytes()
        digest = hashlib.sha256(data).hexdigest()
        table.append({"name": name, "offset": len(image), "bytes": len(data), "sha256": digest})
        image += data.ljust(pad_up(len(data), PAGE), b"\0")
    return bytes(image), table
