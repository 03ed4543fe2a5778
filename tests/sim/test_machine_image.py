"""What a simulated machine is given, without one: images of memory, options."""

from __future__ import annotations

import numpy as np
import pytest

from hwmoe.errors import HwmoeError
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import MachineOptions


@pytest.mark.parametrize(
    "wrong",
    [{"bytes_per_cycle": 0.0}, {"stall": 1.0}, {"latency": 0}, {"jitter": -1}, {"outstanding": 0}],
)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(HwmoeError, match="options of the simulated memory"):
        MachineOptions(**({"bytes_per_cycle": 1.0} | wrong))  # type: ignore[arg-type]


def test_images_of_memory() -> None:
    parts = {"a": np.arange(5000, dtype=np.uint16).view(np.uint8), "b": np.ones(1, np.uint8)}
    image = MemoryImage.build(parts, {"b"}, base=0x1000)
    a, b = image.regions
    assert (a.address, a.size, a.writable) == (0x1000, 10_000, False)
    assert (b.address, b.size, b.writable) == (0x1000 + 4 * 4096, 1, True)
    np.testing.assert_array_equal(image["a"], parts["a"])
    assert image.describe(a.address + 7) == "0x1007 (a + 7)"
    assert image.describe(b.address + 3) == "0x5003 (2 bytes after the end of b)"
    assert image.describe(0) == "0x0"
    with pytest.raises(ValueError, match="region b overlaps"):
        MemoryImage(image.data, 0x1000, (a, type(b)("b", a.address + 9999, 1)))
    with pytest.raises(KeyError, match="no region c"):
        image["c"]
