"""Synthesis of a large design part by part: the hierarchy is kept anyway, so the sums are the same.

Yosys maps module after module, and looks at the whole design for each; parts by themselves take a
fraction of the time, several run side by side, and what did not change is not done again.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hwmoe.errors import HwmoeError
from hwmoe.process import end_tools
from hwmoe.synth.resources import Cells, ModuleCells, Resources
from hwmoe.synth.yosys import SECONDS, synthesize

Done = Callable[[int, int], None]
File = TypeVar("File", str, Path)
PARTS = (
    "hwmoe_linear",
    "hwmoe_expert",
    "hwmoe_attention",
    "hwmoe_layernorm",
    "hwmoe_gate",
    "hwmoe_fetch",
)
"""Large modules that are synthesized by themselves, where a machine has them."""
_MODULE = re.compile(r"^\s*module\s+(\w+)", re.MULTILINE)
_WORD = re.compile(r"\w+")


def synthesize_parts(
    sources: Sequence[Path],
    top: str,
    parts: Sequence[str],
    work: Path,
    timeout: float = SECONDS,
    uram: bool = False,
    done: Done | None = None,
) -> Resources:
    """As `synthesize`, with each of `parts`, modules without parameters, in a run of its own.

    A run reads the files of its own modules only, so that a change elsewhere leaves it as it is.
    `done` is told how many of the runs are finished, of how many.
    """
    runs = runs_of(top, parts)
    found: dict[str, Resources] = {}
    with ThreadPoolExecutor(max_workers=min(len(runs), os.cpu_count() or 1)) as pool:
        jobs = {
            pool.submit(
                synthesize,
                needed(sources, name, without),
                name,
                work / name,
                timeout,
                uram,
                True,
                without,
            ): name
            for name, without in runs
        }
        try:
            for job in as_completed(jobs):
                found[jobs[job]] = job.result()
                if done:
                    done(len(found), len(runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_tools()  # threads wait for them
            raise
    return joined(top, found)


def parts_of(modules: Iterable[str]) -> list[str]:
    """Those of `PARTS` that are among a machine's modules."""
    there = set(modules)
    return [part for part in PARTS if part in there]


def runs_of(top: str, parts: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(module, modules inside it that have a run of their own) of each run."""
    return [(top, tuple(parts)), *((part, ()) for part in parts)]


def needed(sources: Sequence[Path], top: str, without: Sequence[str] = ()) -> list[Path]:
    """The files that `top` is made of, down to modules in `without`, whose insides are not needed.

    Every word that is the name of a module counts, so there may be files too many, never too few.
    """
    return needed_of({path: path.read_text(encoding="utf-8") for path in sources}, top, without)


def needed_of(texts: Mapping[File, str], top: str, without: Sequence[str] = ()) -> list[File]:
    """The same of files that are not on disk."""
    home = {name: path for path, text in texts.items() for name in _MODULE.findall(text)}
    if missing := [name for name in (top, *without) if name not in home]:
        raise HwmoeError(f"synthesis: no file holds the module {missing[0]}")
    wanted, found = [top], set[str]()
    while wanted:
        name = wanted.pop()
        found.add(name)
        if name not in without:
            inside = {word for word in _WORD.findall(texts[home[name]]) if word in home}
            wanted += sorted(inside - found)
    files = {home[name] for name in found}
    return [path for path in texts if path in files]


def joined(top: str, found: Mapping[str, Resources]) -> Resources:
    """Of the runs by module: the rest of the design and its parts, each as often as it stands
    there."""
    whole = found[top]
    other = Counter(whole.other)
    modules = {module.name: module for module in whole.modules}
    for name, part in found.items():
        if name == top:
            continue
        count = other.pop(name, 0)
        for module in part.modules:
            more = ModuleCells(module.name, 0, Cells())
            modules[module.name] = _plus(modules.get(module.name, more), module, count)
        for kind, number in part.other.items():
            other[kind] += number * count
    every = tuple(modules[name] for name in sorted(modules))
    total = sum((module.cells for module in every), Cells())
    return replace(whole, modules=every, total=total, other=dict(sorted(other.items())))


def _plus(one: ModuleCells, more: ModuleCells, count: int) -> ModuleCells:
    cells = one.cells
    for _ in range(count):
        cells += more.cells
    return ModuleCells(one.name, one.instances + more.instances * count, cells)
