"""Configuration files of Vitis against the documented keys (config_keys.toml)."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Entries = list[tuple[str, str, str]]
"""(section, key, value)."""


@cache
def documented(kind: str) -> dict[str, dict[str, str]]:
    """section -> key -> regular expression of its values; `kind` is link or hls."""
    text = Path(__file__).with_name("config_keys.toml").read_text(encoding="utf-8")
    data: dict[str, Any] = tomllib.loads(text)
    keys: dict[str, dict[str, str]] = data[kind]["keys"]
    return keys


def entries(text: str) -> Entries:
    """What a file says, in order; comments begin a line."""
    found: Entries = []
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, equals, value = line.partition("=")
        assert equals, f"not key=value: {line}"
        found.append((section, key, value))
    return found


def problems(kind: str, text: str) -> list[str]:
    """Sections, keys and values that are not documented."""
    keys, found = documented(kind), []
    for section, key, value in entries(text):
        if section not in keys:
            found.append(f"no section [{section}]")
        elif key not in keys[section]:
            found.append(f"no key {key} in [{section}]")
        elif not re.fullmatch(keys[section][key], value):
            found.append(f"{key}={value}: not {keys[section][key]}")
    return found
