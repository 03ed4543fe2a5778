"""What a whole machine costs: multipliers and block RAM counted, LUTs and registers fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwmoe.codegen.rtl_layernorm import ROWS
from hwmoe.codegen.rtl_linear import BLOCK_RAM_FROM
from hwmoe.dse.block_ram import layout_of
from hwmoe.dse.memory_time import DEPTH
from hwmoe.dse.resource_model import logic_of
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import Board
from hwmoe.plan.packing import ceil_div, log2_ceil
from hwmoe.plan.program import MachineSizes

GENERAL_CHANNELS = 3  # of m_axi_gmem: instructions, parameters of LayerNorm, loads
ULTRA_RAMS = 0  # every memory is in block RAM or LUTs by its `ram_style`
LEAST_PRODUCT = 9  # bits; Yosys makes narrower products of LUTs


@dataclass(frozen=True)
class Cost:
    """DSP48E2, block RAMs of 36 Kbit, LUTs (those used as memory too), flip-flops, UltraRAMs."""

    dsp: int
    bram36: float
    lut: int
    ff: int = 0
    uram: int = ULTRA_RAMS

    def share(self, board: Board) -> float:
        """Of the board: the mean of the three shares."""
        own = board.resources
        return (self.dsp / own.dsp + self.bram36 / own.bram36 + self.lut / own.lut) / 3


def cost_of(acc: AcceleratorConfig, sizes: MachineSizes) -> Cost:
    """Of `hwmoe_top`; `hwmoe.dse.resource_model.logic_of` has LUTs and flip-flops by part."""
    logic = logic_of(acc, sizes).values()
    lut, ff = sum(part.lut for part in logic), sum(part.ff for part in logic)
    return Cost(multipliers_of(acc), block_rams(acc, sizes), lut, ff)


def multipliers_of(acc: AcceleratorConfig) -> int:
    """DSP48E2 of the whole machine in SystemVerilog, as Yosys counts them.

    Besides the kernels: one for each lane of the adder and for the gate's weights, those that make
    addresses of products of fields, and two for the places of token lists.
    """
    linear, norm = acc.linear, acc.layernorm
    least = [cfg.t_out // (4 * cfg.w_rows) for cfg in acc.linears.values()]
    requests = sum(1 + (not _power_of_two(beats)) for beats in least)  # of a ternary tile, x tiles
    entry = acc.stages << max(1, log2_ceil(acc.gate.max_experts))
    places = log2_ceil(entry * linear.max_tokens) >= LEAST_PRODUCT
    lists = 1 + len(least) if places and not _power_of_two(linear.max_tokens) else 0
    vector = 4 * norm.lanes + 4 + linear.t_in + 1
    return kernel_multipliers(acc) + requests + lists + vector


def kernel_multipliers(acc: AcceleratorConfig) -> int:
    """DSP48E2 of the linear and the attention kernel.

    Linear: one for two MACs, one a rescaling lane, and one for addresses of more than 7 bits
    (shorter ones are multiplied in LUTs); the one for ternary weights has the latter two.
    Attention: two query rows share the multipliers of the array; one for each row's index and for
    each lane of the output.
    """
    linear, attention = acc.linear, acc.attention
    lanes = attention.dim_lanes * attention.head_units
    array = ceil_div(attention.rows, 2) * lanes
    rescaling = attention.rows * attention.head_units + lanes
    address = int(linear.x_words > 128)
    macs = ceil_div(linear.t_out, 2) * linear.t_in * linear.t_tok
    if acc.expert:
        address += acc.expert.t_epi + (acc.expert.x_words > 128)
    return macs + linear.t_epi + address + array + rescaling


def block_rams(acc: AcceleratorConfig, sizes: MachineSizes) -> float:
    """Block RAMs of 36 Kbit, halves counted as such."""
    memories = _memories(acc, sizes)
    return sum(count * layout_of(bits, words).halves for count, bits, words in memories) / 2


def _memories(acc: AcceleratorConfig, sizes: MachineSizes) -> Iterator[tuple[int, int, int]]:
    """(how many, bits, words) of every memory in block RAM."""
    linear, attention, norm = acc.linear, acc.attention, acc.layernorm
    lanes, t_epi, grain = linear.t_in, linear.t_epi, acc.act8_grain
    yield lanes // grain, 8 * grain, sizes.act8_words
    yield lanes // t_epi, 8 * t_epi, sizes.heads_words
    yield 1, 16 * lanes, sizes.res_words
    yield lanes // t_epi, 16 * t_epi, sizes.y_words
    for cfg in acc.linears.values():
        x_bits = log2_ceil(cfg.x_words)
        groups = ceil_div(cfg.max_tokens, cfg.t_tok)
        if cfg.x_words >= BLOCK_RAM_FROM:
            yield cfg.t_tok, 8 * lanes, cfg.x_words
        if groups >= BLOCK_RAM_FROM:
            yield cfg.t_tok, x_bits, 2 << log2_ceil(groups)
            yield 2 * cfg.t_tok * cfg.t_out // t_epi, 27 * t_epi, groups
    units = len(acc.linears)
    yield GENERAL_CHANNELS + units * (1 + acc.ports.w_ports), acc.ports.port_bits, DEPTH
    yield 1, 32, sizes.max_steps
    score = 16 + log2_ceil(attention.dim_lanes * attention.max_dim_tiles)
    yield attention.rows * attention.head_units, score, attention.max_tokens
    yield 1, 16 * norm.lanes, 1 << log2_ceil(norm.max_tiles + ROWS)
    if norm.max_tiles >= BLOCK_RAM_FROM:
        yield 1, 50 * norm.lanes, norm.max_tiles
    lists = sizes.slots << max(1, log2_ceil(sizes.max_experts))
    row = max(1, log2_ceil(sizes.max_tokens))
    if lists * sizes.max_tokens >= BLOCK_RAM_FROM:
        yield 1, row + 16, lists * sizes.max_tokens
        yield units, row, lists * sizes.max_tokens


def _power_of_two(value: int) -> bool:
    return value & (value - 1) == 0
