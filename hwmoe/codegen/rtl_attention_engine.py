"""SystemVerilog of the attention engine's core: the kernel with its readers and its writer."""

from __future__ import annotations

from hwmoe.codegen.render import render, sources
from hwmoe.codegen.rtl_attention import attention_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import ATTENTION_COMMAND

TOP = "hwmoe_attention_engine"
_ADDRESS_BITS = 16  # of a word; the fields have room for more
_ADDRESSES = ("q", "k", "v", "dst")

_MODULES = (
    "hwmoe_attention_walk",
    "hwmoe_attention_part",
    "hwmoe_attention_feed",
    "hwmoe_attention_collect",
)


def attention_engine_rtl(acc: AcceleratorConfig, banner: str = "Made by hwmoe.") -> dict[str, str]:
    """File name -> text of `hwmoe_attention_engine` with every module it needs.

    Channels of q, k, v and of the result lie in their words as `hwmoe.plan.program.HeadLayout`
    says. HwmoeError if a beat of the kernel is not a whole part of a word.
    """
    lanes, cfg = acc.linear.t_in, acc.attention
    beat = cfg.head_units * cfg.dim_lanes
    if lanes % beat:
        raise HwmoeError(
            f"attention: head_units * dim_lanes = {beat} must divide linear.t_in={lanes}:"
            " change one of them"
        )
    files = attention_rtl(cfg, banner)
    files |= sources("rtl/lib", ("hwmoe_fifo",)) | sources("rtl/layernorm", ("hwmoe_norm_credit",))
    files |= sources("rtl/machine", _MODULES)
    files[f"{TOP}.sv"] = render(
        f"rtl/machine/{TOP}.sv.j2",
        banner=banner,
        lanes=lanes,
        beat=beat,
        rows=cfg.rows,
        grain=beat,
        fields=_fields(),
        command=[name for name, _ in reversed(ATTENTION_COMMAND)],
    )
    return files


def _fields() -> list[tuple[str, int, int]]:
    """Name, lowest bit and bits that are used of every field of the instruction."""
    layout = instruction_set().formats["attention"]
    fields = []
    for name in layout.fields:
        low, bits = layout.layout[name]
        fields.append((name, low, _ADDRESS_BITS if name in _ADDRESSES else bits))
    return fields
