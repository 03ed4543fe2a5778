"""Which of a source's keys is which parameter of ours."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hwmoe.model.config import MAX_DEPTH, GateScores
from hwmoe.model.loaders.families import Dimension, Entry, Family, families, recognize
from hwmoe.model.loaders.imported import ImportFailed, ImportProblem, Note
from hwmoe.model.loaders.options import ImportOptions
from hwmoe.model.loaders.sizes import Equation
from hwmoe.model.loaders.source import Source

MAX_TASKS = 16


@dataclass(frozen=True)
class Matched:
    """Key ``key`` of the source (prefix included) is an ``entry`` of its family."""

    key: str
    entry: Entry
    layer: int
    task: int | None

    @property
    def target(self) -> str:
        """The parameter of ours, or the linear operation it scales."""
        text = (self.entry.to or self.entry.scales).replace("{l}", str(self.layer))
        return text.replace("{t}", str(self.task))

    @property
    def shape(self) -> tuple[Dimension, ...]:
        """Its dimensions, with the symbols of its own task."""
        task = str(self.task)
        return tuple(
            tuple(t.replace("{t}", task) if isinstance(t, str) else t for t in dimension)
            for dimension in self.entry.shape
        )

    def equation(self, source: Source) -> Equation:
        return Equation(self.key, self.shape, source.shapes[self.key], source.flat)


@dataclass(frozen=True)
class Match:
    """What was recognized in a source."""

    family: Family
    prefix: str
    found: tuple[Matched, ...]
    depth: int
    moe_layers: tuple[int, ...]
    tasks: int  # how many the keys speak of; 0: none
    scores: GateScores  # how its gates make scores, as far as keys and family say

    def targets(self) -> dict[str, list[Matched]]:
        """For each parameter of ours, the keys that make it."""
        made: dict[str, list[Matched]] = defaultdict(list)
        for matched in self.found:
            if matched.entry.to:
                made[matched.target].append(matched)
        return made

    def scales(self) -> Iterator[Matched]:
        return (matched for matched in self.found if matched.entry.scales)


def match_keys(
    source: Source, options: ImportOptions, problems: list[ImportProblem], notes: list[Note]
) -> Match:
    """Assign all keys; those that fit nothing go to ``problems``, by kind.

    Raises `ImportFailed` if no family is recognized, or more than one model.
    """
    keys = [k for k in source.shapes if not _any(k, options.ignore)]
    if left := len(source.shapes) - len(keys):
        text = f"{left} keys left out, as asked: {', '.join(options.ignore)}"
        notes.append(Note("ignore", text))
    family, prefix = _choose(source.what, keys, options)
    if prefix:
        notes.append(Note(prefix, "prefix taken off all keys"))
    found: list[Matched] = []
    foreign: list[str] = []
    scores = family.scores
    for key in keys:
        name = key.removeprefix(prefix)
        matched = _match(family, key, name)
        # Outside the prefix only a classifier may lie, beside its backbone.
        if matched is not None and (key.startswith(prefix) or "heads." in matched.entry.to):
            found.append(matched)
        elif remark := next((r for r in family.ignored if r.covers(name)), None):
            notes.append(Note(key, f"{remark.text}, not part of the model"))
            scores = remark.scores or scores
        else:
            foreign.append(key)
    problems += _foreign(family, prefix, foreign, source)
    problems += _twice(found)
    depth = 1 + max(matched.layer for matched in found)
    tasks = 1 + max((m.task for m in found if m.task is not None), default=-1)
    if any(m.entry.to == "heads.0.weight" for m in found):
        tasks = max(tasks, 1)
    for what, count, limit in (("layers", depth, MAX_DEPTH), ("tasks", tasks, MAX_TASKS)):
        if count > limit:
            text = f"the keys name {count} {what}, over the limit of {limit}"
            raise ImportFailed(source.what, [*problems, ImportProblem(what, "geometry", (), text)])
    moe = {m.layer for m in found if ".moe." in m.entry.to}
    dense = {m.layer for m in found if ".mlp." in m.entry.to}
    for layer in sorted(moe & dense):
        text = "has both a dense feed-forward block and experts"
        problems.append(ImportProblem(f"layer {layer}", "geometry", (), text, "one of the two"))
    return Match(family, prefix, tuple(found), depth, tuple(sorted(moe)), tasks, scores)


def grouped(keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys that differ in one number only, under one name: ``blocks.{0,1,2}.norm1.weight``."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        groups[re.sub(r"[0-9]{1,9}", "#", key, count=1)].append(key)
    named = {}
    for pattern, members in groups.items():
        numbers = [found.group() for k in members if (found := re.search(r"[0-9]{1,9}", k))]
        if len(numbers) > MAX_DEPTH:
            numbers = [*numbers[:2], "...", numbers[-1]]
        text = "{" + ",".join(numbers) + "}" if len(numbers) > 1 else "".join(numbers)
        named[pattern.replace("#", text, 1)] = members
    return named


def _any(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _choose(what: str, keys: list[str], options: ImportOptions) -> tuple[Family, str]:
    models = recognize(keys)
    if options.prefix is not None:
        models = [model for model in models if model[1] == options.prefix]
    if len(models) == 1:
        return models[0]
    if models:
        names = ", ".join(f"{prefix!r} ({family.title})" for family, prefix in models)
        problem = ImportProblem(
            "prefix", "option", (), f"several models in one file, below {names}", "give --prefix"
        )
        raise ImportFailed(what, [problem])
    wanted = "; ".join(f"{f.title}: {' and '.join(f.anchors)}" for f in families())
    some = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
    problem = ImportProblem(
        "keys", "geometry", (), f"no model is recognized by its keys: {some or 'none'}", wanted
    )
    raise ImportFailed(what, [problem])


def _match(family: Family, key: str, name: str) -> Matched | None:
    for entry in family.entries:
        indices = entry.match(name)
        if indices is not None:
            return Matched(key, entry, indices.get("l", 0), indices.get("t"))
    return None


def _twice(found: list[Matched]) -> Iterator[ImportProblem]:
    """Keys that say the same as another; one without a task says it for all."""
    said: dict[tuple[object, ...], dict[int | None, str]] = defaultdict(dict)
    for matched in found:
        entry, task = matched.entry, matched.task
        others = said[matched.target, entry.part, entry.scales != ""]
        first = next((k for t, k in others.items() if task is None or t in (task, None)), None)
        if first is not None:
            text = f"says the same as {first}"
            yield ImportProblem(matched.key, "unexpected", (), text, "--ignore one of them")
        others[task] = matched.key


def _foreign(
    family: Family, prefix: str, keys: list[str], source: Source
) -> Iterator[ImportProblem]:
    """Keys that belong to nothing: refused with the reason, or merely unexpected."""
    for name, members in grouped(keys).items():
        shape = source.shapes[members[0]]
        remark = next(
            (r for r in family.refused if r.covers(members[0].removeprefix(prefix))), None
        )
        if remark is not None:
            yield ImportProblem(name, "unsupported", shape, remark.text, remark.nearest)
        else:
            text = f"no part of a {family.title}"
            yield ImportProblem(
                name,
                "unexpected",
                shape,
                text,
                f"--ignore '{name}' if the model works without it"
                if len(members) == 1
                else "--ignore PATTERN if the model works without them",
            )
