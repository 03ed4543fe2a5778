"""The published designs that come with hwmoe."""

from __future__ import annotations

from hwmoe.flow.bench import published
from hwmoe.plan.accelerator import AttentionConfig, LayerNormConfig, LinearConfig


def test_parallelism_is_that_of_a_machine_and_says_where_it_stands() -> None:
    known = [design for design in published() if "linear" in design]
    assert {design["name"] for design in known} == {"Edge-MoE", "UbiMoE"}
    for design in known:
        LinearConfig(**design["linear"])
        AttentionConfig(**design["attention"])
        LayerNormConfig(**design["layernorm"], max_tiles=1)
        assert set(design["parameters"]) == {"source", "inferred"}
        assert "github.com" in design["parameters"]["source"]


def test_cycles_are_latency_times_clock() -> None:
    for design in published():
        assert design["cycles"] == round(design["latency_ms"] * design["clock_mhz"] * 1000)
