"""What the report says about experts and ranges."""

from __future__ import annotations

from pathlib import Path

from report_data import make_pictures, make_report

from hwmoe.report.html import write_html
from hwmoe.report.routing import experts_text


def test_dead_experts_and_routing_in_one_line() -> None:
    report = make_report()
    text = experts_text(report)
    assert text is not None
    assert text.startswith("2 dead experts (digit blocks.1 expert 7; parity blocks.1 expert 7)")
    assert "98.7 % go to PyTorch's experts, 99.5 % to its first" in text
    report["expert_load"]["digit"]["blocks.1"]["integer"][-1] = 5
    report["expert_load"]["parity"]["blocks.1"]["integer"][-1] = 5
    assert str(experts_text(report)).startswith("no dead expert;")
    assert experts_text(make_report(moe_layers=())) is None


def test_report_shows_sensitivity_and_reasons(tmp_path: Path) -> None:
    report = make_report()
    write_html(report, make_pictures(), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("Change of the logits by the rounded expert") == 2
    assert text.count("Tokens routed as in PyTorch by layer") == 2
    assert "clips beyond 50 % of the largest" in text
    worst = max(
        (r for r in report["sensitivity"] if r["task"] == "digit"), key=lambda r: r["change"]
    )
    assert f"expert {worst['expert']} {100 * worst['change']:.2f} %" in text
