"""The table at the end of a run: short, plain without colour, honest when something differs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from hwmoe.report.summary import print_summary


def shown(report: dict[str, Any]) -> str:
    text = io.StringIO()
    print_summary(report, Console(file=text, width=100))
    return text.getvalue()


def test_a_good_run(report: dict[str, Any]) -> None:
    text = shown(report)
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    for fact in ("digit", "98.3 %", "98.1 %", "13,831", "13,806", "bit-exact"):
        assert fact in text, fact
    for fact in ("-1.04 %", "held by memory", "53.6 %", "22.5 %", "20.2 %", "assum"):
        assert fact in text, fact


def test_a_difference_names_the_place(failed: dict[str, Any]) -> None:
    text = shown(failed)
    assert "blocks.1.moe.experts.3.gelu[5, 12]" in text
    assert "reference -17" in text


def test_what_was_not_run_is_not_claimed(dense: dict[str, Any]) -> None:
    text = shown(dense)
    assert "bit-exact" not in text.lower().replace("not bit-exact", "")
    assert "None" not in text


def test_markup_of_a_user_is_printed_as_it_is(hostile: dict[str, Any]) -> None:
    assert "[bold]" in shown(hostile)


@pytest.mark.parametrize("width", [60, 100])
def test_every_width(report: dict[str, Any], width: int) -> None:
    text = io.StringIO()
    print_summary(report, Console(file=text, width=width))
    assert "zcu102" in text.getvalue()
