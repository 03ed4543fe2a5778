"""The accelerator as Vivado and Vitis see it: its names, AXI ports and registers, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwmoe.codegen.rtl_axi import ADDRESS_BITS, Register, pointer_names, register_map
from hwmoe.codegen.rtl_machine import TOP
from hwmoe.plan.accelerator import AcceleratorConfig

VENDOR, LIBRARY, NAME, VERSION = "hwmoe", "hwmoe", TOP, "1.0"
VLNV = f"{VENDOR}:{LIBRARY}:{NAME}:{VERSION}"
WRAPPER = "hwmoe_ip"
"""The Verilog module around `hwmoe_top` that is packaged."""
INSTANCE = "hwmoe_0"
CONTROL = "s_axi_control"
CONTROL_RANGE = 1 << ADDRESS_BITS
GENERAL = "m_axi_gmem"

_ADDRESS = (
    ("addr", 64), ("len", 8), ("size", 3), ("burst", 2), ("cache", 4), ("prot", 3), ("valid", 1),
)  # fmt: skip
_LITE = (
    ("awaddr", "input", ADDRESS_BITS), ("awvalid", "input", 1), ("awready", "output", 1),
    ("wdata", "input", 32), ("wstrb", "input", 4), ("wvalid", "input", 1), ("wready", "output", 1),
    ("bresp", "output", 2), ("bvalid", "output", 1), ("bready", "input", 1),
    ("araddr", "input", ADDRESS_BITS), ("arvalid", "input", 1), ("arready", "output", 1),
    ("rdata", "output", 32), ("rresp", "output", 2), ("rvalid", "output", 1),
    ("rready", "input", 1),
)  # fmt: skip


@dataclass(frozen=True)
class Port:
    """A port of the wrapper; `tied`: it is not of the machine, and 0 if an output."""

    name: str
    direction: str
    bits: int
    tied: bool = False

    @property
    def range(self) -> str:
        """As Verilog writes it, with a blank after it."""
        return f"[{self.bits - 1}:0] " if self.bits > 1 else ""


def masters(w_ports: int) -> tuple[str, ...]:
    """AXI4 masters: the general one, then those of weights, which only read."""
    return (GENERAL, *weight_masters(w_ports))


def weight_masters(w_ports: int) -> tuple[str, ...]:
    return tuple(f"m_axi_w{port}" for port in range(w_ports))


def master_of(w_ports: int) -> dict[str, str]:
    """Pointer register -> the master that uses it."""
    return {
        name: f"m_axi_w{name.removeprefix('weights_')}" if name.startswith("weights_") else GENERAL
        for name in pointer_names(w_ports)
    }


def wrapper_ports(port_bits: int, w_ports: int) -> tuple[Port, ...]:
    """All ports of the wrapper but clock, reset and interrupt; those of the machine first."""
    ports = [Port(f"{CONTROL}_{name}", direction, bits) for name, direction, bits in _LITE]
    ports += _writes(GENERAL, port_bits, tied=False)
    for master in masters(w_ports):
        ports += _reads(master, port_bits)
    for master in weight_masters(w_ports):
        ports += _writes(master, port_bits, tied=True)
    return tuple(sorted(ports, key=lambda port: port.tied))


def _reads(master: str, bits: int) -> Iterator[Port]:
    yield from _address(f"{master}_ar", tied=False)
    for name, width in (("rdata", bits), ("rresp", 2), ("rlast", 1), ("rvalid", 1)):
        yield Port(f"{master}_{name}", "input", width)
    yield Port(f"{master}_rready", "output", 1)


def _writes(master: str, bits: int, tied: bool) -> Iterator[Port]:
    yield from _address(f"{master}_aw", tied)
    for name, width in (("wdata", bits), ("wstrb", bits // 8), ("wlast", 1), ("wvalid", 1)):
        yield Port(f"{master}_{name}", "output", width, tied)
    for name, direction, width in (
        ("wready", "input", 1),
        ("bresp", "input", 2),
        ("bvalid", "input", 1),
        ("bready", "output", 1),
    ):
        yield Port(f"{master}_{name}", direction, width, tied)


def _address(channel: str, tied: bool) -> Iterator[Port]:
    for name, width in _ADDRESS:
        yield Port(f"{channel}{name}", "output", width, tied)
    yield Port(f"{channel}ready", "input", 1, tied)


def words(acc: AcceleratorConfig) -> Iterator[tuple[str, int, Register]]:
    """(name, offset, register) of each 32-bit word; halves of 64 bits are called as HLS does:
    `program_1` is the low one, `program_2` the high one."""
    for register in register_map(acc.ports.w_ports, len(acc.engines)):
        for index, offset in enumerate(register.offsets):
            name = register.name if len(register.offsets) == 1 else f"{register.name}_{index + 1}"
            yield name, offset, register
