"""The linear kernel as SystemVerilog (docs/kernels.md): numbers computed here, placed there."""

from __future__ import annotations

from dataclasses import dataclass

from hwmoe.codegen.render import render, sources
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.plan.packing import LINEAR_COMMAND, LINEAR_FLAGS, ceil_div, log2_ceil
from hwmoe.quant.numerics import FORMAT

LINEAR_LIBRARY = (
    "hwmoe_acc_bank",
    "hwmoe_adder_tree",
    "hwmoe_delay",
    "hwmoe_fifo",
    "hwmoe_linear_drain",
    "hwmoe_linear_epilogue",
    "hwmoe_linear_lane",
    "hwmoe_linear_loader",
    "hwmoe_linear_sequencer",
    "hwmoe_linear_weights",
    "hwmoe_ram_sdp",
    "hwmoe_requant",
    "hwmoe_skid",
    "hwmoe_table",
)

DSP_LIBRARY = (  # not hwmoe_dsp48e2_model: synthesis has the primitive
    "hwmoe_dot_cascade",
    "hwmoe_dot_pairs",
    "hwmoe_dot_pulse",
    "hwmoe_dot_ring",
    "hwmoe_dot_skew",
    "hwmoe_dot_twin",
)
LUT_LIBRARY = (
    "hwmoe_dot_ternary",
    "hwmoe_ternary_add3",
    "hwmoe_ternary_carry",
    "hwmoe_ternary_pair",
    "hwmoe_ternary_tree",
    "hwmoe_ternary_twin",
)
CHAIN = 16  # taps of the longest chain of DSPs whose sums fit (docs/dsp.md)

BLOCK_RAM_FROM = 65  # words; a shallower memory costs less as distributed RAM
GET_LATENCY = 4  # cycles from the read of an accumulator to the joined word (hwmoe_acc_bank + 1)
EPILOGUE_LATENCY = GET_LATENCY + 8  # to the output register (hwmoe_linear_epilogue)
ROOM = 32  # places in the output FIFO: more than the epilogue's round trip
PARAMS = 8  # parameter beats waiting: more than their way to the bias adder


def mac_taps(cfg: LinearConfig) -> int:
    """DSPs of a chain."""
    return ceil_div(cfg.t_in, ceil_div(cfg.t_in, CHAIN))


def mac_latency(cfg: LinearConfig, engine: str = "linear") -> int:
    """Cycles from an activation to its sum (hwmoe_dot_pairs, hwmoe_dot_ternary)."""
    if engine == "expert":
        return ternary_latency(cfg.t_in)
    return mac_taps(cfg) + 4 + log2_ceil(ceil_div(cfg.t_in, CHAIN))


def ternary_latency(t_in: int) -> int:
    """Two registers in front, pairs of inputs, then adders of three until one term is left."""
    levels, terms = 0, t_in // 2
    while terms > 1:
        levels, terms = levels + 1, ceil_div(terms, 3)
    return 3 + levels


def flush_cycles(cfg: LinearConfig) -> int:
    """What the drain waits after a command's last read: data and clip count have arrived."""
    return max(EPILOGUE_LATENCY, EPILOGUE_LATENCY - 2 + log2_ceil(cfg.t_epi))


@dataclass(frozen=True)
class _Port:
    name: str
    bits: int
    forward: str
    backward: str
    waived: str = ""


@dataclass(frozen=True)
class _Field:
    """Bits of the command; `source` is what a queue takes them from."""

    name: str
    bits: int
    low: int

    @property
    def source(self) -> str:
        return f"{self.name}[{self.bits - 1}:0]" if self.bits > 1 else self.name


@dataclass(frozen=True)
class _Queue:
    name: str
    fields: tuple[_Field, ...]

    @property
    def bits(self) -> int:
        return sum(field.bits for field in self.fields)


def linear_rtl(cfg: LinearConfig, engine: str = "linear") -> dict[str, str]:
    """SystemVerilog of the kernel for one configuration: file name -> text.

    Its top is `hwmoe_linear`, or `hwmoe_expert` of the engine for ternary weights.
    """
    files = sources("rtl/lib", LINEAR_LIBRARY) | sources("rtl/dsp", DSP_LIBRARY)
    files |= sources("rtl/lut", LUT_LIBRARY)
    files[f"hwmoe_{engine}.sv"] = render("rtl/hwmoe_linear.sv.j2", **_context(cfg, engine))
    return dict(sorted(files.items()))


def _context(cfg: LinearConfig, engine: str) -> dict[str, object]:
    groups = ceil_div(cfg.max_tokens, cfg.t_tok)
    x_bits = max(1, log2_ceil(cfg.x_words))
    sizes = ", ".join(f"{name}={value}" for name, value in cfg.model_dump().items())
    slices = [("cmd", 128), ("x", 8 * cfg.t_in), ("list", x_bits), ("table", 8)]
    return {
        "banner": f"Rendered by hwmoe, number format {FORMAT}: {sizes}",
        "top": f"hwmoe_{engine}",
        "codes": int(engine == "expert"),
        "c": cfg,
        "ports": _ports(cfg),
        "input_slices": [*slices, ("w", 8 * cfg.t_in * cfg.w_rows)],
        "fields": _fields(x_bits),
        "queues": _queues(x_bits),
        "x_bits": x_bits,
        "x_block": int(cfg.x_words >= BLOCK_RAM_FROM),
        "groups": groups,
        "g_block": int(groups >= BLOCK_RAM_FROM),
        "group_bits": max(1, log2_ceil(groups)),
        "chunks": cfg.t_out // cfg.t_epi,
        "mac_taps": mac_taps(cfg),
        "mac_latency": mac_latency(cfg, engine),
        "get_latency": GET_LATENCY,
        "room": ROOM,
        "params": PARAMS,
        "flush": flush_cycles(cfg),
    }


def _ports(cfg: LinearConfig) -> list[_Port]:
    unused = "upper bits carry nothing"
    inputs = [
        ("cmd", 128, ""),
        ("x", 8 * cfg.t_in, ""),
        ("list", 16, unused),
        ("table", 8, ""),
        ("w", 8 * cfg.t_in * cfg.w_rows, ""),
        ("p", 64 * cfg.t_epi, unused),
    ]
    outputs = [("y", 16 * cfg.t_epi), ("status", 32)]
    return [_Port(f"s_axis_{n}", bits, "input ", "output", why) for n, bits, why in inputs] + [
        _Port(f"m_axis_{n}", bits, "output", "input ") for n, bits in outputs
    ]


def _fields(x_bits: int) -> list[_Field]:
    """Fields of the command and its flags, cut to the bits that count, with their lowest bit."""
    cut = {"x_base": x_bits, "shift": 2}
    fields, low = [], 0
    for name, bits in LINEAR_COMMAND:
        if name == "flags":
            fields += [_Field(flag, 1, low + bit) for bit, flag in enumerate(LINEAR_FLAGS)]
        elif name != "unit":
            fields.append(_Field(name, cut.get(name, bits), low))
        low += bits
    return fields


def _queues(x_bits: int) -> list[_Queue]:
    """The fields each unit gets."""
    known = {field.name: field for field in _fields(x_bits)}
    wanted = {
        "ldr": ("n_tok", "n_list", "in_tiles", "x_base", "load_x", "gather"),
        "seq": ("n_tok", "n_list", "in_tiles", "out_tiles", "x_base", "gather"),
        "wts": ("in_tiles", "out_tiles", "ternary"),
        "epi": ("n_list", "chunks", "shift", "gelu", "load_table", "wide"),
    }
    queues = {name: [known[field] for field in fields] for name, fields in wanted.items()}
    tokens = known["n_tok"]
    queues["seq"][0] = _Field("n_tok", min(tokens.bits, x_bits + 1), tokens.low)
    return [_Queue(name, tuple(fields)) for name, fields in queues.items()]
