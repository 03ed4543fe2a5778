"""Templates into text: Python computes, the template places, nothing is written here."""

from __future__ import annotations

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


def render(template: str, **context: Any) -> str:
    """Render `template`, a path below hwmoe/templates."""
    return environment().get_template(template).render(**context)
