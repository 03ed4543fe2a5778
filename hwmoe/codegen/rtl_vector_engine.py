"""SystemVerilog of the vector engine: LayerNorm, add and gate on the machine's memories."""

from __future__ import annotations

from typing import Protocol

from hwmoe.codegen.render import render, sources
from hwmoe.codegen.rtl_gate import gate_rtl
from hwmoe.codegen.rtl_layernorm import layernorm_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import MAX_NORM_DIM, AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import log2_ceil

TOP = "hwmoe_vector_engine"
PREPARE = 3  # from go until a part of the engine starts: sums of fields, a list's length

_PRIMITIVES = ("hwmoe_adder_tree", "hwmoe_delay", "hwmoe_fifo", "hwmoe_ram_sdp")
_MODULES = (
    "hwmoe_gearbox",
    "hwmoe_router",
    "hwmoe_router_len",
    "hwmoe_router_list",
    "hwmoe_vector_add_lane",
    "hwmoe_vector_add_seq",
    "hwmoe_vector_feed",
    "hwmoe_vector_gate",
    "hwmoe_vector_norm",
    "hwmoe_vector_pack",
    "hwmoe_vector_walk",
)
_OPERATIONS = ("layernorm", "add", "gate")
_SMALL = 64  # memories up to this depth are distributed


class TableSizes(Protocol):
    """Sizes of the routing tables: `slots` tables of `max_experts` lists of `max_tokens` rows."""

    @property
    def slots(self) -> int: ...
    @property
    def max_experts(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...


def vector_engine_rtl(
    acc: AcceleratorConfig, sizes: TableSizes, banner: str = "Made by hwmoe."
) -> dict[str, str]:
    """File name -> text of `hwmoe_vector_engine` with every module it needs; same each time.

    HwmoeError for sizes that do not fit together.
    """
    _check(acc, sizes)
    files = layernorm_rtl(acc.layernorm, banner) | gate_rtl(acc.gate, banner)
    files |= sources("rtl/lib", _PRIMITIVES) | sources("rtl/machine", _MODULES)
    files["hwmoe_vector_add.sv"] = render("rtl/machine/hwmoe_vector_add.sv.j2", queues=_queues())
    files[f"{TOP}.sv"] = render(f"rtl/machine/{TOP}.sv.j2", **_sizes(acc, sizes), banner=banner)
    return files


def add_settle(lanes: int) -> int:
    """Cycles from a word's writing until its clipped lanes are counted."""
    return max(1, log2_ceil(lanes) - 1)


def _check(acc: AcceleratorConfig, sizes: TableSizes) -> None:
    lanes, part, port = acc.linear.t_in, acc.layernorm.lanes, acc.ports.port_bits
    beats = sorted((64 * part, port))
    ratio = beats[1] // beats[0]
    problems = []
    if lanes % part:
        problems.append(f"layernorm.lanes={part} must divide linear.t_in={lanes}")
    if beats[0] * ratio != beats[1] or ratio & (ratio - 1):
        problems.append(
            f"64*layernorm.lanes={64 * part} and ports.port_bits={port} must be a power"
            " of two apart"
        )
    if 64 * lanes % port:
        problems.append(f"64*linear.t_in={64 * lanes} must be a multiple of ports.port_bits={port}")
    if part % acc.act8_grain:
        problems.append(
            f"layernorm.lanes={part} must be a multiple of the parts of act8 words that"
            f" others write, {acc.act8_grain} lanes"
        )
    for name, value, most in (
        ("slots", sizes.slots, 16),
        ("max_experts", sizes.max_experts, 256),
        ("max_tokens", sizes.max_tokens, 1 << 16),
    ):
        if not 1 <= value <= most:
            problems.append(f"routing tables: {name}={value} must be 1 to {most}")
    if problems:
        raise HwmoeError("the vector engine: " + "; ".join(problems))


def _sizes(acc: AcceleratorConfig, sizes: TableSizes) -> dict[str, object]:
    """Everything the engine's template places."""
    mul, shift = _divide(acc.linear.t_in)
    expert_w = max(1, log2_ceil(sizes.max_experts))
    lists = sizes.slots << expert_w
    return {
        "lanes": acc.linear.t_in,
        "norm_lanes": acc.layernorm.lanes,
        "grain": acc.act8_grain,
        "port_bits": acc.ports.port_bits,
        "mul": mul,
        "shift": shift,
        "settle": add_settle(acc.linear.t_in),
        "units": len(acc.linears),
        "slots": sizes.slots,
        "expert_w": expert_w,
        "tokens": sizes.max_tokens,
        "row_w": max(1, log2_ceil(sizes.max_tokens)),
        "len_w": log2_ceil(sizes.max_tokens + 1),
        "len_block": int(lists > 4 * _SMALL),
        "list_block": int(lists * sizes.max_tokens > _SMALL),
        "constants": _constants(),
    }


def _divide(lanes: int) -> tuple[int, int]:
    """(mul, shift): n * mul >> shift is n // lanes for every n that LayerNorm can ask for."""
    if lanes & (lanes - 1) == 0:
        return 1, log2_ceil(lanes)
    most = MAX_NORM_DIM + lanes
    for shift in range(log2_ceil(lanes), 32):
        mul = -(-(1 << shift) // lanes)
        if all(n * mul >> shift == n // lanes for n in range(most)):
            return mul, shift
    raise AssertionError(f"no reciprocal of {lanes}")


def _constants() -> list[tuple[str, int]]:
    """Opcodes and the lowest bits of the fields that the engine reads."""
    isa = instruction_set()
    found = [("MODE_LISTED", isa.list_modes["listed"])]
    for op in _OPERATIONS:
        format_ = isa.formats[op]
        found.append((f"OP_{op.upper()}", format_.opcode))
        read = [name for name in format_.fields if name != "params"]  # the top asks for those
        found += [(f"F_{op.upper()}_{name.upper()}_LSB", format_.layout[name][0]) for name in read]
    return found


def _queues() -> list[tuple[str, str, str, str, str, str, str]]:
    """Queues of the adder: name, width, push, data, valid, pop, head."""
    return [
        ("i_term_addr", "16", "made", "made_term", "term_valid", "term_ready", "term_addr"),
        ("i_base_addr", "16", "made", "made_base", "base_valid", "base_ready", "base_addr"),
        ("i_term", "16 * LANES", "term_dvalid", "term_data", "term_here", "join_now", "term"),
        ("i_base", "16 * LANES", "base_dvalid", "base_data", "base_here", "join_now", "base_word"),
        ("i_rest", "32", "made", "{made_dst, made_score}", "", "join_now", "{dst_addr, score}"),
        (
            "i_out",
            "16 + 16 * LANES",
            "valid_5",
            "{dst_5, y_5}",
            "w_valid",
            "w_ready",
            "{w_addr, w_data}",
        ),
    ]
