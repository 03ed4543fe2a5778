"""A folder of pictures as a data set: class folders, as torchvision's ImageFolder has them.

    FOLDER/CLASS/*.jpg                      the same pictures to calibrate (or train) and to test
    FOLDER/train/CLASS/*, FOLDER/val/...    apart; `test` and `validation` serve as `val`

A file `images.toml` in FOLDER says what the layout does not: `classes` (folder names in the order
of the model's classes), `task` (which of several the classes are of), `crop_pct`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwmoe.errors import HwmoeError, explain_validation
from hwmoe.model.config import ModelConfig
from hwmoe.model.pictures import CROP_PCT, MODES, SUFFIXES, Uint8, read_picture

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

ABOUT = "images.toml"
TRAIN, TEST = ("train",), ("val", "validation", "test")
CACHE_BYTES = 1 << 30
MOST_PROBLEMS = 20
CHECKED = 16  # pictures held at once while all are looked at

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""


def _quiet(what: str, done: int, total: int) -> None:
    """Say nothing."""


class About(BaseModel):
    """The file `images.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = ()
    task: str | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] = CROP_PCT


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files of one part, and how to read them. Decoded pictures are kept while they are few.

    ``labels`` int64 [N] are of ``task``; both None where the folder names no classes.
    """

    root: Path
    files: list[Path]
    labels: npt.NDArray[np.int64] | None
    task: str | None
    config: ModelConfig
    crop_pct: float
    kept: dict[int, Uint8] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Raw pixels float32 [n, C, H, W] of the pictures with these numbers.

        Raises `HwmoeError` with all that cannot be read.
        """
        values, problems = self._read(index)
        if problems:
            raise unusable(self.root, problems)
        return np.stack(values).astype(np.float32) / np.float32(255)

    def _read(self, index: npt.NDArray[np.int64]) -> tuple[list[Uint8], list[str]]:
        values: list[Uint8] = []
        problems: list[str] = []
        for number in index.tolist():
            try:
                values.append(self._one(number))
            except HwmoeError as error:
                problems.append(f"{self.files[number].relative_to(self.root)}: {error}")
        return values, problems

    def part(self, index: npt.NDArray[np.int64]) -> Pictures:
        """Only the pictures with these numbers."""
        labels = None if self.labels is None else self.labels[index]
        return replace(self, files=[self.files[i] for i in index], labels=labels, kept={})

    def problems(self, progress: Progress = _quiet) -> list[str]:
        """What is wrong with which picture; every one is decoded once."""
        found: list[str] = []
        for start in range(0, len(self), CHECKED):
            end = min(start + CHECKED, len(self))
            found += self._read(np.arange(start, end))[1]
            progress("reading pictures", end, len(self))
        return found

    def _one(self, number: int) -> Uint8:
        if number in self.kept:
            return self.kept[number]
        config = self.config
        pixels = read_picture(self.files[number], config.channels, config.image, self.crop_pct)
        if len(self) * pixels.nbytes <= CACHE_BYTES:
            self.kept[number] = pixels
        return pixels

    def digest(self) -> str:
        """Of names, sizes and times of change of the files."""
        total = hashlib.sha256(f"{self.crop_pct} {self.config.image}".encode())
        for file in self.files:
            about = file.stat()
            name = file.relative_to(self.root)
            total.update(f"{name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return total.hexdigest()


def open_folder(path: Path, config: ModelConfig) -> tuple[Pictures, Pictures]:
    """The pictures to calibrate or train on, and those to test on; the same if not apart.

    Raises `HwmoeError` for what contradicts the model or leaves open which class is which.
    """
    about = _about(path)
    if config.channels not in MODES:
        raise HwmoeError(f"pictures have 1 or 3 channels, model {config.name!r} {config.channels}")
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    train = next((path / name for name in TRAIN if name in names), None)
    test = next((path / name for name in TEST if name in names), None)
    if train is None or test is None:
        both = _part(path, path, about, config)
        return both, both
    return _part(path, train, about, config), _part(path, test, about, config)


def _about(path: Path) -> About:
    file = path / ABOUT
    if not file.is_file():
        return About()
    try:
        return About.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HwmoeError(f"{file} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise explain_validation(str(file), error) from None


def _part(root: Path, path: Path, about: About, config: ModelConfig) -> Pictures:
    folders = sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        files = _pictures_in(path)
        return _some(root, path, Pictures(root, files, None, None, config, about.crop_pct))
    classes = about.classes or tuple(folders)
    problems = _class_problems(folders, about)
    task = about.task or (config.tasks[0].name if len(config.tasks) == 1 else None)
    sizes = {own.name: own.classes for own in config.tasks}
    if task is not None and task not in sizes:
        problems.append(f"{ABOUT}: no task {task!r}; the model has {', '.join(sizes)}")
    elif task is not None and sizes[task] != len(classes):
        problems.append(
            f"{len(classes)} classes, but task {task!r} has {sizes[task]}; list all of them "
            f"in order as `classes` in {ABOUT}"
        )
    if problems:
        raise unusable(path, problems)
    files, labels = [], []
    for folder in folders:
        found = _pictures_in(path / folder)
        files += found
        labels += [classes.index(folder)] * len(found)
    known = None if task is None else np.array(labels, np.int64)
    return _some(root, path, Pictures(root, files, known, task, config, about.crop_pct))


def _class_problems(folders: list[str], about: About) -> list[str]:
    if about.classes:
        problems = [
            f"folder {name!r} is not among the `classes` of {ABOUT}"
            for name in folders
            if name not in about.classes
        ]
        if len(set(about.classes)) != len(about.classes):
            problems.append(f"{ABOUT}: a class is listed twice")
        return problems
    # torchvision sorts names as text, timm sorts the numbers in them as numbers.
    if folders != sorted(folders, key=_natural):
        return [
            "torchvision and timm number these classes differently (10 before or after 2); "
            f"list them in order as `classes` in {ABOUT}"
        ]
    return []


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts]


def _pictures_in(folder: Path) -> list[Path]:
    """Picture files below a folder, in the order of their paths; links are not followed."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(where, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _some(root: Path, path: Path, pictures: Pictures) -> Pictures:
    if not len(pictures):
        kinds = ", ".join(SUFFIXES)
        raise HwmoeError(f"{path} holds no pictures ({kinds}), nor do folders in it")
    return pictures


def unusable(path: Path, problems: list[str]) -> HwmoeError:
    """All problems of a folder as one error."""
    shown = [f"  {problem}" for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        shown.append(f"  and {len(problems) - MOST_PROBLEMS} more")
    return HwmoeError(f"{path} cannot be used:\n" + "\n".join(shown))
