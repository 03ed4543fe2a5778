"""Output folders that are whole or absent: written beside, renamed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwmoe.errors import HwmoeError
from hwmoe.files import replacing

MARKER = "hwmoe.json"
KEPT = "build"
"""Compiled simulators: kept from one run to the next, as they carry digests."""


def check_folder(folder: Path, marker: str = MARKER) -> None:
    """`HwmoeError` unless `folder` is absent, empty, or an earlier result, which has a `marker`."""
    if folder.is_file():
        raise HwmoeError(f"{folder} is a file; give --out a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).is_file():
        raise HwmoeError(
            f"{folder} holds other files (no {marker} in it); choose a new or empty folder "
            "for --out"
        )


@contextlib.contextmanager
def staged(folder: Path, marker: str = MARKER) -> Iterator[Path]:
    """A folder beside `folder` that replaces it if the block succeeds, and vanishes if not."""
    check_folder(folder, marker)
    folder = folder.absolute()
    stage = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    made = [parent for parent in stage.parents if not parent.exists()]
    try:
        stage.mkdir(parents=True)
        if (folder / KEPT).is_dir():
            shutil.copytree(folder / KEPT, stage / KEPT)
        yield stage
        _swap(stage, folder)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise HwmoeError(f"cannot write {folder}: {error.strerror or error}{where}") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # it holds the result
                parent.rmdir()


def _swap(stage: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    try:
        stage.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename; makes the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """`HwmoeError` if the file is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HwmoeError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise HwmoeError(f"{path}: cannot be read ({error})") from None
