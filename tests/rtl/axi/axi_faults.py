"""Inside the simulator: tests once more with a planted fault, after all others."""

from __future__ import annotations

import json
import os
from typing import Any

import cocotb

VARIABLE = "AXI_FAULTS"  # a test for every fault; the first is fault 1

active = 0
"""What a bench drives its signal `fault` with."""


def planted_tests(module: dict[str, Any]) -> dict[str, Any]:
    """Name `fault_<number>` -> the test of `module` that must fail with that fault."""
    names = json.loads(os.environ[VARIABLE])
    return {f"fault_{n}": _planted(n, module[name].func) for n, name in enumerate(names, 1)}


def _planted(number: int, function: Any) -> Any:
    async def test(dut: Any) -> None:
        global active
        active = number
        await function(dut)

    return cocotb.test(name=f"fault_{number}")(test)
