"""The processor's side of a simulated Zynq: where memory lies, and registers as after booting.

Only those that PYNQ touches: PLLs and clocks, widths of the ports between fabric and memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class BusError(RuntimeError):
    """An access that a real board answers with an error of the bus: there, the process ends."""


@dataclass(frozen=True)
class Soc:
    """A family of devices. `arch` as Linux names it; `memory`: base and bytes of what `allocate`
    hands out; `blocks`: base address -> bytes of the blocks of registers; `reset`: address ->
    value, 0 where none is given."""

    arch: str
    memory: tuple[int, int]
    blocks: Mapping[int, int]
    reset: Mapping[int, int]


def _zynq_clock(divisor: int) -> int:
    return 1 << 20 | divisor << 8


def _ultrascale_clock(divisor: int) -> int:
    return 1 << 24 | 1 << 16 | divisor << 8


# UG585 names the registers. The PLLs run at multiples of 50 MHz, as on the boards PYNQ supports.
ZYNQ_7000 = Soc(
    arch="armv7l",
    memory=(0x1685_5000, 128 << 20),  # all below 512 MB, on no round number
    blocks={0xF800_0000: 0x1000},
    reset={
        0xF800_0100: 26 << 12,  # ARM PLL: 1300 MHz
        0xF800_0104: 21 << 12,  # DDR PLL: 1050 MHz
        0xF800_0108: 20 << 12,  # IO PLL: 1000 MHz
        0xF800_0120: 2 << 8,  # CPU: ARM PLL / 2
        **{0xF800_0170 + 0x10 * i: _zynq_clock(10) for i in range(4)},
    },
)

# UG1087 names the registers. The PLLs run at multiples of 33.333 MHz.
ZYNQ_MP = Soc(
    arch="aarch64",
    memory=(0x8_4568_5000, 1 << 30),  # above 4 GiB, so that a lost half of a pointer shows
    blocks={
        0xFF5E_0000: 0x1000,  # CRL_APB
        0xFD1A_0000: 0x1000,  # CRF_APB
        0xFD61_5000: 0x1000,  # FPD_SLCR: widths of the masters
        0xFF41_9000: 0x1000,  # LPD_SLCR
        **{0xFD36_0000 + 0x1_0000 * i: 0x1000 for i in range(6)},  # AFIFM: widths of the slaves
        0xFF9B_0000: 0x1000,
    },
    reset={
        0xFF5E_0020: 45 << 8,  # IOPLL: 1500 MHz
        0xFF5E_0030: 45 << 8,  # RPLL
        **{0xFF5E_00C0 + 4 * i: _ultrascale_clock(15) for i in range(4)},
        0xFD1A_0020: 72 << 8 | 1 << 16,  # APLL: 1200 MHz
        0xFD1A_002C: 64 << 8 | 1 << 16,  # DPLL
        0xFD1A_0038: 90 << 8 | 1 << 16,  # VPLL
        0xFD1A_0060: 1 << 8,  # CPU: APLL
    },
)

SOCS = {"zynq-7000": ZYNQ_7000, "zynq-ultrascale-plus": ZYNQ_MP}
"""By the family of a board."""


@dataclass
class Registers:
    """All blocks of a device as plain storage, a word of 32 bits at a time."""

    soc: Soc
    values: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values.update(self.soc.reset)

    def read(self, address: int) -> int:
        """`BusError` where there is nothing."""
        self._check(address)
        return self.values.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """`BusError` where there is nothing."""
        self._check(address)
        self.values[address] = value

    def _check(self, address: int) -> None:
        if not any(0 <= address - base < size for base, size in self.soc.blocks.items()):
            raise BusError(f"bus error: there is no register at 0x{address:x}")
