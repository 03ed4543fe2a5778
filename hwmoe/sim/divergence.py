"""What a simulation can find: tensors that differ, or hardware that misbehaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.plan.packing import Ints


class SimulationFault(HwmoeError):
    """What was simulated misbehaved: a deadlock, a breach of the handshake, a failed assertion.

    Unlike other errors this is a finding about the sources, and counts as a difference.
    """


@dataclass(frozen=True)
class Divergence:
    """The first difference of a comparison that should have found none."""

    what: str
    tensor: str
    index: tuple[int, ...]
    expected: int
    got: int
    differing: int
    total: int

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return (
            f"{self.what}: first difference in {self.tensor}[{place}]: reference {self.expected}, "
            f"got {self.got} ({self.differing} of {self.total} values of this tensor differ)"
        )


def first_divergence(what: str, tensor: str, expected: Ints, got: Ints) -> Divergence | None:
    """None if equal; `ValueError` if the shapes differ, which is a fault of the caller."""
    if expected.shape != got.shape:
        raise ValueError(f"{what}: {tensor} has shape {got.shape}, not {expected.shape}")
    wrong = expected.astype(np.int64) != got.astype(np.int64)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    return Divergence(
        what,
        tensor,
        index,
        int(expected[index]),
        int(got[index]),
        int(np.count_nonzero(wrong)),
        wrong.size,
    )
