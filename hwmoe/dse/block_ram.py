"""Block RAMs of one memory as Yosys lays it out (`memory_libmap` for UltraScale+).

A word is cut into units of 9 bits. Where it is no multiple of a block's port, the units of all rows
share blocks. Yosys takes the layout of the least cost: blocks, and the multiplexers of LUTs that
join the rows. The prices of blocks are those of its library (brams_xc4v.txt); that a bit to choose
from is half a unit was found by trying memories of many shapes (tests/dse/test_block_ram.py).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from hwmoe.plan.packing import ceil_div

_BLOCKS = ((2, 257), (1, 129))  # RAMB36E2, RAMB18E2: halves, price; of equal costs the first
_WIDTHS = (1, 2, 4, 9, 18, 36, 72)
_UNIT = 9
_HALF_BITS = 1 << 14  # without parity
_JOIN = 0.5
_JOIN_LUTS = (0, 0, 1, 1, 1, 2, 2, 4, 3, 5, 4, 4, 4, 5, 5, 6)
"""For a bit, by rows, as Yosys maps memories tried one by one (7 rows take more than 8)."""


class Layout(NamedTuple):
    """Blocks in halves (RAMB18E2; a RAMB36E2 is two) and the rows of blocks that are joined."""

    halves: int
    rows: int


@cache
def layout_of(bits: int, words: int) -> Layout:
    """Of a memory with a write port and a read port; `bits` and `words` at least 1."""
    _, best = min((_best(bits, words, *block) for block in _BLOCKS), key=lambda found: found[0])
    return best


def _best(bits: int, words: int, halves: int, price: int) -> tuple[float, Layout]:
    """(cost, layout) in blocks of one kind. Yosys keeps the least cost so far as an integer, so
    that of two that cost the same and a half the narrower ports stay."""
    found: list[tuple[float, Layout]] = []
    for width in _WIDTHS[: len(_WIDTHS) - (halves == 1)]:
        unit = min(width, _UNIT)
        rows = ceil_div(words, halves * _HALF_BITS // (width - width // _UNIT))
        blocks = ceil_div(ceil_div(bits, unit) * rows, width // unit)
        cost = price * blocks + _JOIN * (bits * (rows - 1) + rows)
        if not found or cost < int(found[-1][0]):
            found.append((cost, Layout(halves * blocks, rows)))
    return found[-1]


def joins_of(bits: int, words: int) -> int:
    """LUTs that choose among a memory's rows."""
    rows = layout_of(bits, words).rows
    return bits * (_JOIN_LUTS[rows] if rows < len(_JOIN_LUTS) else rows // 2)
