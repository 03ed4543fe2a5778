"""The hardware description (.hwh) of a simulated board: what PYNQ reads of what Vivado writes.

A real bitstream comes with Vivado's own; this one only ever describes the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hwmoe.codegen.render import render
from hwmoe.codegen.rtl_axi import ADDRESS_BITS, CONTROL_BITS
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board
from hwmoe.plan.program import Program
from hwmoe.vendor.kernel import CONTROL, CONTROL_RANGE, INSTANCE, VLNV, words

__all__ = ["INSTANCE", "PROCESSORS", "VLNV", "Processor", "hardware_description", "processor_of"]

_CLOCKS = 4
_DIVISORS = 63


@dataclass(frozen=True)
class Processor:
    """The processing system of a family as its .hwh names it.

    base: where `hwmoe_top` lies behind `master`. pll_mhz: what clocks of the fabric are divided
    from. Names of parameters hold the number of the clock, or of the memory port.
    """

    modtype: str
    version: str
    arch: str
    master: str
    base: int
    pll_mhz: float
    pll: str
    enable: str
    divisor: str
    source: str
    frequency: str
    port_width: str


PROCESSORS = {
    "zynq-ultrascale-plus": Processor(
        modtype="zynq_ultra_ps_e",
        version="3.5",
        arch="zynquplus",
        master="M_AXI_HPM0_FPD",
        base=0xA000_0000,
        pll_mhz=1500.0,
        pll="IOPLL",
        enable="PSU__FPGA_PL{}_ENABLE",
        divisor="PSU__CRL_APB__PL{}_REF_CTRL__DIVISOR{}",
        source="PSU__CRL_APB__PL{}_REF_CTRL__SRCSEL",
        frequency="PSU__CRL_APB__PL{}_REF_CTRL__ACT_FREQMHZ",
        port_width="C_SAXIGP{}_DATA_WIDTH",
    ),
    "zynq-7000": Processor(
        modtype="processing_system7",
        version="5.5",
        arch="zynq",
        master="M_AXI_GP0",
        base=0x43C0_0000,
        pll_mhz=1000.0,
        pll="IO PLL",
        enable="PCW_FPGA_FCLK{}_ENABLE",
        divisor="PCW_FCLK{}_PERIPHERAL_DIVISOR{}",
        source="PCW_FCLK{}_PERIPHERAL_CLKSRC",
        frequency="PCW_ACT_FPGA{}_PERIPHERAL_FREQMHZ",
        port_width="PCW_S_AXI_HP{}_DATA_WIDTH",
    ),
}
_FIRST_HP = {"zynq-ultrascale-plus": 2, "zynq-7000": 0}  # S_AXI_HP0 among the ports' parameters


def hardware_description(program: Program, board: Board) -> str:
    """The .hwh of `hwmoe_top` on a board with PYNQ; `HwmoeError` if PYNQ does not run on it."""
    processor = processor_of(board)
    ports = program.accelerator.ports
    return render(
        "host/hwmoe.hwh.j2",
        board=board,
        processor=processor,
        parameters=_parameters(processor, board, ports.w_ports + 1, ports.port_bits),
        instance=INSTANCE,
        vlnv=VLNV,
        control=CONTROL,
        address_bits=ADDRESS_BITS,
        size=CONTROL_RANGE,
        registers=list(words(program.accelerator)),
        control_bits=CONTROL_BITS,
    )


def processor_of(board: Board) -> Processor:
    """`HwmoeError` if the board has no processor that PYNQ runs on."""
    if board.family not in PROCESSORS:
        raise HwmoeError(
            f"board {board.name}: no processor of family {board.family} is known to PYNQ; known "
            f"are {', '.join(PROCESSORS)}"
        )
    return PROCESSORS[board.family]


def divisors(pll_mhz: float, clock_mhz: float) -> tuple[int, int]:
    """Two divisors of at most 63 that give the highest clock not above `clock_mhz`."""
    least = math.ceil(pll_mhz / clock_mhz - 1e-9)
    pairs = ((a * b, a, b) for b in range(1, _DIVISORS + 1) for a in range(1, _DIVISORS + 1))
    _, first, second = min((pair for pair in pairs if pair[0] >= least), key=lambda pair: pair[0])
    return first, second


def _parameters(
    processor: Processor, board: Board, ports: int, port_bits: int
) -> Iterator[tuple[str, str]]:
    """Only clock 0 runs, and drives everything."""
    first, second = divisors(processor.pll_mhz, board.clock_mhz)
    for clock in range(_CLOCKS):
        yield processor.enable.format(clock), str(int(clock == 0))
        yield processor.divisor.format(clock, 0), str(first)
        yield processor.divisor.format(clock, 1), str(second)
        yield processor.source.format(clock), processor.pll
        yield processor.frequency.format(clock), f"{processor.pll_mhz / (first * second):.6f}"
    hp = _FIRST_HP[board.family]
    for port in range(min(ports, board.axi.ports)):
        yield processor.port_width.format(hp + port), str(min(port_bits, board.axi.width_bits))
