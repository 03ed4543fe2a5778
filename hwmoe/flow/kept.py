"""Results that took long: a folder of JSON files, each named by what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmoe.codegen.folder import read_json, write_text


@dataclass(frozen=True)
class Kept:
    """A result is there whole or not at all, so that work may stop anywhere and go on later."""

    folder: Path

    @staticmethod
    def digest(*parts: bytes) -> str:
        """24 hex digits."""
        total = hashlib.sha256()
        for part in parts:
            total.update(hashlib.sha256(part).digest())
        return total.hexdigest()[:24]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def read(self, name: str) -> Any:
        """`HwmoeError` if it is not there, or not JSON any more."""
        return read_json(self.path(name))

    def put(self, name: str, result: Any) -> None:
        write_text(self.path(name), json.dumps(result))

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returned when it was asked under this name first."""
        if not self.has(name):
            self.put(name, make())
        return self.read(name)
