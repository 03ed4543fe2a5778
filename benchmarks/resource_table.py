"""Errors of the formulas on measured machines: by part, and of whole machines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwmoe.dse.resource_model import logic_of
from hwmoe.dse.resources import cost_of
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes

LIMITS = {"lut": 0.10, "ff": 0.10, "dsp": 0.02, "bram36": 0.02, "uram": 0.02}


def print_errors(path: Path) -> int:
    """1 if a whole machine of those to check by is beyond a limit."""
    data = json.loads(path.read_text(encoding="utf-8"))
    counted, worst = data["counted"], 0
    for use in ("fit", "check"):
        by_part, whole = errors(data[use], counted)
        print(f"\n| {use}: part | measured | LUT | FF |\n|---|--:|--:|--:|")
        for part, kinds in by_part.items():
            print(
                f"| {part} | {len(kinds['lut'])} | {_spread(kinds['lut'])} | "
                f"{_spread(kinds['ff'])} |"
            )
        print(
            f"\n{use}: {len(whole['lut'])} whole machines: "
            + ", ".join(f"{kind} {_spread(values)}" for kind, values in whole.items())
        )
        if use == "check":
            worst = sum(abs(e) > LIMITS[k] for k, values in whole.items() for e in values)
    return int(worst > 0)


def errors(
    entries: Sequence[Mapping[str, Any]], counted: Sequence[str]
) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[float]]]:
    """Relative errors: of different parts by kind, and of machines whose parts are all known."""
    parts: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"lut": [], "ff": []})
    whole: dict[str, list[float]] = {kind: [] for kind in LIMITS}
    seen = set()
    for entry in entries:
        acc = AcceleratorConfig.model_validate(entry["accelerator"])
        sizes = MachineSizes(**entry["sizes"])
        predicted, total = logic_of(acc, sizes), [0.0] * len(counted)
        for part, modules in entry["parts"].items():
            sums = [sum(column) for column in zip(*modules.values(), strict=True)]
            total = [a + b for a, b in zip(total, sums, strict=True)]
            key = json.dumps([part, modules], sort_keys=True)
            if key not in seen:
                seen.add(key)
                for kind, name in (("lut", "lut_sites"), ("ff", "ff")):
                    count = sums[counted.index(name)]
                    parts[part][kind].append(getattr(predicted[part], kind) / count - 1)
        if set(entry["parts"]) == set(predicted):
            cost = cost_of(acc, sizes)
            for kind in LIMITS:
                count = total[counted.index("lut_sites" if kind == "lut" else kind)]
                own = getattr(cost, kind)
                whole[kind].append(own / count - 1 if count else float(own != 0))
    return parts, whole


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{min(values):+.1%} to {max(values):+.1%}"
