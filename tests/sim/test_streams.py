"""Cases, stall schedules and the wording of errors: no simulator."""

from __future__ import annotations

import numpy as np
import pytest

from hwmoe.errors import HwmoeError
from hwmoe.sim.streams import StreamCase, fault_error, port_widths, stall_schedule, timeout_error


@pytest.mark.parametrize("stall", [0.05, 0.3, 0.5, 0.8, 0.95])
def test_schedule_stalls_about_as_often_as_asked(stall: float) -> None:
    schedule = stall_schedule("s_axis_x", stall, 1)
    share = schedule[1::2].sum() / schedule.sum()
    assert abs(share - stall) < 0.05
    assert (schedule[1:] > 0).all()


def test_schedules_differ_by_port_and_seed_and_repeat() -> None:
    one = stall_schedule("s_axis_x", 0.3, 1)
    assert (one == stall_schedule("s_axis_x", 0.3, 1)).all()
    assert (one != stall_schedule("s_axis_x", 0.3, 2)).any()
    assert (one != stall_schedule("s_axis_w", 0.3, 1)).any()
    assert len(stall_schedule("s_axis_x", 0.0, 1)) == 0
    for bad in (-0.1, 1.0):
        with pytest.raises(HwmoeError, match="below 1"):
            stall_schedule("s_axis_x", bad, 0)


def test_errors_name_case_port_and_progress() -> None:
    case = StreamCase("tiny", {"s_axis_x": np.zeros((3, 2), np.uint8)}, {"m_axis_y": 5})
    text = str(timeout_error(case, 100, {"s_axis_x": 3, "m_axis_y": 4}))
    assert "case 'tiny' did not finish within 100 cycles" in text
    assert "s_axis_x: 3 of 3 beats\n" in text
    assert "m_axis_y: 4 of 5 beats   <- unfin" in text
    text = str(fault_error(case, 3, "m_axis_y", 17, {}))
    assert "m_axis_y offered a beat more than the 5 expected, in cycle 17" in text


def test_cases_are_checked() -> None:
    with pytest.raises(ValueError, match="uint8"):
        StreamCase("c", {"s_axis_x": np.zeros((3, 2), np.int8)}, {})  # type: ignore[dict-item]
    narrow = StreamCase("a", {"s_axis_x": np.zeros((3, 2), np.uint8)}, {})
    wide = StreamCase("b", {"s_axis_x": np.zeros((3, 4), np.uint8)}, {})
    with pytest.raises(HwmoeError, match="case 'b' gives s_axis_x 4 bytes"):
        port_widths([narrow, wide])
