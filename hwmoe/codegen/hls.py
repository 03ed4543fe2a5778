"""The HLS C++ project of one accelerator (templates/hls): sizes, commands and tables rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hwmoe.codegen.render import fixed, render
from hwmoe.plan import packing
from hwmoe.plan.accelerator import MAX_NORM_DIM, AcceleratorConfig
from hwmoe.plan.isa import Format, Layout, instruction_set
from hwmoe.plan.packing import ceil_div
from hwmoe.plan.program import QUEUE_DEPTH, MachineSizes
from hwmoe.quant.numerics import EXP7, EXP15, SHIFTS, IntArray

TOP_SOURCES = (
    "hwmoe_linear.cpp",
    "hwmoe_attention.cpp",
    "hwmoe_vector.cpp",
    "hwmoe_transfer.cpp",
    "hwmoe_linear_step.cpp",
    "hwmoe_attention_step.cpp",
    "hwmoe_execute.cpp",
    "hwmoe_fetch.cpp",
    "hwmoe_top.cpp",
)
"""What Vitis synthesizes; a kernel alone needs only its own file."""

CSIM_SOURCES = (*TOP_SOURCES, "csim/hwmoe_csim.cpp")
"""What g++ compiles, with the folder `csim` on the include path."""

_RENDERED = ("hwmoe_types.hpp", "hwmoe_top.cpp")
_HEADERS = (
    "hwmoe_numerics.hpp",
    "hwmoe_ports.hpp",
    "hwmoe_linear.hpp",
    "hwmoe_attention.hpp",
    "hwmoe_vector.hpp",
    "hwmoe_transfer.hpp",
    "hwmoe_steps.hpp",
    "hwmoe_engines.hpp",
    "hwmoe_execute.hpp",
    "hwmoe_fetch.hpp",
    "hwmoe_top.hpp",
    "csim/hls_stream.h",
    "csim/hwmoe_csim.hpp",
)

_ACC_DISTANCE = 4  # cycles in which an accumulator is read, added to and written
_FIRST_POINTER, _POINTER_BYTES = 0x10, 12  # of the register map
_SATURATIONS = 0x4000


def hls_files(acc: AcceleratorConfig, sizes: MachineSizes, offsets: bool = True) -> dict[str, str]:
    """File name -> text of the project; names in `csim/` are for g++ alone.

    offsets: registers lie where the register map says. Not to be asked for in the flow for cards,
    in which Vitis places them (UG1399, S_AXILITE Offset Option).
    """
    context = _context(acc, sizes) | {"offsets": offsets}
    files = {name: render(f"hls/{name}.j2", **context) for name in _RENDERED}
    for name in (*_HEADERS, *CSIM_SOURCES):
        if name not in files:
            files[name] = fixed(f"hls/{name}")
    return dict(sorted(files.items()))


def trace_spaces() -> dict[str, int]:
    """Memories and their numbers in records of the C simulation: those of `space`, and lists."""
    spaces = instruction_set().spaces
    return {**spaces, "lists": len(spaces)}


def _context(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, Any]:
    isa = instruction_set()
    loop = isa.formats["loop"]
    return {
        "sizes": [_size(*row) for row in _sizes(acc, sizes)],
        "scalars": [dict(zip(("name", "native", "exact", "doc"), s, strict=True)) for s in SCALARS],
        "commands": [
            _command("linear_cmd_t", packing.LINEAR_COMMAND),
            _command("attention_cmd_t", packing.ATTENTION_COMMAND),
        ],
        "flags": [
            {"name": f"FLAG_{name.upper()}", "mask": 1 << bit}
            for bit, name in enumerate(packing.LINEAR_FLAGS)
        ],
        "units": list(acc.linears.values()),
        "w_ports": range(acc.ports.w_ports),
        "pointers": _pointers(acc.ports.w_ports),
        "n_images_offset": hex(_FIRST_POINTER + _POINTER_BYTES * (4 + acc.ports.w_ports)),
        "saturations_offset": hex(_SATURATIONS),
        "instruction_words": isa.words,
        "engines": [
            {"name": f"ENGINE_{name.upper()}", "value": number, "word": name}
            for number, name in enumerate(acc.engines)
        ],
        "list_modes": _values("LIST_", isa.list_modes),
        "spaces": _values("SPACE_", trace_spaces()),
        "instructions": [_instruction(f, acc.engines) for f in isa.formats.values()],
        "decoded": [
            _decoder("common", "What all instructions have.", isa.common, loop.layout),
            *(_decoder(f.name, f.doc, f.fields, f.layout) for f in isa.formats.values()),
        ],
        "tokens_bit": loop.layout["tokens_0"][0],
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


def _sizes(acc: AcceleratorConfig, sizes: MachineSizes) -> Iterable[tuple[str, int, str]]:
    lin, att = acc.linear, acc.attention
    t_out = max(cfg.t_out for cfg in acc.linears.values())
    x_words = sum(cfg.x_words for cfg in acc.linears.values())
    dim = min(MAX_NORM_DIM, acc.layernorm.lanes * acc.layernorm.max_tiles)
    return (
        ("T_IN", lin.t_in, "input channels a word and a cycle"),
        ("T_OUT", t_out, "output channels a cycle"),
        ("T_TOK", lin.t_tok, "tokens a cycle"),
        ("T_EPI", lin.t_epi, "output channels a beat of results"),
        ("W_ROWS", lin.w_rows, "output channels a beat of int8 weights; 4 times as many ternary"),
        ("W_LANES", lin.t_in * lin.w_rows, "bytes a beat of weights"),
        ("WORD_CHUNKS", lin.t_in // lin.t_epi, "chunks of T_EPI channels a word"),
        ("TILE_CHUNKS", t_out // lin.t_epi, "chunks of an output tile, at most"),
        ("MAX_LIST", lin.max_tokens, "listed tokens of one command"),
        ("GROUPS", ceil_div(lin.max_tokens, lin.t_tok), "groups of T_TOK listed tokens"),
        ("X_WORDS", x_words, "words of the linear kernel's activation memory"),
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
        ("WORD_PARTS", lin.t_in // (att.head_units * att.dim_lanes), "beats of queries a word"),
        ("PORT_BYTES", acc.ports.port_bits // 8, "bytes a beat of a memory port"),
        ("TABLE_BYTES", 256, "bytes of a GELU table"),
        ("ACT8_WORDS", sizes.act8_words, "words of int8: inputs of the linear kernel"),
        ("HEADS_WORDS", sizes.heads_words, "words of int8: queries, keys and values"),
        ("RES_WORDS", sizes.res_words, "words of int16: residuals"),
        ("Y_WORDS", sizes.y_words, "words of int16: wide results"),
        ("SLOTS", sizes.slots, "tables of token lists"),
        ("QUEUE_DEPTH", QUEUE_DEPTH, "instructions that wait in front of an engine"),
        ("MAX_STEPS", sizes.max_steps, "instructions of a program"),
        ("MAX_TOKENS", sizes.max_tokens, "tokens of an image"),
        ("MAX_DIM", dim, "channels of a token"),
        ("NORM_WORDS", ceil_div(dim, lin.t_in), "words of a token"),
        ("MAX_EXPERTS", sizes.max_experts, "experts of a layer"),
        ("MAX_TOP_K", acc.gate.max_k, "experts of a token"),
        ("MAX_SCORES", int(acc.gate.all_scores), "1: the gate's softmax may run over all experts"),
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


def _instruction(format_: Format, engines: Iterable[str]) -> dict[str, Any]:
    return {
        "opcode_name": f"OP_{format_.name.upper()}",
        "opcode": format_.opcode,
        "engine": f"ENGINE_{format_.engine.upper()}" if format_.engine in engines else "",
    }


def _decoder(name: str, doc: str, fields: Iterable[str], layout: Layout) -> dict[str, Any]:
    placed = [{"name": f, "lowest": layout[f][0], "bits": layout[f][1]} for f in fields]
    return {"name": name, "doc": doc, "fields": placed}


def _pointers(w_ports: int) -> list[dict[str, str]]:
    """Arguments that point to memory, in the order of their registers."""
    bundles = dict.fromkeys(("program", "params", "images", "results"), "gmem")
    bundles |= {f"weights_{p}": f"w{p}" for p in range(w_ports)}
    return [
        {"name": name, "bundle": bundle, "offset": hex(_FIRST_POINTER + _POINTER_BYTES * i)}
        for i, (name, bundle) in enumerate(bundles.items())
    ]


def _table(name: str, type_: str, values: IntArray, doc: str) -> dict[str, Any]:
    rows = [", ".join(str(int(v)) for v in values[i : i + 16]) for i in range(0, len(values), 16)]
    return {"name": name, "type": type_, "rows": rows, "doc": doc}
