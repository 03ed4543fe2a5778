"""Cycles of the LayerNorm kernel in SystemVerilog, from its architecture."""

from __future__ import annotations

from hwmoe.codegen.rtl_layernorm import ROW_LATENCY, settle_cycles
from hwmoe.plan.accelerator import LayerNormConfig
from hwmoe.plan.packing import log2_ceil

START = 2  # from the command to the first beat: it is latched, then counters are loaded
SUMS = 3  # a beat's registers around the adder tree: input, squares, sums over the tiles
QUEUE = 1  # a row result in its queue
READ = 13  # from the last word's read until the beat leaves: 12 stages and the output FIFO
ANSWER = 3  # from the last beat until the status: the end is noticed, a counter, hand-over


def layernorm_cycles(cfg: LayerNormConfig, n_tok: int, tiles: int) -> int:
    """Cycles from the command's transfer to that of its status, with all streams at full speed.

    - The first token: START, a cycle for each of its beats, then its row result: the adder tree
      over the lanes, SUMS, ROW_LATENCY and QUEUE. The parameters, `tiles` beats, arrive meanwhile.
    - From then on a beat a cycle, `n_tok * tiles`, whatever `tiles` is: the row unit takes a token
      a cycle, and the queues hold all that is under way. The next tokens' beats arrive meanwhile.
    - The last beat passes READ and ANSWER, and its clipped values are counted (settling time).

    Without the few fixed terms: (n_tok + 1) * tiles.
    """
    if 0 in (n_tok, tiles):
        return 2
    first = START + tiles - 1 + SUMS + log2_ceil(cfg.lanes) + ROW_LATENCY + QUEUE
    return first + n_tok * tiles - 1 + READ + ANSWER + settle_cycles(cfg)
