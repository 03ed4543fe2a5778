"""Key names of other packages, read from families.toml."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from hwmoe.model.config import GateScores

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

# A product, for instance (3, "D").
Dimension = tuple[int | str, ...]


@dataclass(frozen=True)
class Entry:
    """One kind of key; the fields are explained in families.toml."""

    pattern: str
    shape: tuple[Dimension, ...]
    to: str = ""
    scales: str = ""
    part: tuple[int, int] = (0, 1)
    transpose: bool = False
    zeros: str = ""
    row: bool = False

    def match(self, key: str) -> dict[str, int] | None:
        """Layer ``l`` and task ``t`` of a key of this kind, else None."""
        found = _regex(self.pattern).fullmatch(key)
        return None if found is None else {k: int(v) for k, v in found.groupdict().items()}


@dataclass(frozen=True)
class Remark:
    """Keys that are refused or ignored, and why; ``scores``: what they say of the gates."""

    keys: tuple[str, ...]
    text: str
    nearest: str = ""
    scores: GateScores | None = None

    def covers(self, key: str) -> bool:
        return any(fnmatchcase(key, pattern) for pattern in self.keys)


@dataclass(frozen=True)
class Family:
    """The names of one package's models."""

    name: str
    title: str
    anchors: tuple[str, ...]
    norm_eps: float
    assumed: str
    heads: str
    scores: GateScores
    entries: tuple[Entry, ...]
    refused: tuple[Remark, ...]
    ignored: tuple[Remark, ...]

    def prefixes(self, keys: Collection[str]) -> list[str]:
        """What stands before the names of each model of this family among ``keys``."""
        first, *others = self.anchors
        ends = {key[: -len(first)] for key in keys if key.endswith(first)}
        return sorted(
            prefix
            for prefix in ends
            if (not prefix or prefix.endswith("."))
            and all(any(fnmatchcase(k, prefix + a) for k in keys) for a in others)
        )


def parse_shape(text: str) -> tuple[Dimension, ...]:
    """``"3*D D"`` as ((3, "D"), ("D",))."""
    return tuple(
        tuple(int(term) if term.isdigit() else term for term in dimension.split("*"))
        for dimension in text.split()
    )


@cache
def families() -> tuple[Family, ...]:
    """All families; those that extend another come first, since they say more."""
    text = files("hwmoe.model.loaders").joinpath("families.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    found = [_family(name, table, tables) for name, table in tables.items()]
    return tuple(sorted(found, key=lambda family: "base" not in tables[family.name]))


def recognize(keys: Collection[str]) -> list[tuple[Family, str]]:
    """Every model among ``keys``, as family and prefix; a key belongs to one family only."""
    found: dict[str, Family] = {}
    for family in families():
        for prefix in family.prefixes(keys):
            found.setdefault(prefix, family)
    return [(family, prefix) for prefix, family in found.items()]


def _family(name: str, table: dict[str, Any], tables: dict[str, dict[str, Any]]) -> Family:
    base = tables.get(table.get("base", ""), {})
    merged = {**base, **table}
    keys = {**base.get("keys", {}), **table["keys"]}
    return Family(
        name,
        merged["title"],
        tuple(merged["anchors"]),
        merged["norm_eps"],
        merged["assumed"],
        merged["heads"],
        merged.get("scores", "topk"),
        tuple(_entry(pattern, fields) for pattern, fields in keys.items()),
        tuple(_remarks("refused", base, table)),
        tuple(_remarks("ignored", base, table)),
    )


def _entry(pattern: str, fields: dict[str, Any]) -> Entry:
    values = {**fields, "shape": parse_shape(fields["shape"])}
    if "part" in values:
        values["part"] = tuple(values["part"])
    return Entry(pattern, **values)


def _remarks(kind: str, *tables: dict[str, Any]) -> Iterator[Remark]:
    for table in tables:
        for item in table.get(kind, []):
            rest = {name: item[name] for name in ("nearest", "scores") if name in item}
            yield Remark(tuple(item["keys"]), item["text"], **rest)


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    # Nine digits: a longer index is no index, and int() of a long string is slow.
    return re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>[0-9]{1,9})", re.escape(pattern)))
