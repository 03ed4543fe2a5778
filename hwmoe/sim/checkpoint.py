"""Runs that stopped half way, on disk: kept when time is over, taken up in another process."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwmoe.errors import HwmoeError
from hwmoe.sim.machine_image import MemoryImage, MemoryRegion
from hwmoe.sim.machine_options import CaptureRequest, MachineOptions
from hwmoe.sim.streams import ByteArray

SUFFIX = ".checkpoint"
_KIND = "hwmoe.checkpoint"
_FORMAT = 1
_NOTES = ("start_cycle", "seconds", "finished")
_IMAGES = "images"

Parts = Mapping[str, str]
"""What makes a run what it is: `sources`, `program`, `images` and `captures` by digests, `options`
as JSON. Two runs of the same parts are the same, cycle by cycle."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a termination: then the cause is a SystemExit. The message: where the run is."""


def run_parts(
    sources: str,
    memory: MemoryImage,
    options: MachineOptions,
    captures: Sequence[CaptureRequest],
    **more: Any,
) -> Parts:
    """`sources`: key of the compiled library. `memory`: before the run. `more`: further options."""
    images = [region for region in memory.regions if region.name == _IMAGES]
    others = [region for region in memory.regions if region.name != _IMAGES]
    requests = json.dumps([asdict(request) for request in captures])
    return {
        "sources": sources,
        "program": _digest(_content(memory, others)),
        "images": _digest(_content(memory, images)),
        "captures": _digest([requests.encode()]),
        "options": json.dumps(asdict(options) | more, sort_keys=True),
    }


@dataclass(frozen=True)
class Kept:
    """A run that was begun: what `MachineSession.save` gave, the cycle in which it was started, the
    seconds it has taken. `finished`: the machine has come to its end, and was not yet asked."""

    saved: Mapping[str, ByteArray]
    start_cycle: int
    seconds: float
    finished: bool


@dataclass(frozen=True)
class Checkpoints:
    """A folder in which runs are kept, each in a file. `resume`: go on with the one that is there.

    For messages: `shown`, what to call the folder, and `hint`, how to go on.
    """

    folder: Path
    resume: bool = False
    shown: Path | None = None
    hint: str = "resume it"

    def expect(self, sources: str) -> None:
        """HwmoeError, before anything is built, if no run of these sources is kept."""
        found = [_about(path) for path in self.files()]
        if not any(about is None or about["parts"]["sources"] == sources for about in found):
            raise self.none({"sources": sources})

    def files(self) -> list[Path]:
        """All runs that are kept."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def none(self, parts: Parts) -> HwmoeError:
        """How what is kept differs from the run with these parts."""
        lines = []
        for path in self.files():
            about = _about(path)
            what = "is damaged" if about is None else f"differs in {_differences(about, parts)}"
            lines.append(f"\n  {path.name} {what}")
        if not lines:
            return HwmoeError(f"{self.folder} holds no run to resume: run from the start")
        return HwmoeError(
            f"{self.folder} holds no run to resume that is the same:{''.join(lines)}\n"
            "Give what that run was given, or run from the start"
        )


@dataclass(frozen=True)
class Place:
    """Where one run is kept."""

    checkpoints: Checkpoints
    parts: Parts

    @property
    def resume(self) -> bool:
        return self.checkpoints.resume

    @property
    def path(self) -> Path:
        return self.checkpoints.folder / f"run-{_digest([_text(self.parts)])[:16]}{SUFFIX}"

    def keep(self, kept: Kept) -> str:
        """Write it beside, then rename; what to tell the user. OSError if it cannot be written."""
        path = self.path
        notes = {name: getattr(kept, name) for name in _NOTES}
        about = {"format": _FORMAT, "parts": dict(self.parts), "notes": notes}
        about["digest"] = _seal(about, kept.saved)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            save_file(dict(kept.saved), beside, metadata={_KIND: json.dumps(about)})
            os.replace(beside, path)
        except SafetensorError as error:  # a full disk, among others
            raise OSError(f"{path}: {error}") from None
        finally:
            beside.unlink(missing_ok=True)
        shown = (self.checkpoints.shown or path.parent) / path.name
        return f"it is kept in {shown}; to go on: {self.checkpoints.hint}"

    def take(self) -> Kept:
        """HwmoeError if none is there, it is damaged, or all are of other runs: how they differ."""
        if not self.path.is_file():
            raise self.checkpoints.none(self.parts)
        about, saved = _about(self.path), _arrays(self.path)
        if not about or not saved or about.get("digest") != _seal(about, saved):
            raise HwmoeError(f"{self.path} is damaged: delete it and run from the start")
        return Kept(saved, **about["notes"])

    def drop(self) -> None:
        """The run has ended."""
        self.path.unlink(missing_ok=True)


def _differences(about: Mapping[str, Any], parts: Parts) -> str:
    names = []
    for part, now in parts.items():
        before = about["parts"].get(part)
        if before == now:
            continue
        if part == "options" and before:
            old, new = json.loads(before), json.loads(now)
            changed = [name for name in new if old.get(name) != new[name]]
            told = [f"{name} was {old.get(name)}, is {new[name]}" for name in changed]
            part += f" ({'; '.join(told)})"
        names.append(part)
    return ", ".join(names)


def _about(path: Path) -> dict[str, Any] | None:
    """What the file says of itself; None if it is not sound."""
    try:
        with safe_open(path, "numpy") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})[_KIND])
        known = about["format"] == _FORMAT and isinstance(about["parts"]["sources"], str)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return about if known else None


def _arrays(path: Path) -> dict[str, ByteArray] | None:
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _seal(about: Mapping[str, Any], saved: Mapping[str, ByteArray]) -> str:
    """Digest of everything in the file."""
    text = {name: value for name, value in about.items() if name != "digest"}
    arrays = (part for name in sorted(saved) for part in (name.encode(), saved[name].tobytes()))
    return _digest([_text(text), *arrays])


def _content(memory: MemoryImage, regions: Iterable[MemoryRegion]) -> Iterator[bytes]:
    """Where regions lie, and what the machine cannot change in them."""
    for region in regions:
        yield _text(asdict(region))
        if not region.writable:
            yield memory[region.name].tobytes()


def _text(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True).encode()


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()
