"""Cases for tests/sim/rtl/stream_adder.sv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwmoe.sim.streams import StreamCase, StreamResult

RTL = Path(__file__).parent / "rtl"
ADDER = [RTL / "stream_adder.sv"]
LANES = 260  # 2,080 bits: wider than any fixed-size buffer on the way
INPUTS = {"s_axis_mode": 1, "s_axis_a": LANES, "s_axis_b": LANES}
OUTPUTS = {"m_axis_y": LANES}

# Mode beat of the fixture -> what the error must say. RESET shows in the case after it.
FAULTS = {
    1: "m_axis_y dropped TVALID",
    2: "m_axis_y changed TDATA",
    3: "did not finish within",
    4: "m_axis_y offered a beat more than the 20 expected",
    5: "did not finish within",
}
RESET, FATAL = 6, 7


def adder_case(name: str, beats: int, mode: int = 0, seed: int = 0) -> StreamCase:
    """`beats` random beats on both inputs; `mode` is the fault to show."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, beats, LANES), dtype=np.uint8)
    modes = np.full((1, 1), mode, np.uint8)
    return StreamCase(
        name, {"s_axis_mode": modes, "s_axis_a": a, "s_axis_b": b}, {"m_axis_y": beats}
    )


def check_sum(case: StreamCase, result: StreamResult) -> None:
    """The sums are right and every beat has its cycle, in order, consistent with causality."""
    total = case.inputs["s_axis_a"] + case.inputs["s_axis_b"]
    np.testing.assert_array_equal(result.outputs["m_axis_y"], total)
    for port, beats in case.expected().items():
        assert result.stamps[port].shape == (beats,)
        assert (np.diff(result.stamps[port]) > 0).all()
    assert (result.stamps["m_axis_y"] > result.stamps["s_axis_a"]).all()
    last = max(int(stamps[-1]) for stamps in result.stamps.values() if len(stamps))
    assert result.cycles == last + 1
