"""The registers of the machine behind s_axi_control (docs/machine.md)."""

from __future__ import annotations

from hwmoe.sim.machine_library import ENGINES

CONTROL, GLOBAL_INTERRUPT, INTERRUPT_ENABLE, INTERRUPT_STATUS = 0x00, 0x04, 0x08, 0x0C
START, DONE, IDLE = 1, 2, 4  # of CONTROL
_STEP_CLIPPED = 0x4000

_STATUS = {
    "error_code": 0x200,
    "error_step": 0x204,
    "error_detail": 0x208,
    "cycles_low": 0x210,
    "cycles_high": 0x214,
    "images_done": 0x218,
    "format_version": 0x21C,
    "digest": 0x220,
}
_ENGINE = {"running": 0, "waiting": 4, "held": 8, "completed": 12, "clipped": 16}

ERRORS = {
    1: "illegal instruction",
    2: "read response",
    3: "write response",
    4: "address out of a memory's range",
    5: "token counter overflow",
    6: "field out of range",
    7: "unaligned pointer",
}


def pointers(w_ports: int) -> dict[str, int]:
    """Name of a region of off-chip memory -> address of the low half of its pointer."""
    names = ["program", "params", "images", "results", *(f"weights_{p}" for p in range(w_ports))]
    return {name: 0x10 + 12 * i for i, name in enumerate(names)}


def n_images(w_ports: int) -> int:
    """Address of the number of images."""
    return 0x40 + 12 * w_ports


def status_registers() -> dict[str, int]:
    """Name -> address of all that can only be read; counts of an engine as `linear_running`."""
    engines = {
        f"{engine}_{what}": 0x240 + 0x20 * i + offset
        for i, engine in enumerate(ENGINES)
        for what, offset in _ENGINE.items()
    }
    return _STATUS | engines


def step_clipped(step: int) -> int:
    """Address of the number of values that a step clipped."""
    return _STEP_CLIPPED + 4 * step
