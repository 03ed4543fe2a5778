"""The HTML report: complete, self-contained, escaped, the same bytes each time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_data import make_pictures

from hwmoe.report.html import Pictures, write_html
from hwmoe.report.plots import sqnr_chart, sqnr_limits

VOID = {"meta", "link", "br", "hr", "img", "input", "col"}


class Outline(HTMLParser):
    """Checks that tags are balanced; keeps text, and addresses that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and value[0] != "#":
                self.fetched.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(report: dict[str, Any], pictures: Pictures, folder: Path) -> tuple[str, Outline]:
    path = folder / "report.html"
    write_html(report, pictures, path)
    assert [p.name for p in folder.iterdir()] == ["report.html"]
    html = path.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(html)
    outline.close()
    assert not outline.open, f"never closed: {outline.open}"
    return html, outline


def test_a_good_run(report: dict[str, Any], pictures: Pictures, tmp_path: Path) -> None:
    html, outline = read(report, pictures, tmp_path)
    assert "Bit-exact with the integer reference" in outline.text
    for fact in ("digits", "zcu102", "5,678,901", "13,806", "98.3", "blocks.1", "xczu9eg"):
        assert fact in outline.text, fact
    assert "Nothing ran on a board" in outline.text
    for words in ("held by memory", "20.2 %", "-1.04 %", "0.0460 ms", "22.5 %", "104,454"):
        assert words in outline.text.replace("Held", "held"), words
    assert outline.tags.count("svg") + html.count("data:image/png") >= 5


def test_nothing_is_fetched(report: dict[str, Any], pictures: Pictures, tmp_path: Path) -> None:
    html, outline = read(report, pictures, tmp_path)
    assert all(address.startswith("data:") for address in outline.fetched)
    assert "script" not in outline.tags
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?(#|data:))", html)


def test_a_difference_is_said_first(
    failed: dict[str, Any], pictures: Pictures, tmp_path: Path
) -> None:
    _, outline = read(failed, pictures, tmp_path)
    place = outline.text.index("blocks.1.moe.experts.3.gelu[5, 12]")
    assert place < outline.text.index("Accuracy by task")
    assert "reference -17, got -18" in outline.text
    assert "Bit-exact with the integer reference: HLS C simulation and" not in outline.text


def test_without_labels_experts_and_simulation(
    dense: dict[str, Any], pictures: Pictures, tmp_path: Path
) -> None:
    _, outline = read(dense, pictures, tmp_path)
    assert "Bit-exact with" not in outline.text
    assert "cycles are predicted by formulas" in outline.text
    assert "What the engines did" not in outline.text
    assert "nan" not in outline.text.lower().split()
    assert "None" not in outline.text


def test_markup_of_a_user_stays_text(
    hostile: dict[str, Any], pictures: Pictures, tmp_path: Path
) -> None:
    html, outline = read(hostile, pictures, tmp_path)
    assert "<script" not in html
    assert '<script>alert("x")</script>' in outline.text


def test_same_bytes_each_time(report: dict[str, Any], pictures: Pictures, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_html(report, pictures, tmp_path / name / "report.html")
    first, second = ((tmp_path / name / "report.html").read_bytes() for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(("channels", "grid"), [(3, (3, 5)), (2, (1, 1))])
def test_images_of_other_shapes(
    report: dict[str, Any], tmp_path: Path, channels: int, grid: tuple[int, int]
) -> None:
    read(report, make_pictures(heads=1, grid=grid, channels=channels), tmp_path)


def test_exact_and_empty_tensors_do_not_flatten_the_chart(report: dict[str, Any]) -> None:
    rows = report["layers"]
    before = sqnr_limits(rows)
    rows[3]["sqnr_db"], rows[4]["sqnr_db"], rows[5]["sqnr_db"] = 200.0, -200.0, None
    low, high = sqnr_limits(rows)
    assert before[0] <= 0 < before[1]
    assert -40 < low < high < 100
    assert "lowest: -200.0 dB" in sqnr_chart(rows, "name", (low, high))


def test_what_ternary_costs_is_said(
    report: dict[str, Any], pictures: Pictures, tmp_path: Path
) -> None:
    report["experts"] = "ternary"
    _, outline = read(report, pictures, tmp_path)
    assert "PyTorch keeps full-precision experts" in outline.text
