"""Cycles of the attention kernel in SystemVerilog, from its architecture."""

from __future__ import annotations

from hwmoe.codegen.rtl_attention import PRODUCT_STAGE, settle_cycles
from hwmoe.plan.accelerator import AttentionConfig
from hwmoe.plan.packing import ceil_div, log2_ceil

START = 2  # from the command to the first query: it is latched, then counters are loaded
RECIPROCAL = 31  # from a group's last V beat until its page is free, less the beats it sends
SEND = 8  # from the last read of the page to the status: scaling, output register, hand-over


def attention_cycles(cfg: AttentionConfig, n_tok: int, dim_tiles: int, head_groups: int) -> int:
    """Cycles from the command's transfer to that of its status, with all streams at full speed.

    A *group* is `rows` query rows (the last of a head group: the rest) of one head group.

    - The first group waits for its queries: START and a cycle for each beat of them. Those of
      every later group arrive while an earlier one is computed.
    - A group takes a cycle a beat of K and of V, `2 * n_tok * dim_tiles`, and between the two the
      *bubble* until its maximum scores are known: from the last K beat through the multipliers
      (PRODUCT_STAGE), the adder tree and the sum over the tiles into score memory and maximum.
    - The last token's beats of V wait until the previous group has left the page of sums: 8 stages
      to the sum of p, 1 + 4 + 17 cycles of division, then a cycle a beat (RECIPROCAL). Only
      commands of few tokens see this; otherwise it is hidden.
    - After the last beat of V the same way leads to the last beat of output; then it is scaled and
      sent, and its clipped values are counted (SEND and the settling time).

    Without the few fixed terms: head_groups * ceil(n_tok / rows) * 2 * n_tok * dim_tiles.
    """
    if 0 in (n_tok, dim_tiles, head_groups):
        return 2 + 1 + settle_cycles(cfg)
    groups = ceil_div(n_tok, cfg.rows)
    last_rows = n_tok - cfg.rows * (groups - 1)
    first_rows = min(cfg.rows, n_tok)
    bubble = PRODUCT_STAGE + log2_ceil(cfg.dim_lanes)
    compute = 2 * n_tok * dim_tiles + bubble

    def period(rows: int) -> int:
        """From the last V beat of a group of `rows` to that of the next group."""
        return max(compute, RECIPROCAL + rows * dim_tiles + dim_tiles - 1)

    first_end = START + first_rows * dim_tiles + compute - 1
    between = head_groups * (groups - 1) * period(cfg.rows) + (head_groups - 1) * period(last_rows)
    tail = RECIPROCAL + last_rows * dim_tiles + SEND + settle_cycles(cfg)
    return first_end + between + tail
