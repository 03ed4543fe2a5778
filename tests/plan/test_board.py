"""Boards and accelerators as data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hwmoe.errors import HwmoeError, explain_validation
from hwmoe.plan import board as board_module
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import board_names, load_board

SOURCE = Path(board_module.__file__).parents[2] / "boards"


def test_the_two_boards_are_there() -> None:
    assert {"u280", "zcu102"} <= set(board_names())


@pytest.mark.parametrize("name", board_names())
def test_every_board_is_sound(name: str) -> None:
    board = load_board(name)
    r = board.resources
    assert board.name == name
    assert min(r.lut, r.ff, r.dsp, r.bram36, r.slrs) > 0
    assert r.ff == 2 * r.lut  # eight LUTs and sixteen flip-flops a slice
    memory = board.memory.peak_gb_s * board.memory.usable_share / board.clock_mhz * 1000
    ports = board.axi.ports * board.axi.width_bits / 8
    assert board.bytes_per_cycle == pytest.approx(min(memory, ports))
    assert board.bytes_per_cycle >= 8
    assert board.part.startswith("xc")
    assert (board.runtime == "xrt") == (board.family == "alveo")


def test_numbers_of_the_data_sheets() -> None:
    zcu102, u280 = load_board("zcu102"), load_board("u280")
    assert zcu102.resources.model_dump() == {
        "lut": 274080, "ff": 548160, "dsp": 2520, "bram36": 912, "uram": 0, "slrs": 1,
    }  # fmt: skip
    assert (zcu102.memory.peak_gb_s, u280.memory.peak_gb_s) == (19.2, 460.0)
    assert (u280.resources.dsp, u280.resources.uram, u280.memory.channels) == (9024, 960, 32)
    # HBM of 460 GB/s, 80 % usable, at 300 MHz, is wider than 32 ports of 256 bits.
    assert u280.bytes_per_cycle == 32 * 32
    assert zcu102.bytes_per_cycle == pytest.approx(19.2e9 * 0.8 / 300e6)


def own(tmp_path: Path, change: Callable[[str], str] = lambda text: text) -> str:
    text = (SOURCE / "zcu102.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(change(text))
    return str(path)


def test_a_users_own_board(tmp_path: Path) -> None:
    spec = own(tmp_path, lambda t: t.replace('"zcu102"', '"my-board"').replace("2520", "100"))
    board = load_board(spec)
    assert (board.name, board.resources.dsp) == ("my-board", 100)
    assert board.memory == load_board("zcu102").memory


def test_unknown_names() -> None:
    with pytest.raises(HwmoeError, match=r"unknown board 'zcu999'; known are .*u280.*zcu102"):
        load_board("zcu999")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(HwmoeError, match=r"none\.toml: cannot be read"):
        load_board(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(HwmoeError, match="cannot be read"):
        load_board(str(tmp_path / "folder.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HwmoeError, match="cannot be read"):
        load_board(str(tmp_path / "binary.toml"))


def test_not_toml(tmp_path: Path) -> None:
    with pytest.raises(HwmoeError, match=r"mine\.toml: not TOML: .*line"):
        load_board(own(tmp_path, lambda text: text + "\nlut = = 3"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dsp = 2520", "dsp = 0", r"resources\.dsp: .*greater than or equal to 1"),
        ("lut = 274080", "lut = -1", r"resources\.lut"),
        ("uram = 0", "uram = -1", r"resources\.uram"),
        ("bram36 = 912", "", r"resources\.bram36: Field required"),
        ("bram36 = 912", "bram36 = 912\nbram18 = 1", r"resources\.bram18: Extra"),
        ("usable_share = 0.8", "usable_share = 1.2", r"memory\.usable_share"),
        ("peak_gb_s = 19.2", "peak_gb_s = 0", r"memory\.peak_gb_s"),
        ("width_bits = 128", "width_bits = 12", r"axi\.width_bits"),
        ("clock_mhz = 300", "clock_mhz = 3e8", "clock_mhz"),
        ('runtime = "pynq"', 'runtime = "mine"', "runtime"),
        ('name = "zcu102"', 'name = "../x"', "name"),
        ("[axi] ", "[bus] ", "axi: Field required"),
    ],
)
def test_wrong_values(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (SOURCE / "zcu102.toml").read_text()
    assert text.count(old) == 1
    with pytest.raises(HwmoeError, match=message):
        load_board(own(tmp_path, lambda t: t.replace(old, new)))


def test_all_problems_of_a_board_at_once(tmp_path: Path) -> None:
    def spoil(text: str) -> str:
        return text.replace("2520", "0").replace('"pynq"', '"x"').replace("ports = 6", "ports = 0")

    with pytest.raises(HwmoeError) as caught:
        load_board(own(tmp_path, spoil))
    assert all(word in str(caught.value) for word in ("resources.dsp", "runtime", "axi.ports"))


def accelerator_problems(data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        AcceleratorConfig.model_validate(data)
    return str(explain_validation("accelerator", caught.value))


def test_all_problems_of_an_accelerator_at_once() -> None:
    text = accelerator_problems(
        {
            "linear": {"t_in": 12, "t_out": 10, "t_epi": 8, "w_rows": 2},
            "attention": {"rows": 0, "dim_lanes": 4, "heads": 3},
        }
    )
    for problem in (
        "t_epi=8 must divide t_in=12",
        "t_epi=8 must divide t_out=10",
        "t_out=10 must be a multiple of 4*w_rows=8",
        "attention.rows",
        "attention.heads: Extra",
    ):
        assert problem in text
    text = accelerator_problems({"linear": {"t_tok": 9, "x_words": 0, "max_tokens": 1025}})
    assert all(f"linear.{name}" in text for name in ("t_tok", "x_words", "max_tokens"))


def test_the_two_kernels_must_fit_together() -> None:
    text = accelerator_problems({"linear": {"t_in": 16}, "attention": {"dim_lanes": 12}})
    assert "attention.dim_lanes=12 must divide linear.t_in=16" in text


def test_macs_a_cycle() -> None:
    acc = AcceleratorConfig.model_validate(
        {"linear": {"t_tok": 2}, "attention": {"rows": 3, "head_units": 2}}
    )
    assert acc.linear.macs_per_cycle == 16 * 16 * 2
    assert acc.attention.macs_per_cycle == 3 * 8 * 2
