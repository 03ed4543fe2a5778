"""SystemVerilog of the machine's AXI side, and its register map as data."""

from __future__ import annotations

from dataclasses import dataclass

from hwmoe.codegen.render import sources
from hwmoe.errors import HwmoeError
from hwmoe.plan.isa import instruction_set

CONTROL_TOP = "hwmoe_control"
ADDRESS_BITS = 16
POINTER_ALIGNMENT = 4096  # bytes
MAX_WEIGHT_PORTS = 15  # 0x10 to 0x100
MAX_STEPS = 12288  # 0x4000 to 0x10000
NO_STEP = 0xFFFF  # the error step of what belongs to no step
STEP_CLIPPED = 0x4000
LEAST_ENGINES = len(instruction_set().engines) - 1  # the last one is not on every machine

# Bits of `control`; ap_done and ap_ready are also those of interrupt enable and status.
CONTROL_BITS = {"ap_start": 0, "ap_done": 1, "ap_idle": 2, "ap_ready": 3, "auto_restart": 7}
INTERRUPT_BITS = {"ap_done": 0, "ap_ready": 1}

ERRORS = {
    1: "illegal instruction",
    2: "read response",
    3: "write response",
    4: "address out of a memory's range",
    5: "token counter overflow",
    6: "field out of range",
    7: "unaligned pointer",
}

_DMA = ("hwmoe_axi_buffer", "hwmoe_axi_plan", "hwmoe_axi_read", "hwmoe_axi_read_mux")
_CONTROL = ("args", "block", "counters", "error", "events", "lite", "read", "run", "steps")
_PRIMITIVES = ("hwmoe_fifo", "hwmoe_ram_sdp", "hwmoe_skid")
_SHARED = ("hwmoe_round_robin",)

_BLOCK = ("control", "global_interrupt", "interrupt_enable", "interrupt_status")
_POINTERS = ("program", "params", "images", "results")
_STATUS = {
    "error_code": (0x200, 32),
    "error_step": (0x204, 32),
    "error_detail": (0x208, 32),
    "cycles": (0x210, 64),
    "images_done": (0x218, 32),
    "format_version": (0x21C, 32),
    "digest": (0x220, 32),
}
_ENGINE_FIRST, _ENGINE_STRIDE = 0x240, 0x20
_ENGINE = ("running", "waiting", "held", "completed", "clipped")


@dataclass(frozen=True)
class Register:
    """`bits` is 32 or 64; of 64 the low half comes first. `writable`: by the host."""

    name: str
    offset: int
    bits: int
    writable: bool

    @property
    def offsets(self) -> tuple[int, ...]:
        """Addresses of its 32-bit words, low half first."""
        return tuple(range(self.offset, self.offset + self.bits // 8, 4))


def pointer_names(weight_ports: int) -> tuple[str, ...]:
    """All pointers by their number, which an error about one has as its detail."""
    return (*_POINTERS, *(f"weights_{p}" for p in range(weight_ports)))


def register_map(weight_ports: int, engines: int = LEAST_ENGINES) -> tuple[Register, ...]:
    """All registers in the order of their addresses, but those of steps (see `step_clipped`).

    Counts of an engine are named after it: `linear_running`. HwmoeError for too many ports.
    """
    if not 1 <= weight_ports <= MAX_WEIGHT_PORTS:
        raise HwmoeError(f"{weight_ports} weight ports: 1 to {MAX_WEIGHT_PORTS} are possible")
    pointers = pointer_names(weight_ports)
    return (
        *(Register(name, 4 * i, 32, True) for i, name in enumerate(_BLOCK)),
        *(Register(name, 0x10 + 12 * i, 64, True) for i, name in enumerate(pointers)),
        Register("n_images", 0x10 + 12 * len(pointers), 32, True),
        *(Register(name, offset, bits, False) for name, (offset, bits) in _STATUS.items()),
        *(
            Register(f"{engine}_{what}", _ENGINE_FIRST + _ENGINE_STRIDE * e + 4 * i, 32, False)
            for e, engine in enumerate(instruction_set().engines[:engines])
            for i, what in enumerate(_ENGINE)
        ),
    )


def step_clipped(step: int) -> int:
    """Address of the number of values that a step of the program clipped."""
    if not 0 <= step < MAX_STEPS:
        raise HwmoeError(f"step {step}: a program has steps 0 to {MAX_STEPS - 1}")
    return STEP_CLIPPED + 4 * step


def axi_rtl() -> dict[str, str]:
    """File name -> text of the masters, their multiplexer and the control, with all they need."""
    names = [*_DMA, "hwmoe_axi_write", CONTROL_TOP, *(f"{CONTROL_TOP}_{part}" for part in _CONTROL)]
    files = sources("rtl/lib", _PRIMITIVES) | sources("rtl/machine", _SHARED)
    return files | sources("rtl/axi", names)
