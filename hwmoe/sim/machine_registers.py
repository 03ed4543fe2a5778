"""The registers of the machine behind s_axi_control as its host sees them (docs/machine.md)."""

from __future__ import annotations

from hwmoe.codegen.rtl_axi import (
    CONTROL_BITS,
    ERRORS,
    LEAST_ENGINES,
    pointer_names,
    register_map,
    step_clipped,
)

__all__ = ["ERRORS", "step_clipped"]

_FIXED = {register.name: register.offset for register in register_map(1)}
CONTROL, GLOBAL_INTERRUPT, INTERRUPT_ENABLE, INTERRUPT_STATUS = (
    _FIXED[name] for name in ("control", "global_interrupt", "interrupt_enable", "interrupt_status")
)
START, DONE, IDLE = (1 << CONTROL_BITS[name] for name in ("ap_start", "ap_done", "ap_idle"))


def pointers(w_ports: int) -> dict[str, int]:
    """Name of a region of off-chip memory -> address of the low half of its pointer."""
    at = {register.name: register.offset for register in register_map(w_ports)}
    return {name: at[name] for name in pointer_names(w_ports)}


def n_images(w_ports: int) -> int:
    """Address of the number of images."""
    return next(r.offset for r in register_map(w_ports) if r.name == "n_images")


def status_registers(engines: int = LEAST_ENGINES) -> dict[str, int]:
    """Name -> address of all that can only be read; counts of an engine as `linear_running`.

    A register of 64 bits counts as two: `cycles_low` and `cycles_high`.
    """
    found: dict[str, int] = {}
    for register in register_map(1, engines):
        if not register.writable:
            halves = ("",) if register.bits == 32 else ("_low", "_high")
            names = (register.name + half for half in halves)
            found |= dict(zip(names, register.offsets, strict=True))
    return found
