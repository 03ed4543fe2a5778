"""The published geometry through the whole flow: minutes, so only `make test-slow` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmoe.flow.run import RunOptions, run


@pytest.mark.slow
@pytest.mark.parametrize("experts", ["int8", "ternary"])
def test_m3vit_tiny_is_bit_exact(experts: str, tmp_path: Path) -> None:
    options = RunOptions(
        "m3vit-tiny",
        experts="ternary" if experts == "ternary" else "int8",
        max_images=2,
        rtl_images=2,
        calibration=4,
    )
    report = run(options, tmp_path / "out")
    assert report["bit_exact"] == {"hls_csim": True, "rtl": True}
    assert report["model"]["macs"] == pytest.approx(0.783e9, rel=1e-3)
    assert report["checks"]["rtl"]["images"] == 4
    for what in ("latency", "steady"):
        assert abs(report["cycles"][what]["error_percent"]) < 5
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
