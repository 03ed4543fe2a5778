"""LUTs and registers by part and module: fitted coefficients times features (resources.toml)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hwmoe.dse.resource_features import features
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

KINDS = ("lut", "ff")
SAME = {"expert_engine": "linear_engine"}  # rendered from the same templates
Coefficients = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Part -> module -> "lut" or "ff" -> feature -> how much one of it costs."""


@dataclass(frozen=True)
class Logic:
    """LUTs, those used as memory included, and flip-flops."""

    lut: int
    ff: int


@cache
def model() -> Mapping[str, Any]:
    """`resources.toml`: what it was fitted on, and `parts`, the `Coefficients`."""
    text = files("hwmoe.dse").joinpath("resources.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)
    return found


def logic_by_module(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, dict[str, Logic]]:
    """Part -> module -> its cost, all its instances, without the modules inside it."""
    found: dict[str, dict[str, Logic]] = {}
    # Modules of an expert engine count under the names of the linear engine's.
    for part, own in features(acc, sizes).items():
        modules: Coefficients = model()["parts"]
        found[part] = {
            module: Logic(*(round(evaluate(kinds.get(kind, {}), own)) for kind in KINDS))
            for module, kinds in modules.get(SAME.get(part, part), {}).items()
        }
    return found


def logic_of(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, Logic]:
    """Part -> its cost, modules inside it included unless they are parts themselves."""
    summed = _summed()
    return {
        part: Logic(
            *(round(evaluate(summed.get(SAME.get(part, part), {}).get(k, {}), own)) for k in KINDS)
        )
        for part, own in features(acc, sizes).items()
    }


def evaluate(coefficients: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Sum of products."""
    return sum(cost * values[name] for name, cost in coefficients.items())


@cache
def _summed() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Coefficients over all modules of a part, since most callers want no more."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for part, modules in model()["parts"].items():
        found[part] = {kind: Counter() for kind in KINDS}
        for kinds in modules.values():
            for kind, coefficients in kinds.items():
                found[part][kind].update(coefficients)
    return found
