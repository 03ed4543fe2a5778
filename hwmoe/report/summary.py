"""The report in words: numbers as text, the verdict, and the table at the end of `make demo`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwmoe.report.routing import experts_text

Report = dict[str, Any]  # report.json

STAGES = {"hls_csim": "HLS C simulation", "rtl": "RTL simulation"}
CYCLES = {"latency": "first image", "steady": "each further image"}
STATES = {
    "running": "running",
    "waiting": "waiting for tokens",
    "held": "held by memory",
    "idle": "idle",
}
"""An engine's states, as hwmoe.sim.machine_library names them, in words."""
UNKNOWN = "n/a"
_COMPARED = ("images", "tensors", "values")
_WIDTH = 100


def known(value: float | None) -> bool:
    """Whether there is a number to show: a stage that did not run leaves null."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 0, signed: bool = False) -> str:
    """`value` with thousands separated, or n/a."""
    if value is None or not known(value):
        return UNKNOWN
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    zero = not text.strip("+-0.,")
    return text.lstrip("+-") if zero else text


def percent(ratio: float | None, digits: int = 1, signed: bool = False) -> str:
    """A ratio of 0..1 in percent, or n/a."""
    if ratio is None or not known(ratio):
        return UNKNOWN
    return f"{number(100 * ratio, digits, signed)} %"


def counted(value: int, noun: str) -> str:
    """`1 image`, `720 images`; `noun` in the plural."""
    return f"{value:,} {noun.removesuffix('s') if value == 1 else noun}"


@dataclass(frozen=True)
class Stage:
    """One comparison with the integer reference. `state`: pass, fail or none (not run)."""

    name: str
    state: str
    word: str
    compared: str
    place: str


@dataclass(frozen=True)
class Verdict:
    """The line at the top of the report and the stages it rests on."""

    state: str
    headline: str
    stages: tuple[Stage, ...]


def _stage(report: Report, key: str) -> Stage:
    exact = report["bit_exact"].get(key)
    check = report["checks"].get(key) or {}
    if exact is None:
        return Stage(STAGES[key], "none", "not run", "nothing compared", "")
    counts = [counted(check[noun], noun) for noun in _COMPARED if check.get(noun) is not None]
    place = "" if exact else str(check.get("divergence") or "no place was recorded")
    state, word = ("pass", "bit-exact") if exact else ("fail", "DIVERGED")
    return Stage(STAGES[key], state, word, ", ".join(counts) + " compared", place)


def verdict(report: Report) -> Verdict:
    """Bit-exact or not, in one sentence; what was not run never counts as a success."""
    stages = tuple(_stage(report, key) for key in STAGES)
    names = {
        state: " and ".join(stage.name for stage in stages if stage.state == state)
        for state in ("pass", "fail", "none")
    }
    if names["fail"]:
        return Verdict("fail", f"DIVERGED from the integer reference: {names['fail']}", stages)
    if not names["pass"]:
        return Verdict("none", "Not verified: no simulation was run", stages)
    headline = f"Bit-exact with the integer reference: {names['pass']}"
    if names["none"]:
        return Verdict("none", f"{headline}; not run: {names['none']}", stages)
    return Verdict("pass", headline, stages)


def saturation_text(report: Report) -> str:
    """How many values were clipped, and at how many sites."""
    saturation = report["saturation"]
    if not saturation["total"]:
        return "no value saturated"
    sites = {site for counts in saturation["sites"].values() for site in counts}
    total = counted(saturation["total"], "values")
    return f"{total} saturated at {counted(len(sites), 'sites')}"


def seconds_text(report: Report) -> str:
    """Total time, then its parts."""
    seconds = report["seconds"]
    parts = [f"{name} {number(took, 1)}" for name, took in seconds.items() if name != "total"]
    return f"{number(seconds.get('total'), 1)} s ({', '.join(parts)})"


def _table(title: str, *columns: str) -> Table:
    """A table without frame: first column left, the others right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column(title, overflow="fold", min_width=16)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _accuracy(report: Report) -> Table:
    table = _table("Accuracy", "images", "PyTorch", "integer", "points", "same answer")
    for row in report["accuracy"]:
        fp, integer = row["float_top1"], row["integer_top1"]
        delta = 100 * (integer - fp) if known(fp) and known(integer) else None
        table.add_row(
            Text(row["task"]),
            number(row["images"]),
            percent(fp),
            percent(integer),
            number(delta, 1, signed=True),
            percent(row["agreement"]),
        )
    return table


def milliseconds(ms: float | None) -> str:
    """Three significant digits, or n/a."""
    if ms is None or not known(ms):
        return UNKNOWN
    digits = max(0, 2 - math.floor(math.log10(ms))) if ms > 0 else 0
    return f"{number(ms, digits)} ms"


def error_text(error_percent: float | None) -> str:
    """Prediction against simulation, signed."""
    error = number(error_percent, 2, signed=True)
    return error if error == UNKNOWN else f"{error} %"


def _cycles(cycles: Report, clock_mhz: float) -> Table:
    clock = f"at {clock_mhz:g} MHz"
    table = _table("Cycles", "predicted", "simulated", "error", clock)
    for key, title in CYCLES.items():
        if key == "steady" and cycles["images"] == 1:
            continue  # there was none
        row = cycles[key]
        table.add_row(
            title,
            number(row["predicted"]),
            number(row["measured"]),
            error_text(row["error_percent"]),
            milliseconds(row["ms"]),
        )
    return table


def _engines(cycles: Report) -> Table:
    """Share of the run that each engine spent in each state."""
    table = _table("Engine", *STATES.values())
    for engine, states in cycles["engines"].items():
        total = sum(states.values())
        table.add_row(engine, *(percent(states[state] / total) for state in STATES))
    return table


def use_texts(cycles: Report) -> dict[str, str]:
    """MAC utilization, off-chip memory and speed of the simulation in words, by title."""
    macs, memory, traffic = cycles["linear_macs"], cycles["memory"], cycles["traffic"]
    there = f"{memory['bytes_per_cycle']:g} bytes a cycle"
    busy = f"{percent(macs['utilization'])} of {macs['per_cycle']:,} a cycle busy, machine full"
    texts = {"Linear MACs": busy}
    if traffic is None:
        return texts | {"Off-chip memory": f"{there} assumed"}
    run = cycles["run"]
    texts["Off-chip memory"] = (
        f"{percent(traffic['share'])} of {there}, {traffic['bytes_per_image']:,} bytes an image"
    )
    speed = f"{run['simulated_cycles_per_s']:,}"
    return texts | {"Simulation": f"{run['cycles']:,} cycles, {speed} of them a second"}


def cycle_parts(cycles: Report, clock_mhz: float) -> list[Text | Table]:
    """Tables and sentences about cycles."""
    parts: list[Text | Table] = [_cycles(cycles, clock_mhz), Text()]
    if cycles["engines"] is not None:
        parts += [_engines(cycles), Text()]
    return [*parts, *(Text(f"{title:<16} {text}") for title, text in use_texts(cycles).items())]


def print_cycles(cycles: Report, clock_mhz: float, console: Console) -> None:
    """The cycles of a run, in at most 100 columns."""
    for part in cycle_parts(cycles, clock_mhz):
        console.print(part, width=min(console.width, _WIDTH), highlight=False, markup=False)


def _checks(found: Verdict) -> Table:
    styles = {"pass": "bold green", "fail": "bold red", "none": "yellow"}
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    for stage in found.stages:
        what = Text(stage.compared)
        if stage.place:
            what.append(f"\n{stage.place}", style="red")
        table.add_row(stage.name, Text(stage.word, style=styles[stage.state]), what)
    return table


def _experts(report: Report) -> list[Text | Table]:
    """One line about dead experts and routing; nothing for a model without experts."""
    text = experts_text(report)
    return [] if text is None else [Text(f"Experts          {text}")]


def print_summary(report: Report, console: Console) -> None:
    """The result of one run in at most 100 columns; every state is a word, not only a colour."""
    found = verdict(report)
    model, board = report["model"]["name"], report["board"]
    clock = f"{board['clock_mhz']:g} MHz (assumed)"
    style = {"pass": "bold green", "fail": "bold red", "none": "bold yellow"}[found.state]
    parts: list[Text | Table] = [
        Text(f"{model}, {report['experts']} experts, {board['name']} at {clock}", style="bold"),
        Text(found.headline, style=style),
        Text(),
        _checks(found),
        Text(),
        _accuracy(report),
        Text(),
        *cycle_parts(report["cycles"], board["clock_mhz"]),
        Text(f"Saturation       {saturation_text(report)}"),
        *_experts(report),
        Text(f"Time             {seconds_text(report)}"),
        Text("Cycles are simulated, the clock is an assumption; no bitstream was built."),
    ]
    for part in parts:
        console.print(part, width=min(console.width, _WIDTH), highlight=False, markup=False)
