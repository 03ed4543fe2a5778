"""A board as data: boards/*.toml, or a user's own file of the same form."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmoe.errors import HwmoeError, explain_validation

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

Count = Annotated[int, Field(ge=1)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(_Data):
    """What the part holds; BRAM in blocks of 36 Kbit, `slr_share` of the LUTs of each SLR."""

    lut: Count
    ff: Count
    dsp: Count
    bram36: Count
    uram: Annotated[int, Field(ge=0)]
    slrs: Count = 1
    slr_share: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()

    @model_validator(mode="after")
    def _check_shares(self) -> Resources:
        if self.slr_share and len(self.slr_share) != self.slrs:
            raise ValueError(f"slr_share has {len(self.slr_share)} entries for slrs={self.slrs}")
        if self.slr_share and abs(sum(self.slr_share) - 1) > 1e-6:
            raise ValueError(f"slr_share must sum to 1, not {sum(self.slr_share):g}")
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each SLR: as given, otherwise equal."""
        return self.slr_share or (1 / self.slrs,) * self.slrs


class Memory(_Data):
    """Off-chip memory: peak in 10^9 bytes a second, latency in cycles of the fabric clock."""

    kind: str
    channels: Count
    peak_gb_s: Annotated[float, Field(gt=0)]
    usable_share: Annotated[float, Field(gt=0, le=1)]
    latency_cycles: Count


class Axi(_Data):
    """Ports of the fabric into the off-chip memory."""

    ports: Count
    width_bits: Annotated[int, Field(ge=32, le=1024, multiple_of=8)]


class Board(_Data):
    """One board. `clock_mhz` is an assumption until a place and route has met it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    part: str
    board_part: str
    family: str
    clock_mhz: Annotated[float, Field(gt=0, le=1000)]
    runtime: Literal["pynq", "xrt"]
    resources: Resources
    memory: Memory
    axi: Axi

    @property
    def bytes_per_cycle(self) -> float:
        """Usable off-chip bytes in one cycle of the fabric clock, all ports together."""
        memory = self.memory.peak_gb_s * self.memory.usable_share * 1e3 / self.clock_mhz
        return min(memory, self.axi.ports * self.axi.width_bits / 8)


def board_names() -> list[str]:
    """Names of the boards that come with hwmoe."""
    found = resources.files("hwmoe.boards").iterdir()
    return sorted(p.name.removesuffix(".toml") for p in found if p.name.endswith(".toml"))


def load_board(spec: str) -> Board:
    """A board by name, or by the path of a .toml file; `HwmoeError` if it is neither."""
    if spec in board_names():
        text = resources.files("hwmoe.boards").joinpath(f"{spec}.toml").read_text("utf-8")
    elif spec.endswith(".toml"):
        try:
            text = Path(spec).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HwmoeError(f"board {spec}: cannot be read ({error})") from None
    else:
        raise HwmoeError(
            f"unknown board '{spec}'; known are {', '.join(board_names())}, or give the path of "
            "a .toml file of the same form"
        )
    try:
        data: dict[str, Any] = tomllib.loads(text)
        return Board.model_validate(data)
    except tomllib.TOMLDecodeError as error:
        raise HwmoeError(f"board {spec}: not TOML: {error}") from None
    except ValidationError as error:
        raise explain_validation(f"board {spec}", error) from None
