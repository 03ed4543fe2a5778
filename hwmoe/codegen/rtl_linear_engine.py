"""The linear engine of the machine as SystemVerilog (docs/machine.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwmoe.codegen.render import render, sources
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import LINEAR_COMMAND, LINEAR_FLAGS
from hwmoe.quant.numerics import FORMAT

TOP = "hwmoe_linear_engine"
FRONT = "hwmoe_linear_front"
MODULES = (
    "hwmoe_gearbox",
    "hwmoe_linear_collect",
    "hwmoe_linear_dispatch",
    "hwmoe_linear_hunger",
    "hwmoe_linear_listfeed",
    "hwmoe_linear_param_request",
    "hwmoe_linear_params",
    "hwmoe_linear_prefetch",
    "hwmoe_linear_split",
    "hwmoe_linear_weight_request",
    "hwmoe_linear_window",
    "hwmoe_linear_xfeed",
)

QUEUE = 4  # commands of the kernel and the feeders; twice as many of the collector
REQUESTS = 8  # of the parameter channel under way
ROOM = 16  # words read and not yet taken by the kernel: above the round trip of a read
MAX_WORDS = 1 << 16  # of an activation memory: addresses have 16 bits
TABLE_BITS = 2048

# What an instruction is besides its rows and tokens: field, bits that count here.
_CARRIED = {
    "after": 8,
    "src": 16,
    "dst": 16,
    "weights": 32,
    "params": 32,
    "table": 32,
    "in_tiles": 16,
    "out_tiles": 16,
    "chunks": 16,
    "x_base": 16,
    "shift": 8,
    "space": 2,
    "expert": 8,
    "slot": 4,
}
_REQUESTS = ("weights", "params", "table")  # of no use after the requests
_SETTLED = {"used": 1, "gather": 1, "n_tok": 16, "n_list": 16}  # known after them


@dataclass(frozen=True)
class _Field:
    """`source`: what the first stage takes it from."""

    name: str
    bits: int
    source: str = ""


def linear_engine_rtl(acc: AcceleratorConfig, sizes: Mapping[str, int]) -> dict[str, str]:
    """File name -> text of `hwmoe_linear_engine` with every module it needs, the kernel too; with
    an expert engine, `hwmoe_expert_engine` as well.

    `sizes`: words of the memories it addresses, by name. `HwmoeError` if they or the widths of
    `acc` do not fit the engine.
    """
    _check(acc, sizes)
    files = sources("rtl/machine", MODULES) | sources("rtl/layernorm", ["hwmoe_norm_credit"])
    for engine, cfg in acc.linears.items():
        files |= linear_rtl(cfg, engine)
        for name in (TOP, FRONT):
            text = render(f"rtl/machine/{name}.sv.j2", **_context(acc, engine, cfg))
            files[f"{name.replace('linear', engine)}.sv"] = text
    return dict(sorted(files.items()))


def _check(acc: AcceleratorConfig, sizes: Mapping[str, int]) -> None:
    problems = [
        f"{name}={words} is more than the {MAX_WORDS} words that an address reaches"
        for name, words in sizes.items()
        if words > MAX_WORDS
    ]
    cfg, port, grain = acc.linear, acc.ports.port_bits, acc.act8_grain
    if port & (port - 1):
        problems.append(f"port_bits={port} must be a power of two")
    if cfg.t_epi & (cfg.t_epi - 1):
        problems.append(f"t_epi={cfg.t_epi} must be a power of two")
    if cfg.t_epi % grain:
        problems.append(f"the act8 grain of {grain} lanes must divide t_epi={cfg.t_epi}")
    if problems:
        raise HwmoeError("; ".join(problems))


def _context(acc: AcceleratorConfig, engine: str, cfg: LinearConfig) -> dict[str, object]:
    """Everything the two templates place."""
    isa = instruction_set()
    layout = isa.formats[engine].layout
    fields = [_Field("step", 16, "i_step")]
    fields.append(_Field("signal", len(acc.engines), _slice(layout["signal"][0], len(acc.engines))))
    for name, bits in _CARRIED.items():
        fields.append(_Field(name, bits, _slice(layout[name][0], bits)))
    for bit, name in enumerate(LINEAR_FLAGS):
        if name == "ternary" and engine == "expert":
            fields.append(_Field(name, 1, "1'b1"))  # it has no others
        elif name != "gather":  # the list mode says it
            fields.append(_Field(name, 1, f"i_instr[{layout['flags'][0] + bit}]"))
    dispatched = [field for field in fields if field.name not in _REQUESTS]
    dispatched += [_Field(name, bits) for name, bits in _SETTLED.items()]
    return {
        "unit": engine,
        "kernel": f"hwmoe_{engine}",
        "engines": len(acc.engines),
        "banner": f"Rendered by hwmoe, number format {FORMAT}.",
        "c": cfg,
        "parts": cfg.t_in // cfg.t_epi,
        "grain": acc.act8_grain,
        "w_bits": 8 * cfg.t_in * cfg.w_rows,
        "port_bits": acc.ports.port_bits,
        "param_bits": 64 * cfg.t_epi,
        "ternary_beats": cfg.t_out // (4 * cfg.w_rows),
        "fields": fields,
        "dispatched": dispatched,
        "common": {name: layout[name][0] for name in ("wait", "list_mode", "n_tok", "n_list")},
        "list_modes": isa.list_modes,
        "command": _command(),
        "streams": _streams(cfg),
        "queue": QUEUE,
        "requests": REQUESTS,
        "room": ROOM,
    }


def _slice(low: int, bits: int) -> str:
    return f"i_instr[{low}+:{bits}]"


def _command() -> list[str]:
    """The kernel's command from the highest bit down."""
    terms = []
    for name, bits in reversed(LINEAR_COMMAND):
        if name == "unit":
            terms.append(f"{bits}'b0")
        elif name == "flags":
            terms.append(f"{bits - len(LINEAR_FLAGS)}'b0")
            terms += [f"go_{flag}" for flag in reversed(LINEAR_FLAGS)]
        else:
            terms.append(f"go_{name}")
    return terms


def _streams(cfg: LinearConfig) -> list[tuple[str, int]]:
    """The kernel's ports: name, bits."""
    return [
        ("cmd", 128),
        ("x", 8 * cfg.t_in),
        ("list", 16),
        ("table", 8),
        ("w", 8 * cfg.t_in * cfg.w_rows),
        ("p", 64 * cfg.t_epi),
        ("y", 16 * cfg.t_epi),
        ("status", 32),
    ]
