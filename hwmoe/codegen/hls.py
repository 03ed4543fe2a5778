"""The HLS C++ project of one accelerator (templates/hls): sizes, commands and tables rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwmoe.codegen.render import environment, render
from hwmoe.errors import HwmoeError
from hwmoe.plan import packing
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import Format, instruction_set
from hwmoe.plan.packing import ceil_div
from hwmoe.plan.program import Program
from hwmoe.quant.numerics import EXP7, EXP15, SHIFTS, IntArray

TOP_SOURCES = (
    "hwmoe_linear.cpp",
    "hwmoe_attention.cpp",
    "hwmoe_vector.cpp",
    "hwmoe_linear_step.cpp",
    "hwmoe_attention_step.cpp",
    "hwmoe_top.cpp",
)
"""What Vitis synthesizes; a kernel alone needs only its own file."""

CSIM_SOURCES = (*TOP_SOURCES, "csim/hwmoe_csim.cpp")
"""What g++ compiles, with the folder `csim` on the include path."""

_HEADERS = (
    "hwmoe_numerics.hpp",
    "hwmoe_linear.hpp",
    "hwmoe_attention.hpp",
    "hwmoe_vector.hpp",
    "hwmoe_steps.hpp",
    "hwmoe_top.hpp",
    "csim/hls_stream.h",
    "csim/hwmoe_csim.hpp",
)

_ACC_DISTANCE = 4  # cycles in which an accumulator is read, added to and written


@dataclass(frozen=True)
class HlsLimits:
    """Sizes of the memories around the kernels: what the largest program needs.

    Words are of `t_in` lanes. `result_words` holds the result of any one kernel command.
    """

    act8_words: int
    act16_words: int
    result_words: int
    max_tokens: int
    max_dim: int
    max_experts: int = 1
    max_top_k: int = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise HwmoeError(f"HLS limits: {name} must be at least 1, not {value}")
        if self.max_dim > 1024 or self.max_tokens > 1024:
            raise HwmoeError("HLS limits: max_dim and max_tokens may be at most 1024")


def limits_of(program: Program) -> HlsLimits:
    """Memories just large enough for `program`."""
    lanes = program.accelerator.linear.t_in
    most: dict[str, int] = {}
    for step in program.steps:
        f = step.fields
        sizes = {name: f.get(name, 0) for name in ("n_tok", "dim", "experts", "top_k")}
        if step.kind == "linear":
            tiles = ceil_div(f["chunks"] * program.accelerator.linear.t_epi, lanes)
            sizes["result"] = tiles * max(f["n_tok"], f["n_list"])
        elif step.kind == "attention":
            channels = f["heads"] * f["dim_tiles"] * program.accelerator.attention.dim_lanes
            sizes["result"] = ceil_div(channels, lanes) * f["n_tok"]
        most = {name: max(size, most.get(name, 1)) for name, size in sizes.items()} | {
            name: size for name, size in most.items() if name not in sizes
        }
    return HlsLimits(
        act8_words=program.act8_words,
        act16_words=program.act16_words,
        result_words=most.get("result", 1),
        max_tokens=most["n_tok"],
        max_dim=most["dim"],
        max_experts=most["experts"],
        max_top_k=most["top_k"],
    )


def hls_files(acc: AcceleratorConfig, limits: HlsLimits) -> dict[str, str]:
    """File name -> text of the project; names in `csim/` are for g++ alone."""
    loader = environment().loader
    assert loader is not None
    files = {"hwmoe_types.hpp": render("hls/hwmoe_types.hpp.j2", **_context(acc, limits))}
    for name in (*_HEADERS, *CSIM_SOURCES):
        files[name] = loader.get_source(environment(), f"hls/{name}")[0]
    return dict(sorted(files.items()))


def _context(acc: AcceleratorConfig, limits: HlsLimits) -> dict[str, Any]:
    isa = instruction_set()
    return {
        "sizes": [_size(*row) for row in _sizes(acc, limits)],
        "scalars": [dict(zip(("name", "native", "exact", "doc"), s, strict=True)) for s in SCALARS],
        "commands": [
            _command("linear_cmd_t", packing.LINEAR_COMMAND),
            _command("attention_cmd_t", packing.ATTENTION_COMMAND),
        ],
        "flags": [
            {"name": f"FLAG_{name.upper()}", "mask": 1 << bit}
            for bit, name in enumerate(packing.LINEAR_FLAGS)
        ],
        "instruction_words": isa.words,
        "list_modes": _values("LIST_", isa.list_modes),
        "instructions": [_instruction(f) for f in isa.formats.values()],
        "tables": [
            _table("EXP7", "uint8_t", EXP7, "round(127 * exp(-i / 46))"),
            _table("EXP15", "uint16_t", EXP15, "round(32767 * exp(-i / 32))"),
        ],
    }


# name, type in a fast C simulation, type in hardware, documentation
SCALARS = (
    ("operand_t", "int32_t", "ap_int<8>", "a weight or an activation at a multiplier"),
    ("acc_t", "int32_t", "ap_int<27>", "an accumulator"),
    ("mult_t", "int32_t", "ap_int<18>", "a multiplier, not negative"),
    ("prod_t", "int64_t", "ap_int<46>", "acc_t * mult_t, and one bit for rounding"),
    ("factor_t", "int64_t", "ap_int<27>", "an acc_t that is to be multiplied: exact products"),
    ("prob_t", "int32_t", "ap_int<8>", "a probability of 7 bits"),
    ("gain_t", "int32_t", "ap_int<18>", "a gain of LayerNorm"),
    ("square_t", "int64_t", "ap_uint<41>", "a sum of 1024 squares; epsilon"),
    ("dim_t", "int64_t", "ap_uint<11>", "channels of LayerNorm, up to 1024"),
    ("var_t", "int64_t", "ap_int<54>", "dim * squares"),
    ("root_t", "int32_t", "ap_uint<17>", "2^31 // q"),
    ("norm_t", "int32_t", "ap_int<16>", "a normalized value with 10 fraction bits"),
)


def _sizes(acc: AcceleratorConfig, limits: HlsLimits) -> Iterable[tuple[str, int, str]]:
    lin, att = acc.linear, acc.attention
    return (
        ("T_IN", lin.t_in, "input channels a word and a cycle"),
        ("T_OUT", lin.t_out, "output channels a cycle"),
        ("T_TOK", lin.t_tok, "tokens a cycle"),
        ("T_EPI", lin.t_epi, "output channels a beat of results"),
        ("W_ROWS", lin.w_rows, "output channels a beat of int8 weights; 4 times as many ternary"),
        ("W_LANES", lin.t_in * lin.w_rows, "bytes a beat of weights"),
        ("WEIGHT_BEATS", lin.t_out // lin.w_rows, "beats a tile of int8 weights"),
        ("TERNARY_BEATS", lin.t_out // (4 * lin.w_rows), "beats a tile of ternary weights"),
        ("TILE_CHUNKS", lin.t_out // lin.t_epi, "chunks of T_EPI channels an output tile"),
        ("WORD_CHUNKS", lin.t_in // lin.t_epi, "chunks of T_EPI channels a word"),
        ("MAX_LIST", lin.max_tokens, "listed tokens of one command"),
        ("GROUPS", ceil_div(lin.max_tokens, lin.t_tok), "groups of T_TOK listed tokens"),
        ("X_WORDS", lin.x_words, "words of the linear kernel's activation memory"),
        ("X_COPIES", ceil_div(lin.t_tok, 2), "copies of it: two ports each"),
        ("ACC_DISTANCE", _ACC_DISTANCE, "cycles until an accumulator may be read again"),
        ("SHIFT_BASE", SHIFTS[0], "the least shift of a rescaling"),
        ("SHIFT_STEP", SHIFTS[1] - SHIFTS[0], "from one of the four shifts to the next"),
        ("ROWS", att.rows, "query rows held by the attention kernel"),
        ("DIM_LANES", att.dim_lanes, "head dimensions a beat"),
        ("HEAD_UNITS", att.head_units, "heads side by side"),
        ("HEAD_LANES", att.head_units * att.dim_lanes, "bytes a beat of queries"),
        ("MAX_KEYS", att.max_tokens, "tokens of one attention"),
        ("KEY_GROUPS", ceil_div(att.max_tokens, att.rows), "groups of ROWS query rows"),
        ("MAX_DIM_TILES", att.max_dim_tiles, "head dimension / DIM_LANES"),
        ("WORD_PARTS", lin.t_in // att.dim_lanes, "tiles of a head a word"),
        ("ACT8_WORDS", limits.act8_words, "words of the int8 activation memory"),
        ("ACT16_WORDS", limits.act16_words, "words of the int16 activation memory"),
        ("RESULT_WORDS", limits.result_words, "words of one command's result"),
        ("MAX_TOKENS", limits.max_tokens, "tokens of an image"),
        ("MAX_DIM", limits.max_dim, "channels of a token"),
        ("NORM_WORDS", ceil_div(limits.max_dim, lin.t_in), "words of a token"),
        ("MAX_EXPERTS", limits.max_experts, "experts of a layer"),
        ("MAX_TOP_K", limits.max_top_k, "experts of a token"),
    )


def _size(name: str, value: int, doc: str) -> dict[str, Any]:
    return {"name": name, "value": value, "doc": doc}


def _values(prefix: str, values: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": prefix + name.upper(), "value": value} for name, value in values.items()]


def _command(name: str, fields: Iterable[tuple[str, int]]) -> dict[str, Any]:
    return {
        "name": name,
        "fields": [{"name": field, "type": f"uint{bits}_t"} for field, bits in fields],
    }


def _instruction(format_: Format) -> dict[str, Any]:
    return {
        "name": format_.name,
        "opcode_name": f"OP_{format_.name.upper()}",
        "opcode": format_.opcode,
        "doc": format_.doc,
        "fields": format_.fields,
    }


def _table(name: str, type_: str, values: IntArray, doc: str) -> dict[str, Any]:
    rows = [", ".join(str(int(v)) for v in values[i : i + 16]) for i in range(0, len(values), 16)]
    return {"name": name, "type": type_, "rows": rows, "doc": doc}
