"""Routing in words: dead experts, and how many tokens go where PyTorch sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Report = dict[str, Any]  # report.json


def dead_experts(report: Report) -> Iterator[tuple[str, str, int]]:
    """Task, layer and number of every expert that got no token in integers."""
    for task, layers in report["expert_load"].items():
        for layer, load in layers.items():
            for expert, tokens in enumerate(load["integer"]):
                if not tokens:
                    yield task, layer, expert


def _mean(report: Report, key: str) -> float | None:
    values = [
        load[key]
        for layers in report["expert_load"].values()
        for load in layers.values()
        if load.get(key) is not None
    ]
    return sum(values) / len(values) if values else None


def _percent(ratio: float | None) -> str:
    return "n/a" if ratio is None else f"{100 * ratio:.1f} %"


def experts_text(report: Report) -> str | None:
    """Dead experts and routing agreement in one line; None for a model without experts."""
    if not any(report["expert_load"].values()):
        return None
    dead = list(dead_experts(report))
    words = "no dead expert"
    if dead:
        some = "; ".join(f"{task} {layer} expert {expert}" for task, layer, expert in dead[:3])
        more = f" and {len(dead) - 3} more" if len(dead) > 3 else ""
        words = f"{len(dead)} dead {'expert' if len(dead) == 1 else 'experts'} ({some}{more})"
    same = _percent(_mean(report, "routing_agreement"))
    first = _percent(_mean(report, "first_agreement"))
    return f"{words}; of tokens {same} go to PyTorch's experts, {first} to its first"
