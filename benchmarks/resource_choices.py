"""Which features a module may be made of; those of other modules are any of their part."""

from __future__ import annotations

from collections.abc import Mapping

ONE = ("one",)
FEATURES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "attention": {
        "adder_tree": ("tree_bits", "beat", "row_lanes"),
        "attention": ONE,
        "attn_acc": ("sum_bits", "page_luts"),
        "attn_delay": ("beat", "one", "token_bits"),
        "attn_drain": ("sum_bits", "beat", "rows", "beat_sum_bits", "one"),
        "attn_exp7": ("rows",),
        "attn_mul": ("pair_lanes",),
        "attn_prob": ("rows", "score_bits"),
        "attn_qload": ("beat", "rows", "one"),
        "attn_recip": ("rows",),
        "attn_scale": ("beat", "one", "beat_sum_bits"),
        "attn_score": ("rows", "score_bits"),
        "attn_seq": ("one", "token_bits", "tile_bits", "rows"),
        "attn_valid": ("one", "levels"),
        "ram_sdp": ("memory_luts", "memory_bits"),
        "skid": ("one", "beat"),
    },
    "linear": {
        "acc_bank": ("outs", "banks", "one"),
        "adder_tree": ("tree_bits", "clip_bits"),
        "delay": ("one", "place_bits"),
        "dot_pulse": ("load_taps", "one", "t_in", "t_tok"),
        "dot_skew": ("x_bits", "beat_bits"),
        "fifo": ("fifo_luts", "one"),
        "linear": ("t_epi", "lane_joins", "one"),
        "linear_drain": ("one", "place_bits", "banks"),
        "linear_epilogue": ("t_epi", "one"),
        "linear_lane": ("joins", "t_tok"),
        "linear_loader": ("one", "place_bits", "t_tok"),
        "linear_sequencer": ("one", "place_bits", "place_lanes"),
        "linear_weights": ("beat_bits", "one", "load_taps"),
        "ram_sdp": ("memory_luts", "memory_bits", "x_joins"),
        "requant": ("t_epi",),
        "skid": ("port_bits", "one"),
        "table": ("t_epi",),
    },
    "expert": {
        "dot_pulse": ("load_taps", "one"),
        "dot_skew": ("x_bits",),
        "dot_ternary": ("macs", "x_bits"),
        "linear_weights": ("beat_bits", "one"),
        "ternary_add3": ("add3_bits",),
        "ternary_pair": ("pair_bits",),
        "ternary_tree": ("stage_bits",),
    },
    "layernorm": {
        "adder_tree": ("tree_bits", "count_bits", "lanes"),
        "norm_lane": ("lanes",),
        "norm_sums": ("lanes", "one"),
        "norm_seq": ("lanes", "one", "word_bits", "tile_bits"),
        "ram_sdp": ("param_luts", "param_bits", "lanes"),
        "fifo": ("lanes", "one"),
        "norm_row": ONE,
        "norm_div": ONE,
        "norm_sqrt": ONE,
        "norm_credit": ONE,
        "norm_line": ONE,
        "norm_mask": ONE,
        "delay": ("one", "tile_bits"),
        "layernorm": ("one", "lane_levels", "lanes"),
    },
    "gate": {"gate_div": ONE, "gate_weight": ONE},
    "fetch": {
        "fetch": ("one", "engines", "port_bits"),
        "fetch_check": ("one", "engines", "step_bits"),
        "fetch_images": ONE,
        "fetch_reads": ("one", "engines", "port_bits"),
    },
    "engines": {
        "act_ram": ("written_bits", "lanes", "banks", "one", "units"),
        "ram_bank": ("joins", "banks"),
        "ram_bank.ff": ("lanes", "banks"),
        "ram_sdp": ("joins", "lanes", "banks"),
        "round_robin": ("one", "units"),
        "queue": ("engines", "one"),
        "fifo": ("engines", "one"),
        "issue": ("engines", "one", "token_counters"),
        "tokens": ("token_counters", "one"),
        "gearbox": ("port_bits_split", "one"),
        "gearbox.ff": ("port_bits_kept", "one"),
        "load_engine": ("one", "lanes", "port_bits"),
        "store_engine": ("one", "lanes", "port_bits"),
        "engines": ("one", "lanes", "engines"),
    },
    "linear_engine": {
        "gearbox": ("param_beats", "port_bits", "one"),
        "skid": ("t_epi", "word_bits", "one"),
        "linear_collect": ("y_bits", "t_epi", "word_bits", "one"),
        "linear_window": ("word_bits", "one"),
        "linear_xfeed": ("word_bits", "one"),
        "ram_sdp": ("word_bits", "one"),
        "linear_split": ("split", "param_beats", "port_bits", "one"),
        "linear_params": ("port_bits", "param_beats", "one"),
        "fifo": ("word_bits", "one", "engines"),
    },
    "vector_engine": {
        "adder_tree": ("count_bits", "lanes"),
        "fifo": ("lanes", "one"),
        "gearbox": ("port_bits", "param_beat", "one"),
        "norm_line": ("lanes",),
        "router": ("units", "one"),
        "router_len": ("lists", "len_luts", "units", "one"),
        "router_list": ("units", "row_bits", "one"),
        "ram_sdp": ("list_joins", "len_luts", "list_luts", "units", "one"),
        "vector_add": ("lanes", "one"),
        "vector_add_lane": ("lanes",),
        "vector_feed": ("lanes", "turned_bits", "norm_lanes", "one"),
        "vector_pack": ("lanes", "norm_lanes", "one"),
        "vector_walk": ONE,
        "vector_norm": ("one", "lanes", "norm_lanes"),
        "vector_gate": ("one", "lanes"),
        "vector_engine": ("one", "lanes"),
    },
    "attention_engine": {
        "attention_feed.ff": ("word_bits", "beat_bits", "one"),
        "attention_collect.ff": ("word_bits", "beat_bits", "grains", "one"),
        "attention_feed": ("one", "turned_bits"),
        "attention_collect": ("one", "rest_bits", "word_bits"),
        "attention_part": ("word_bits", "beat_bits", "parts", "one"),
        "attention_walk": ("one", "row_bits"),
        "fifo": ("word_bits", "one"),
    },
    "top": {
        "axi_plan": ("readers", "one"),
        "fifo": ("readers", "one"),
        "round_robin": ("readers", "one"),
        "axi_read": ("readers", "reader_bits"),
        "axi_buffer": ("readers", "reader_bits"),
        "axi_buffer.ff": ("reader_bits", "readers"),
        "ram_sdp": ("reader_bits", "readers", "step_bits", "one"),
        "skid": ("reader_bits", "port_bits", "readers", "one"),
        "axi_read_mux": ("readers", "shared_ports", "w_ports", "one"),
        "axi_write": ("port_bits", "one"),
        "weight_ports": ("w_ports", "shared_ports", "reader_bits", "one"),
        "gmem": ("readers", "one"),
        "control_args": ("w_ports", "one"),
        "control_read": ("one", "w_ports", "engines"),
        "control_counters": ("engines", "one"),
        "control_events": ("engines", "one"),
    },
}


def is_shared(module: str) -> bool:
    """Whether a module of the expert kernel is one of the linear kernel, with its points too."""
    return module not in FEATURES["expert"]


def allowed(part: str, module: str, kind: str) -> tuple[str, ...]:
    """Names of features, the likeliest first; none: any of the part.

    An entry for one `kind` only ends with its name.
    """
    known = FEATURES.get(part, {})
    if part == "expert" and is_shared(module):
        known = FEATURES["linear"]
    return known.get(f"{module}.{kind}", known.get(module, ()))
