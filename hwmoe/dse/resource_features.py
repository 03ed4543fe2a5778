"""What the LUTs and registers of a machine's parts grow with, counted from its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from hwmoe.codegen.rtl_layernorm import ROWS
from hwmoe.codegen.rtl_linear import BLOCK_RAM_FROM, CHAIN
from hwmoe.dse.block_ram import joins_of
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.plan.packing import ceil_div, log2_ceil
from hwmoe.plan.program import MachineSizes

Features = Mapping[str, float]


def features(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, Features]:
    """Part -> feature -> value; each part has `one`. Widths are in bits."""
    found = {
        "attention": _attention(acc.attention),
        "layernorm": _layernorm(acc),
        "gate": {"max_k": acc.gate.max_k, "expert_bits": _bits(acc.gate.max_experts)},
        "fetch": _fetch(acc, sizes),
        "engines": _engines(acc, sizes),
        "attention_engine": _attention_engine(acc),
        "vector_engine": _vector_engine(acc, sizes),
        "top": _top(acc, sizes),
    }
    for name, cfg in acc.linears.items():
        found[name] = _linear(cfg, name)
        found[f"{name}_engine"] = _linear_engine(acc, cfg)
    return {part: {"one": 1.0, **own} for part, own in found.items()}


def _attention(cfg: AttentionConfig) -> Features:
    """`dim_lanes` products of each of `rows * head_units` rows; two rows share a multiplier."""
    rows = cfg.rows * cfg.head_units
    beat, acc_bits = cfg.dim_lanes * cfg.head_units, max(16, 15 + log2_ceil(cfg.max_tokens))
    score_bits = 16 + log2_ceil(cfg.dim_lanes * cfg.max_dim_tiles)
    pages, queries = cfg.dim_lanes * acc_bits, 8 * cfg.dim_lanes
    deep = 2 << _bits(cfg.max_dim_tiles)
    memories = _lutram(pages, cfg.max_dim_tiles) + _lutram(queries, deep)
    return {
        "rows": rows,
        "pair_lanes": ceil_div(cfg.rows, 2) * beat,
        "row_lanes": cfg.rows * beat,
        "sum_bits": cfg.rows * beat * acc_bits,
        "score_bits": rows * score_bits,
        "tree_bits": rows * _tree(cfg.dim_lanes, 16),
        "page_luts": rows * 8 * ceil_div(pages, 16),  # RAM32M16 of one address
        "memory_luts": rows * memories,
        "memory_bits": rows * (pages + queries),
        "beat": beat,
        "beat_sum_bits": beat * acc_bits,
        "token_bits": _bits(cfg.max_tokens),
        "tile_bits": _bits(cfg.max_dim_tiles),
        "levels": log2_ceil(cfg.dim_lanes),
    }


def _linear(cfg: LinearConfig, engine: str) -> Features:
    """`t_in * t_out * t_tok` products, their sums, accumulators, and `t_epi` rescaling lanes."""
    chains = ceil_div(cfg.t_in, CHAIN)
    add3, stages = _ternary_tree(cfg.t_in)
    groups = ceil_div(cfg.max_tokens, cfg.t_tok)
    outs, x_bits = cfg.t_out * cfg.t_tok, _bits(cfg.x_words)
    banks = outs // cfg.t_epi
    beat, loads = 8 * cfg.t_in * cfg.w_rows, cfg.t_out // cfg.w_rows
    small = groups < BLOCK_RAM_FROM
    x_small = cfg.x_words < BLOCK_RAM_FROM
    memory_luts, memory_bits = cfg.t_epi * _lutram(8, 256), 8 * cfg.t_epi  # tables of GELU
    if small:
        memory_luts += 2 * banks * _lutram(27 * cfg.t_epi, groups)
        memory_luts += cfg.t_tok * _lutram(x_bits, 2 << _bits(groups))
        memory_bits += 2 * 27 * outs + cfg.t_tok * x_bits
    if x_small:
        memory_luts += cfg.t_tok * _lutram(8 * cfg.t_in, cfg.x_words)
        memory_bits += 8 * cfg.t_in * cfg.t_tok
    return {
        "macs": cfg.macs_per_cycle,
        "pair_bits": outs * cfg.t_in // 2 * 9,
        "add3_bits": outs * add3,
        "stage_bits": outs * stages,
        "outs": outs,
        "banks": banks,
        "t_in": cfg.t_in,
        "t_epi": cfg.t_epi,
        "t_tok": cfg.t_tok,
        "port_bits": 168 + x_bits + 8 * cfg.t_in + beat + 61 * cfg.t_epi,
        "beat_bits": beat,
        "x_bits": 8 * cfg.t_in * cfg.t_tok,
        "load_taps": loads * ceil_div(cfg.t_in, chains) if engine == "linear" else loads,
        "tree_bits": 0 if engine == "expert" else outs * (chains - 1) * (16 + log2_ceil(cfg.t_in)),
        "clip_bits": _tree(cfg.t_epi, 2),
        "joins": 27 * cfg.t_epi * (cfg.t_tok * ceil_div(banks // cfg.t_tok - 1, 5)),
        "lane_joins": 27 * cfg.t_epi * (cfg.t_tok - 1),
        "place_bits": x_bits + _bits(groups),
        "place_lanes": (x_bits + _bits(groups)) * cfg.t_tok,
        "fifo_luts": _lutram(45 * cfg.t_epi, 8) + _lutram(max(16 * cfg.t_epi, 32) + 1, 32),
        "memory_luts": memory_luts,
        "memory_bits": memory_bits,
        "x_joins": 0 if x_small else cfg.t_tok * joins_of(8 * cfg.t_in, cfg.x_words),
    }


def _layernorm(acc: AcceleratorConfig) -> Features:
    cfg = acc.layernorm
    small = cfg.max_tiles < BLOCK_RAM_FROM
    return {
        "lanes": cfg.lanes,
        "tree_bits": _tree(cfg.lanes, 16),
        "count_bits": _tree(cfg.lanes, 2),
        "tile_bits": _bits(cfg.max_tiles),
        "word_bits": log2_ceil(cfg.max_tiles + ROWS),
        "param_luts": _lutram(50 * cfg.lanes, cfg.max_tiles) if small else 0,
        "param_bits": 50 * cfg.lanes if small else 0,
        "lane_levels": log2_ceil(cfg.lanes),
    }


def _fetch(acc: AcceleratorConfig, sizes: MachineSizes) -> Features:
    return {
        "engines": len(acc.engines),
        "port_bits": acc.ports.port_bits,
        "beats": 512 / acc.ports.port_bits,
        "step_bits": log2_ceil(sizes.max_steps),
    }


def _linear_engine(acc: AcceleratorConfig, cfg: LinearConfig) -> Features:
    return {
        "word_bits": 8 * cfg.t_in,
        "t_epi": cfg.t_epi,
        "y_bits": 16 * cfg.t_in,
        "port_bits": acc.ports.port_bits,
        "param_beats": 64 * cfg.t_epi,
        "split": max(0, 64 * cfg.t_epi - acc.ports.port_bits),
        "parts": cfg.t_in // cfg.t_epi,
        "engines": len(acc.engines),
        "beats": cfg.t_out // (4 * cfg.w_rows),
    }


def _attention_engine(acc: AcceleratorConfig) -> Features:
    beat = acc.attention.head_units * acc.attention.dim_lanes
    return {
        "word_bits": 8 * acc.linear.t_in,
        "beat_bits": 8 * beat,
        "rest_bits": 8 * (acc.linear.t_in - beat),
        "turned_bits": _turned(8 * acc.linear.t_in, 8 * beat),
        "parts": acc.linear.t_in // beat,
        "row_bits": _bits(acc.attention.rows),
        "grains": acc.linear.t_in // acc.act8_grain,
    }


def _vector_engine(acc: AcceleratorConfig, sizes: MachineSizes) -> Features:
    lists = sizes.slots << max(1, log2_ceil(sizes.max_experts))
    rows = lists * sizes.max_tokens
    row_bits, len_bits = _bits(sizes.max_tokens), log2_ceil(sizes.max_tokens + 1)
    units = len(acc.linears)
    return {
        "lanes": acc.linear.t_in,
        "norm_lanes": acc.layernorm.lanes,
        "port_bits": acc.ports.port_bits,
        "param_beat": 64 * acc.layernorm.lanes,
        "count_bits": _tree(acc.linear.t_in, 2),
        "lists": lists,
        "len_luts": (1 + units) * _lutram(len_bits, lists),
        "list_joins": 0 if rows < BLOCK_RAM_FROM else (1 + units) * joins_of(row_bits + 16, rows),
        "list_luts": (1 + units) * _lutram(row_bits + 16, rows) if rows < BLOCK_RAM_FROM else 0,
        "units": units,
        "row_bits": row_bits,
        "turned_bits": _turned(16 * acc.linear.t_in, 16 * acc.layernorm.lanes),
        "lane_levels": log2_ceil(acc.linear.t_in),
    }


def _engines(acc: AcceleratorConfig, sizes: MachineSizes) -> Features:
    """The memories with their masters' multiplexers, queues, LOAD and STORE."""
    lanes, units = acc.linear.t_in, len(acc.linears)
    words, port = sizes.memories(), acc.ports.port_bits
    grains = {"act8": acc.act8_grain, "heads": acc.linear.t_epi, "res": lanes}
    grains["y"] = acc.linear.t_epi
    bits = {"act8": 8, "heads": 8, "res": 16, "y": 16}
    written = 8 * lanes * (3 + units) + 8 * lanes * units + 16 * lanes * 2 + 16 * lanes * units
    return {
        "lanes": lanes,
        "written_bits": written,
        "engines": len(acc.engines),
        "token_counters": len(acc.engines) ** 2,
        "port_bits": port,
        "address_bits": sum(_bits(count) for count in words.values()),
        "joins": sum(
            lanes // grains[name] * joins_of(bits[name] * grains[name], count)
            for name, count in words.items()
        ),
        "port_bits_kept": max(port, 8 * lanes) + max(port, 16 * lanes),
        "port_bits_split": max(0, port - 8 * lanes) + max(0, 16 * lanes - port),
        "banks": lanes // acc.act8_grain + 2 * (lanes // acc.linear.t_epi) + 1,
        "units": units,
    }


def _top(acc: AcceleratorConfig, sizes: MachineSizes) -> Features:
    """The masters, a reader for each channel and weight port, and the registers of the host."""
    units, ports = len(acc.linears), acc.ports
    readers = 3 + units + units * ports.w_ports
    return {
        "readers": readers,
        "reader_bits": readers * ports.port_bits,
        "w_ports": ports.w_ports,
        "shared_ports": ports.w_ports * (units - 1),
        "port_bits": ports.port_bits,
        "engines": len(acc.engines),
        "step_bits": log2_ceil(sizes.max_steps),
        "units": units,
    }


def _bits(count: int) -> int:
    """Of an address of `count` places."""
    return max(1, log2_ceil(count))


def _turned(word: int, beat: int) -> int:
    """Bits of a word with a multiplexer that lets it go in beats, as Yosys builds them."""
    parts = word // beat
    return (0, 0, word)[parts] if parts <= 2 else word - 2 * beat


def _tree(count: int, bits: int) -> int:
    """Bits of all sums of a binary adder tree over `count` numbers of `bits`."""
    total = 0
    while count > 1:
        bits += 1
        total += bits * (count // 2)
        count = ceil_div(count, 2)
    return total


def _ternary_tree(t_in: int) -> tuple[int, int]:
    """(bits of the adders of three terms, bits of registers) of hwmoe_ternary_tree."""
    terms, width, most = t_in // 2, 9, 9 + log2_ceil(t_in)
    added, stages = 0, terms * (width + 1)
    while terms > 1:
        width, left = min(width + 2, most), terms
        terms = ceil_div(left, 3)
        added += width * (terms - (left % 3 == 1))
        stages += terms * width
    return added, stages


def _lutram(bits: int, words: int) -> int:
    """LUTs of a memory of RAM32M16 (14 bits) or RAM64M8 (7 bits) with two addresses (UG574)."""
    if words <= 32:
        return 8 * ceil_div(bits, 14)
    return 8 * ceil_div(bits, 7) * ceil_div(words, 64)
