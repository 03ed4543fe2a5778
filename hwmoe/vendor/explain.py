"""A failed tool's log -> what it means and what to do, by failures.toml."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


@cache
def known_failures() -> tuple[tuple[re.Pattern[str], str], ...]:
    """(pattern, what it means), in order."""
    text = resources.files("hwmoe.vendor").joinpath("failures.toml").read_text("utf-8")
    entries = tomllib.loads(text)["failure"]
    return tuple((re.compile(entry["pattern"]), entry["means"]) for entry in entries)


def explain(log: str) -> str:
    """The line of the log that says why, and what it means; the first error if it is unknown."""
    lines = log.splitlines()
    for pattern, means in known_failures():
        for line in lines:
            if pattern.search(line):
                return f"  {line.strip()}\n{means}"
    errors = [line.strip() for line in lines if re.match(r"\s*(hwmoe: error|ERROR|Error):?", line)]
    return f"  {errors[0]}" if errors else ""
