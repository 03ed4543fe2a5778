"""Diagnostics of the Mixture of Experts: what goes where, what that costs, in words and pictures.

The data are report.json's: ``expert_load`` (by task and layer) and ``sensitivity`` (a row an
expert).
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from hwmoe.report.plots import _BAD, _FIRST, _SECOND, _figure, _inline, _mark_blocks, _style
from hwmoe.report.summary import Report

View = dict[str, Any]


def agreement_chart(report: Report, task: str, name: str) -> str:
    """Share of tokens with the same set of experts, and with the same first one, by layer."""
    layers = report["expert_load"][task]
    places = range(len(layers))
    with _style(name):
        figure, axes = _figure(2.2)
        for key, colour, label, offset in (
            ("routing_agreement", _FIRST, "same experts", -0.2),
            ("first_agreement", _SECOND, "same first expert", 0.2),
        ):
            heights = [100 * (load.get(key) or 0) for load in layers.values()]
            axes.bar(
                [place + offset for place in places],
                heights,
                width=0.38,
                color=colour,
                linewidth=0,
                label=label,
            )
        axes.set_ylim(0, 100)
        axes.set_xlim(-0.6, max(len(layers) - 0.4, 2.6))
        axes.set_xticks(list(places), list(layers))
        axes.set_ylabel("tokens, %")
        figure.legend(loc="outside upper right", ncols=2)
        return _inline(figure, name, "Tokens routed as in PyTorch by layer")


def sensitivity_chart(rows: list[View], name: str) -> str:
    """Change of the logits when only that expert is rounded; dead experts are marked."""
    with _style(name):
        figure, axes = _figure(2.4)
        axes.bar(
            range(len(rows)),
            [100 * row["change"] for row in rows],
            width=0.72,
            color=_FIRST,
            linewidth=0,
        )
        dead = [i for i, row in enumerate(rows) if not row["tokens"]]
        axes.plot(dead, [0] * len(dead), "x", color=_BAD, label="no token", clip_on=False)
        _mark_blocks(axes, [row["layer"] for row in rows])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("experts 0, 1, ... of each block")
        axes.set_ylabel("change of logits, %")
        if dead:
            figure.legend(loc="outside upper right")
        return _inline(figure, name, "Change of the logits by the rounded expert")


def experts_view(report: Report, index: int, task: str) -> View:
    """Pictures of one task and its three most sensitive experts."""
    rows = [row for row in report.get("sensitivity") or [] if row["task"] == task]
    worst = sorted(rows, key=lambda row: -row["change"])[:3]
    return {
        "agreement_chart": Markup(agreement_chart(report, task, f"routing{index}")),
        "sensitivity_chart": Markup(sensitivity_chart(rows, f"sensitivity{index}")) if rows else "",
        "worst": worst,
    }
