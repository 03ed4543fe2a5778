"""The whole accelerator as SystemVerilog (docs/machine.md): its top, and all that is below."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from hwmoe.codegen.render import render, sources
from hwmoe.codegen.rtl_attention_engine import attention_engine_rtl
from hwmoe.codegen.rtl_axi import MAX_STEPS, MAX_WEIGHT_PORTS, axi_rtl
from hwmoe.codegen.rtl_fetch import fetch_rtl
from hwmoe.codegen.rtl_linear_engine import linear_engine_rtl
from hwmoe.codegen.rtl_vector_engine import vector_engine_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import QUEUE_DEPTH, MachineSizes
from hwmoe.quant.numerics import FORMAT

__all__ = ["TOP", "MachineSizes", "configuration_digest", "machine_rtl"]

TOP = "hwmoe_top"

_MACHINE = (
    "hwmoe_act_ram",
    "hwmoe_gearbox",
    "hwmoe_gmem",
    "hwmoe_issue",
    "hwmoe_load_engine",
    "hwmoe_queue",
    "hwmoe_ram_bank",
    "hwmoe_round_robin",
    "hwmoe_store_engine",
    "hwmoe_tokens",
    "hwmoe_weight_ports",
)
_LIBRARY = ("hwmoe_fifo", "hwmoe_ram_sdp")

_ADDRESS = ("addr", "len", "size", "burst", "cache", "prot", "valid", "ready")
_READS = (*(f"ar{name}" for name in _ADDRESS), "rdata", "rresp", "rlast", "rvalid", "rready")
_WRITES = (
    *(f"aw{name}" for name in _ADDRESS),
    *("wdata", "wstrb", "wlast", "wvalid", "wready", "bresp", "bvalid", "bready"),
)
_LITE = (
    *("awaddr", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready"),
    *("bresp", "bvalid", "bready", "araddr", "arvalid", "arready"),
    *("rdata", "rresp", "rvalid", "rready"),
)

# Ports of a linear engine that are slices of vectors: name, bits.
_LISTS = (
    ("len_slot", 4), ("len_expert", 8), ("len", 16), ("row_slot", 4), ("row_expert", 8),
    ("row_index", 16), ("row", 16),
)  # fmt: skip
_WEIGHT_COMMAND = (
    ("wc_valid", 1), ("wc_ready", 1), ("wc_addr", 32), ("wc_len", 32), ("w_valid", 1),
    ("w_ready", 1),
)  # fmt: skip
_CHANNEL_COMMAND = (("valid", 1), ("ready", 1), ("addr", 64), ("len", 32))
_CHANNEL_DATA = (("valid", 1), ("ready", 1), ("data", "PORT_BITS"))
_PARAM_COMMAND = (
    ("pc_valid", 1), ("pc_ready", 1), ("pc_addr", 64), ("pc_len", 32), ("p_valid", 1),
    ("p_ready", 1),
)  # fmt: skip


@dataclass(frozen=True)
class _Memory:
    """An activation memory: `bits` of a word, `masks` bits of a write mask."""

    name: str
    lane_bits: int
    lanes: int
    grain: int
    words: int
    readers: int
    writers: int

    @property
    def bits(self) -> int:
        return self.lane_bits * self.lanes

    @property
    def masks(self) -> int:
        return self.lanes // self.grain


def machine_rtl(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, str]:
    """File name -> text of `hwmoe_top` with every module it needs; same text each time.

    HwmoeError if the widths of `acc` do not fit together, or a memory is beyond its addresses.
    """
    _check(acc, sizes)
    banner = f"Rendered by hwmoe, number format {FORMAT}."
    files = linear_engine_rtl(acc, sizes.memories())
    files |= attention_engine_rtl(acc, banner)
    files |= vector_engine_rtl(acc, sizes, banner)
    files |= fetch_rtl(acc, sizes, banner)
    files |= sources("rtl/lib", _LIBRARY) | axi_rtl()
    files |= sources("rtl/machine", _MACHINE)
    files["hwmoe_engines.sv"] = render(
        "rtl/machine/hwmoe_engines.sv.j2", banner=banner, **_engines(acc, sizes)
    )
    files[f"{TOP}.sv"] = render(f"rtl/{TOP}.sv.j2", banner=banner, **_ports(acc, sizes))
    return dict(sorted(files.items()))


def configuration_digest(acc: AcceleratorConfig, sizes: MachineSizes) -> int:
    """32 bits that tell machines apart, by what they are told too; they answer it at 0x220."""
    formats = instruction_set().formats.values()
    parts = {
        "format": FORMAT,
        "accelerator": acc.model_dump(),
        "sizes": asdict(sizes),
        "instructions": [(one.name, one.opcode, dict(one.layout)) for one in formats],
    }
    text = json.dumps(parts, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def _check(acc: AcceleratorConfig, sizes: MachineSizes) -> None:
    ports, beat = acc.ports, 8 * acc.linear.t_in * acc.linear.w_rows
    problems = []
    if ports.port_bits * ports.w_ports != beat:
        problems.append(
            f"ports: port_bits * w_ports = {ports.port_bits * ports.w_ports} must be the "
            f"{beat} bits of a beat of weights, 8 * linear.t_in * linear.w_rows"
        )
    if ports.w_ports > MAX_WEIGHT_PORTS:
        problems.append(f"ports.w_ports={ports.w_ports} must be at most {MAX_WEIGHT_PORTS}")
    if sizes.max_steps > MAX_STEPS:
        problems.append(f"a program of {sizes.max_steps} steps: at most {MAX_STEPS} are possible")
    if acc.linear.t_in & (acc.linear.t_in - 1):
        problems.append(f"linear.t_in={acc.linear.t_in} must be a power of two")
    problems += [f"{name}: no words" for name, words in sizes.memories().items() if words < 1]
    if problems:
        raise HwmoeError("the machine: " + "; ".join(problems))


def _memories(acc: AcceleratorConfig, sizes: MachineSizes) -> list[_Memory]:
    """In the order of the bits of a fault."""
    lanes, t_epi, units = acc.linear.t_in, acc.linear.t_epi, len(acc.linears)
    return [
        _Memory(
            "act8", 8, lanes, acc.act8_grain, sizes.act8_words, readers=units, writers=3 + units
        ),
        _Memory("heads", 8, lanes, t_epi, sizes.heads_words, readers=2, writers=units),
        _Memory("res", 16, lanes, lanes, sizes.res_words, readers=3, writers=2),
        _Memory("y", 16, lanes, t_epi, sizes.y_words, readers=3, writers=units),
    ]


def _engines(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, object]:
    isa = instruction_set()
    memories = _memories(acc, sizes)
    engines = []
    for number, name in enumerate(acc.engines):
        own = [format_ for format_ in isa.formats.values() if format_.engine == name]
        bits = max(low + width for format_ in own for low, width in format_.layout.values())
        engines.append({"number": number, "name": name, "bits": bits})
    return {
        "linears": list(acc.linears),
        "units": _units(acc),
        "list_ports": _LISTS,
        "weight_ports": [*_WEIGHT_COMMAND, ("w_data", acc.ports.port_bits * acc.ports.w_ports)],
        "param_ports": [*_PARAM_COMMAND, ("p_data", acc.ports.port_bits)],
        "lanes": acc.linear.t_in,
        "port_bits": acc.ports.port_bits,
        "w_bits": acc.ports.port_bits * acc.ports.w_ports,
        "engines": engines,
        "queue": QUEUE_DEPTH,
        "memories": memories,
        **{memory.name: memory for memory in memories},
        "common": {name: isa.formats["loop"].lowest[name] for name in isa.common},
        "load": isa.formats["load_const"].lowest,
        "load_const": isa.formats["load_const"].opcode,
        "store": isa.formats["store"].lowest,
        "store_res": isa.spaces["res"],
    }


def _units(acc: AcceleratorConfig) -> list[dict[str, object]]:
    """Linear engines with their places among those who read and write the memories."""
    return [
        {
            "name": name,
            "number": acc.engines.index(name),
            "reader": reader,
            "act8_writer": (1, 4)[reader],  # 0 load, 2 attention, 3 vector
        }
        for reader, name in enumerate(acc.linears)
    ]


def _ports(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, object]:
    return {
        "engines": acc.engines,
        "units": len(acc.linears),
        "param_channels": (1, 4)[: len(acc.linears)],  # of gmem
        "param_ports": [
            *(("pc_" + name, "c_" + name, bits) for name, bits in _CHANNEL_COMMAND),
            *(("p_" + name, "s_" + name, bits) for name, bits in _CHANNEL_DATA),
        ],
        "port_bits": acc.ports.port_bits,
        "w_ports": [f"m_axi_w{port}" for port in range(acc.ports.w_ports)],
        "max_steps": sizes.max_steps,
        "format_version": FORMAT,
        "digest": f"{configuration_digest(acc, sizes):08x}",
        "lite": _LITE,
        "gmem": (*_WRITES, *_READS),
        "reads": _READS,
    }
