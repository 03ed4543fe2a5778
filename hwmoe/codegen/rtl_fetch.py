"""SystemVerilog of FETCH: the instruction set's positions and the machine's limits, placed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hwmoe.codegen.render import render, sources
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.image import RESULT_ALIGN
from hwmoe.plan.isa import InstructionSet, Layout, instruction_set
from hwmoe.plan.packing import log2_ceil
from hwmoe.plan.program import MachineSizes

TOP = "hwmoe_fetch"
INSTRUCTION_BITS = 512
MAX_STEPS = 1 << 16  # a step has 16 bits, and 16'hffff means none
SMALLEST_PORT = 64  # the task of an image and half an address
_ADDRESS, _FIELD = "bad_address", "bad_field"  # flags of the rendered module


@dataclass(frozen=True)
class _Check:
    """`wrong`, an expression of the fields of `instr`, sets `flag`."""

    wrong: str
    flag: str


def fetch_rtl(acc: AcceleratorConfig, sizes: MachineSizes, banner: str) -> dict[str, str]:
    """File name -> text of `hwmoe_fetch` with every module it needs.

    HwmoeError if it cannot work with the widths of `acc`.
    """
    _check(acc, sizes)
    files = sources("rtl/machine", ("hwmoe_fetch_images", "hwmoe_fetch_reads"))
    isa = instruction_set()
    common = {name: isa.formats["loop"].lowest[name] for name in isa.common}
    files["hwmoe_fetch_check.sv"] = render(
        "rtl/machine/hwmoe_fetch_check.sv.j2",
        banner=banner,
        common=common,
        engines=len(acc.engines),
        formats=_formats(isa, acc, sizes),
    )
    files[f"{TOP}.sv"] = render(f"rtl/machine/{TOP}.sv.j2", **_context(acc, sizes), banner=banner)
    return files


def _check(acc: AcceleratorConfig, sizes: MachineSizes) -> None:
    port, problems = acc.ports.port_bits, []
    if not SMALLEST_PORT <= port <= INSTRUCTION_BITS or port & (port - 1):
        problems.append(
            f"ports.port_bits={port} must be a power of two from {SMALLEST_PORT} to"
            f" {INSTRUCTION_BITS}, the bits of an instruction"
        )
    if not 1 <= sizes.max_steps < MAX_STEPS:
        problems.append(f"a program of {sizes.max_steps} steps: 1 to {MAX_STEPS - 1} are possible")
    if problems:
        raise HwmoeError("FETCH: " + "; ".join(problems))


def _context(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, object]:
    isa = instruction_set()
    lanes, port = acc.linear.t_in, acc.ports.port_bits
    loop = isa.formats["loop"].lowest
    return {
        "engines": len(acc.engines),
        "port_bits": port,
        "beats": INSTRUCTION_BITS // port,
        "beat_bits": log2_ceil(port // 8),
        "lanes": lanes,
        "lane_bits": log2_ceil(lanes),
        "ln_shift": log2_ceil(64 * lanes // port),
        "max_steps": sizes.max_steps,
        "ops": {name: format_.opcode for name, format_ in isa.formats.items()},
        "common": {name: loop[name] for name in isa.common},
        "loop": loop | {"tokens": loop["tokens_0"]},
        "layernorm": isa.formats["layernorm"].lowest,
    }


def _formats(
    isa: InstructionSet, acc: AcceleratorConfig, sizes: MachineSizes
) -> list[dict[str, object]]:
    """Instructions of a body with their checks; `engine` has the bit of its engine."""
    checks = {
        name: [
            _Check(_above(isa.formats[name].layout, sum_, most), flag) for sum_, most, flag in own
        ]
        for name, own in _limits(isa, sizes, acc.gate.all_scores).items()
    }
    checks["store"] = _store_checks(isa, acc.linear.t_in, sizes)
    return [
        {
            "name": name,
            "opcode": format_.opcode,
            "engine": 1 << isa.engines.index(format_.engine),
            "checks": checks[name],
        }
        for name, format_ in isa.formats.items()
        if format_.engine in acc.engines
    ]


Limit = tuple[Iterable[tuple[str, int]], int, str]
"""Fields, each shifted left by some bits; the largest sum of them; what a larger one is."""


def _limits(
    isa: InstructionSet, sizes: MachineSizes, all_scores: bool
) -> Mapping[str, list[Limit]]:
    """What is known of the fields of an instruction by itself, stores aside.

    Only loads say how far they reach; of the others the memories notice the rest.
    """

    def first(field: str, words: int) -> Limit:
        return [(field, 0)], words - 1, _ADDRESS

    def most(field: str, value: int) -> Limit:
        return [(field, 0)], value, _FIELD

    act8, heads = sizes.act8_words, sizes.heads_words
    res, y, tokens = sizes.res_words, sizes.y_words, sizes.max_tokens
    slot, expert = most("slot", sizes.slots - 1), most("expert", sizes.max_experts - 1)
    linear = [
        first("src", act8),
        first("dst", max(act8, heads, y)),
        most("n_tok", tokens),
        most("space", isa.spaces["y"]),
        slot,
        expert,
    ]
    return {
        "load_image": [([("dst", 0), ("words", 0)], act8, _ADDRESS)],
        "load_const": [([("dst", 0), ("words", 0)], res, _ADDRESS)],
        "layernorm": [first("src", res), first("dst", act8), most("n_tok", tokens)],
        "linear": linear,
        "expert": linear,
        "attention": [
            *(first(name, heads) for name in "qkv"),
            first("dst", act8),
            most("n_tok", tokens),
        ],
        "add": [
            first("dst", res),
            first("base", res),
            first("src", y),
            most("n_tok", tokens),
            slot,
            expert,
        ],
        "gate": [
            first("src", y),
            most("n_tok", tokens),
            most("experts", sizes.max_experts),
            most("scores", int(all_scores)),
            slot,
        ],
    }


def _store_checks(isa: InstructionSet, lanes: int, sizes: MachineSizes) -> list[_Check]:
    """A store stays within the memory that it names, and within the results of its image."""
    layout, spaces, shift = isa.formats["store"].layout, isa.spaces, log2_ceil(lanes)
    space, last, offset = (_field(layout, name) for name in ("space", "last", "offset"))
    reach = (("src", shift), ("n_out", 0))
    checks = [
        _Check(
            f"{space} == 8'd{spaces[name]} && " + _above(layout, reach, sizes.words(name) << shift),
            _ADDRESS,
        )
        for name in ("y", "res")
    ]
    wrong = (
        " && ".join(f"{space} != 8'd{spaces[name]}" for name in ("y", "res")),
        f"{last} > 8'd1",
        f"({offset} & 32'd{RESULT_ALIGN - 1}) != '0",
        _above(layout, (("offset", 0), ("n_out", 1)), "(logit_bytes)"),
    )
    return [*checks, *(_Check(one, _FIELD) for one in wrong)]


def _above(layout: Layout, terms: Iterable[tuple[str, int]], limit: int | str) -> str:
    """The sum of fields is above a number or a signal, in 44 bits."""
    return f"{_sum(layout, terms)} > 44'{limit if isinstance(limit, str) else f'd{limit}'}"


def _field(layout: Layout, name: str) -> str:
    low, bits = layout[name]
    return f"instr[{low}+:{bits}]"


def _sum(layout: Layout, terms: Iterable[tuple[str, int]]) -> str:
    parts = []
    for name, shift in terms:
        moved = f" << {shift}" if shift else ""
        parts.append(f"(44'({_field(layout, name)}){moved})")
    return " + ".join(parts)
