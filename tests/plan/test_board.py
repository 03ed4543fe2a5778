"""Boards and accelerators as data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hwmoe.dse.defaults import DSP_SHARE, default_accelerator, multipliers_of
from hwmoe.errors import HwmoeError, explain_validation
from hwmoe.model.zoo import load_model
from hwmoe.plan import board as board_module
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import board_names, load_board
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import QuantizedModel

SOURCE = Path(board_module.__file__).parents[2] / "boards"


# Transfers a second in millions and bits of one channel, as the comments in the files have them.
# The U50's rate is worked out from its 316 GB/s.
CHANNEL = {
    "kv260": ("DDR4", 1, 2400, 64),
    "pynq-z2": ("DDR3", 1, 1050, 16),
    "u250": ("DDR4", 4, 2400, 64),
    "u280": ("HBM2", 32, 1800, 64),
    "u50": ("HBM2", 32, 1234, 64),
    "ultra96v2": ("LPDDR4", 1, 1066, 32),
    "zcu102": ("DDR4", 1, 2133, 64),
    "zcu104": ("DDR4", 1, 2133, 64),
}
# What JEDEC's standard of each kind allows, in millions of transfers a second.
RATES = {
    "DDR3": (800, 2133),
    "DDR4": (1600, 3200),
    "LPDDR4": (533, 4266),
    "HBM2": (1000, 2000),
}
PREFIXES = {
    "zynq-7000": ("xc7z",),
    "zynq-ultrascale-plus": ("xczu", "xck"),
    "alveo": ("xcu",),
}


def test_the_boards_are_there() -> None:
    assert set(board_names()) == set(CHANNEL)


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
    assert board.part.startswith(PREFIXES[board.family])
    assert (board.runtime == "pynq") == board.family.startswith("zynq")
    assert ("xilinx_" + name in board.board_part) == (board.family == "alveo")
    assert len(r.shares) == r.slrs
    assert sum(r.shares) == pytest.approx(1)
    assert r.slrs == 1 or r.slr_share


@pytest.mark.parametrize("name", board_names())
def test_every_memory_answers_in_the_same_time(name: str) -> None:
    """Half a microsecond is assumed for all of them, in cycles of their clocks."""
    board = load_board(name)
    assert board.memory.latency_cycles == pytest.approx(0.5 * board.clock_mhz)


@pytest.mark.parametrize("name", board_names())
def test_ports_and_parts_of_a_kind(name: str) -> None:
    """UltraRAM is in no 7-series part; ports of a Zynq are those of its processing system."""
    board = load_board(name)
    zynq = {"zynq-7000": (4, 64), "zynq-ultrascale-plus": (6, 128)}
    if board.family in zynq:
        assert (board.axi.ports, board.axi.width_bits) == zynq[board.family]
        assert board.resources.slrs == 1
    else:
        assert board.axi.ports == board.memory.channels
    assert board.family != "zynq-7000" or board.resources.uram == 0


@pytest.mark.parametrize("name", board_names())
def test_the_peak_is_that_of_the_memory(name: str) -> None:
    memory = load_board(name).memory
    kind, channels, rate, bits = CHANNEL[name]
    assert (memory.kind, memory.channels) == (kind, channels)
    low, high = RATES[kind]
    assert low <= rate <= high
    assert memory.peak_gb_s == pytest.approx(channels * rate * bits / 8 / 1000, rel=5e-3)


def comments(text: str, section: str) -> str:
    """All comments of one section of a board's file, on one line."""
    (body,) = re.findall(rf"^\[{section}\](.*?)(?=^\[|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(re.findall(r"# (.*)", body))


@pytest.mark.parametrize("name", board_names())
def test_every_figure_names_its_document(name: str) -> None:
    text = (SOURCE / f"{name}.toml").read_text()
    for section in ("resources", "memory", "axi"):
        document = r"\b(DS|UG|PG)\d{3,4}\b|hardware user guide|PYNQ-Z1 manual"
        assert re.search(document, comments(text, section)), section
    assert re.search(r"^clock_mhz = .*# assumed", text, re.MULTILINE)
    assert re.search(r"^latency_cycles = .*# assumed", text, re.MULTILINE)
    assert re.search(r"^usable_share = .*# (assumed|.*measured)", text, re.MULTILINE)


@pytest.mark.parametrize("name", board_names())
def test_the_digits_fit_on_every_board(name: str, digits: QuantizedModel) -> None:
    board = load_board(name)
    acc = default_accelerator(digits, board)
    assert multipliers_of(acc) <= DSP_SHARE * board.resources.dsp


@pytest.fixture(scope="module")
def digits() -> QuantizedModel:
    images = np.random.default_rng(0).random((8, 1, 8, 8), np.float32)
    return quantize(load_model("digits").eval(), images, "ternary")


def test_shares_of_the_slrs() -> None:
    u280, u50 = load_board("u280").resources, load_board("u50").resources
    # The first die of both is that of the HBM, the others are a quarter of a U250.
    die = load_board("u250").resources.lut // 4
    for r in (u280, u50):
        luts = [r.lut - die * (r.slrs - 1)] + [die] * (r.slrs - 1)
        assert r.slr_share == pytest.approx([n / r.lut for n in luts], abs=1e-4)
    assert load_board("zcu102").resources.shares == (1.0,)


def test_shares_not_given_are_equal(tmp_path: Path) -> None:
    board = load_board(own(tmp_path, lambda t: t.replace("slrs = 1", "slrs = 4")))
    assert board.resources.slr_share == ()
    assert board.resources.shares == (0.25,) * 4


def test_numbers_of_the_data_sheets() -> None:
    zcu102, u280 = load_board("zcu102"), load_board("u280")
    assert zcu102.resources.model_dump() == {
        "lut": 274080, "ff": 548160, "dsp": 2520, "bram36": 912, "uram": 0, "slrs": 1,
        "slr_share": (),
    }  # fmt: skip
    assert (zcu102.memory.peak_gb_s, u280.memory.peak_gb_s) == (17.1, 460.0)
    assert (u280.resources.dsp, u280.resources.uram, u280.memory.channels) == (9024, 960, 32)
    # HBM of 460 GB/s, 80 % usable, at 300 MHz, is wider than 32 ports of 256 bits.
    assert u280.bytes_per_cycle == 32 * 32
    assert zcu102.bytes_per_cycle == pytest.approx(17.1e9 * 0.8 / 300e6)


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
        ("slrs = 1", "slrs = 2\nslr_share = [1.0]", r"slr_share has 1 entries for slrs=2"),
        ("slrs = 1", "slrs = 2\nslr_share = [0.5, 0.6]", r"slr_share must sum to 1, not 1\.1"),
        ("slrs = 1", "slrs = 2\nslr_share = [0.0, 1.0]", r"resources\.slr_share"),
        ("usable_share = 0.8", "usable_share = 1.2", r"memory\.usable_share"),
        ("peak_gb_s = 17.1", "peak_gb_s = 0", r"memory\.peak_gb_s"),
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
