"""How a family of boards is called inside Vivado, as data: families.toml."""

from __future__ import annotations

import sys
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

ALVEO = "alveo"
"""Cards of the Vitis flow: the platform has the clock and the memory, no block design is made."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryPort(_Data):
    """A port of the PS into its memory; `use` and `width` are its parameters, `segments` the
    memory map in which its address segments are."""

    port: str
    clock: str
    use: str
    width: str
    segments: str


class Family(_Data):
    """Names of the PS core, its pins and its parameters; memory ports in the order of use."""

    ps: str
    rule: str
    preset: dict[str, str]
    clock: str
    reset: str
    interrupt: str
    clock_setting: str
    control_port: str
    control_clock: str
    control_base: int
    settings: dict[str, int | str]
    memory: tuple[MemoryPort, ...]


@cache
def families() -> dict[str, Family]:
    """All families with a PS, by the name that board files use."""
    text = resources.files("hwmoe.vendor").joinpath("families.toml").read_text("utf-8")
    return {name: Family.model_validate(data) for name, data in tomllib.loads(text).items()}
