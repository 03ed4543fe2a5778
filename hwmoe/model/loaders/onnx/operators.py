"""Which operations an imported graph may hold, from ``operators.toml``."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

_TABLE: dict[str, Any] = tomllib.loads(
    (files("hwmoe.model.loaders.onnx") / "operators.toml").read_text(encoding="utf-8")
)
_ROLES = {role: frozenset(names) for role, names in _TABLE.items() if role != "nearest"}

MOVEMENT, SELECTION, PRODUCTS = _ROLES["movement"], _ROLES["selection"], _ROLES["products"]
PASSING, SHAPES, ROUTING = _ROLES["passing"], _ROLES["shapes"], _ROLES["routing"]
BROADCASTING = _ROLES["broadcasting"]
SCALING = frozenset({"Mul", "Div"})
QUANTIZERS = frozenset({"Quant", "BipolarQuant"})
SUPPORTED = frozenset[str]().union(*_ROLES.values())


def nearest(op: str) -> str:
    """The nearest supported thing, as a hint."""
    hint = _TABLE["nearest"].get(op)
    return f"nearest: {hint}" if hint else "nothing like it is in a MoEViT"
