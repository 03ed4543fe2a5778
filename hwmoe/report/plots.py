"""Pictures of the report: charts as SVG that follows the page's colours, maps as PNG."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwmoe.report.summary import STATES, known

FloatArray = npt.NDArray[np.floating[Any]]
Rows = Sequence[dict[str, Any]]

# Stand-ins that `_inline` turns into the colours of the page, light or dark.
_INK, _MUTED, _GRID, _BAND = "#010101", "#020202", "#030303", "#040404"
_FIRST, _SECOND, _CARD, _BAD = "#050505", "#060606", "#070707", "#080808"
_COLOURS = {
    _INK: "ink",
    _MUTED: "muted",
    _GRID: "grid",
    _BAND: "band",
    _FIRST: "first",
    _SECOND: "second",
    _CARD: "card",
    _BAD: "bad",
}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.borderaxespad": 0.2,
}
_RESIDUAL = ("embed", "res1", "res2")
_NEGATIVE, _POSITIVE = (42, 120, 214), (220, 80, 50)  # below and above PyTorch


@dataclass(frozen=True)
class Pictures:
    """One image and its attention beside PyTorch's: [C, H, W] in 0..1, [heads, T, T]."""

    image: npt.NDArray[np.float32]
    grid: tuple[int, int]
    attention_float: npt.NDArray[np.float32]
    attention_integer: npt.NDArray[np.float32]
    layer: str


@dataclass(frozen=True)
class AttentionMaps:
    """Data URIs of one picture a head; the class token's attention to the patches."""

    image: str
    image_small: bool
    grid: tuple[int, int]
    pytorch: list[str]
    integer: list[str]
    difference: list[str]
    scale: str
    difference_scale: str
    largest: float
    largest_difference: float
    same_patch: int


def _inline(figure: Figure, name: str, label: str) -> str:
    """`figure` as an SVG element for HTML: own ids, colours of the page, no prologue or date."""
    buffer = io.StringIO()
    empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=empty, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for stand_in, variable in _COLOURS.items():
        text = text.replace(stand_in, f"var(--{variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.6, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y")
    return figure, axes


def _style(name: str) -> Any:
    """Settings of every chart, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": f"hwmoe-{name}"}])


def _places(names: Sequence[str]) -> list[str]:
    """For each name the number of its block, `input` before the blocks and `head` after them."""
    found = [re.match(r"blocks\.(\d+)\b", name) for name in names]
    inside = [i for i, match in enumerate(found) if match]
    first = inside[0] if inside else len(names)
    return [
        match[1] if match else ("input" if i < first else "head") for i, match in enumerate(found)
    ]


def _mark_blocks(axes: Axes, names: Sequence[str]) -> None:
    """Blocks as bands along x, numbered below."""
    ticks: list[float] = []
    labels: list[str] = []
    for band, (label, group) in enumerate(groupby(enumerate(_places(names)), lambda item: item[1])):
        where = [i for i, _ in group]
        if band % 2:
            axes.axvspan(where[0] - 0.5, where[-1] + 0.5, color=_BAND, linewidth=0, zorder=0)
        centre = (where[0] + where[-1]) / 2
        if ticks and centre - ticks[-1] < 0.04 * len(names):  # no room for both labels
            labels[-1] = ""
        ticks.append(centre)
        labels.append(label)
    axes.set_xticks(ticks, labels)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel("block, in network order")


def sqnr_chart(rows: Rows, name: str, limits: tuple[float, float]) -> str:
    """SQNR of every tensor of one task; the residual stream as a line, the lowest one ringed."""
    with _style(name):
        figure, axes = _figure(2.7)
        seen = [i for i, row in enumerate(rows) if known(row["sqnr_db"])]
        bottom, top = max(limits[0], -10.0), min(limits[1], 80.0)  # values beyond are drawn there
        values = {i: min(max(rows[i]["sqnr_db"], bottom), top) for i in seen}
        stream = [i for i in seen if rows[i]["name"].rpartition(".")[2] in _RESIDUAL]
        others = [i for i in seen if i not in stream]
        heights = [values[i] for i in others], [values[i] for i in stream]
        axes.plot(others, heights[0], "o", markersize=4.5, color=_FIRST, label="other tensors")
        axes.plot(
            stream,
            heights[1],
            "o-",
            linewidth=2,
            markersize=5,
            color=_SECOND,
            label="residual stream",
        )
        if seen:
            low = min(seen, key=lambda i: rows[i]["sqnr_db"])
            axes.plot([low], [values[low]], "o", markersize=11, fillstyle="none", color=_BAD)
            side = {low < 0.1 * len(rows): "left", low > 0.9 * len(rows): "right"}
            axes.annotate(
                f"lowest: {rows[low]['sqnr_db']:.1f} dB",
                (low, values[low]),
                xytext=(0, -9),
                textcoords="offset points",
                ha=side.get(True, "center"),
                va="top",
            )
        _mark_blocks(axes, [row["name"] for row in rows])
        axes.set_ylim(*limits)
        axes.set_ylabel("SQNR, dB")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.legend(loc="outside upper right", ncols=2)
        return _inline(figure, name, "SQNR of every tensor in network order")


def sqnr_limits(rows: Rows) -> tuple[float, float]:
    """One scale for the charts of all tasks, with room for a label below the lowest tensor.

    A tensor that is exact (200 dB) or whose signal is zero (-200 dB) must not flatten the rest.
    """
    values = [min(max(row["sqnr_db"], -10.0), 80.0) for row in rows if known(row["sqnr_db"])]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = max(high - low, 10.0)
    return min(0.0, low - 0.22 * span), high + 0.08 * span


def ranges_chart(rows: Rows, name: str) -> str:
    """Largest magnitude of every tensor in percent of what its format holds; marks `clipped`."""
    with _style(name):
        figure, axes = _figure(2.5)
        for bits, colour in ((8, _FIRST), (16, _SECOND)):
            where = [i for i, row in enumerate(rows) if row["bits"] == bits]
            used = [100 * rows[i]["largest"] / rows[i]["limit"] for i in where]
            axes.bar(where, used, width=0.72, color=colour, linewidth=0, label=f"int{bits}")
        clipped = [i for i, row in enumerate(rows) if row["clipped"]]
        axes.axhline(100, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        if clipped:
            axes.plot(clipped, [107] * len(clipped), "v", color=_BAD, label="clipped values")
        _mark_blocks(axes, [row["name"] for row in rows])
        axes.set_ylim(0, 114)
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_ylabel("format used, %")
        figure.legend(loc="outside upper right", ncols=3)
        return _inline(figure, name, "Use of each integer format in network order")


def engines_chart(rows: Rows, name: str) -> str:
    """What part of the run each engine spent in each state; rows with `engine` and `shares`."""
    colours = {"running": _FIRST, "waiting": _MUTED, "held": _SECOND, "idle": _GRID}
    with _style(name):
        figure, axes = _figure(0.9 + 0.36 * len(rows))
        axes.grid(visible=False)
        left = np.zeros(len(rows))
        for state, colour in colours.items():
            share = np.array([100 * row["shares"][state] for row in rows])
            axes.barh(
                range(len(rows)),
                share,
                left=left,
                height=0.6,
                color=colour,
                linewidth=0,
                label=STATES[state],
            )
            left += share
        axes.set_yticks(range(len(rows)), [row["engine"] for row in rows])
        axes.tick_params(axis="y", colors=_INK)
        axes.set_xlim(0, 100)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("cycles of the run, %")
        figure.legend(loc="outside upper right", ncols=4)
        return _inline(figure, name, "States of each engine over the run")


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    """uint8 [H, W, 3 or 4] as a data URI."""
    buffer = io.BytesIO()
    no_date: dict[str, Any] = {"Software": None}
    image.imsave(buffer, np.ascontiguousarray(pixels), format="png", metadata=no_date)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _magnitude(values: FloatArray, largest: float) -> str:
    colours = colormaps["viridis"](np.clip(values / largest, 0, 1), bytes=True)
    return _png(np.asarray(colours)[..., :3])


def _difference(values: FloatArray, largest: float) -> str:
    """Nothing where equal; the further from zero, the less of the page shines through."""
    strength = np.clip(np.abs(values) / largest, 0, 1)
    colours = np.where(values[..., None] < 0, np.array(_NEGATIVE), np.array(_POSITIVE))
    alpha = np.rint(255 * strength)[..., None]
    return _png(np.concatenate([colours, alpha], axis=-1).astype(np.uint8))


def _photo(pixels: npt.NDArray[np.float32]) -> str:
    channels = pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0)
    return _png(np.rint(255 * np.clip(channels, 0, 1)).astype(np.uint8).transpose(1, 2, 0))


def attention_maps(pictures: Pictures) -> AttentionMaps:
    """The class token's row of every head, laid out as the patches; one colour scale for all."""
    rows, columns = pictures.grid
    patches = rows * columns

    def to_patches(attention: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return attention[:, 0, -patches:].reshape(-1, rows, columns).astype(np.float64)

    fp, integer = to_patches(pictures.attention_float), to_patches(pictures.attention_integer)
    delta = integer - fp
    largest = float(max(fp.max(), integer.max())) or 1.0
    ramp = np.linspace(0, 1, 128)[None]
    flat = (len(fp), patches)
    same = fp.reshape(flat).argmax(axis=1) == integer.reshape(flat).argmax(axis=1)
    return AttentionMaps(
        image=_photo(pictures.image),
        image_small=max(pictures.image.shape[1:]) < 100,
        grid=pictures.grid,
        pytorch=[_magnitude(head, largest) for head in fp],
        integer=[_magnitude(head, largest) for head in integer],
        difference=[_difference(head, largest) for head in delta],
        scale=_magnitude(ramp, 1.0),
        difference_scale=_difference(2 * ramp - 1, 1.0),
        largest=largest,
        largest_difference=float(np.abs(delta).max()),
        same_patch=int(same.sum()),
    )
