"""Templates into text: Python computes, the template places, nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """The one Jinja environment; an undefined name is an error, never an empty string."""
    return Environment(
        loader=PackageLoader("hwmoe", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fixed(template: str) -> str:
    """The text of `template`, a path below hwmoe/templates, as it stands: nothing is placed."""
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), template)[0]


def sources(folder: str, names: Iterable[str]) -> dict[str, str]:
    """File name -> text of fixed SystemVerilog modules in `folder`, below hwmoe/templates."""
    return {f"{name}.sv": fixed(f"{folder}/{name}.sv") for name in names}


def render(template: str, **context: Any) -> str:
    """Render `template`, a path below hwmoe/templates."""
    return environment().get_template(template).render(**context)
