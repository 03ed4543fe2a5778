"""Cycles of the gate kernel in SystemVerilog, from its architecture."""

from __future__ import annotations

from hwmoe.codegen.rtl_gate import DIV_LATENCY, WEIGHT_LATENCY

START = 2  # from the command to the first logit: it is latched, then the state changes
SORT = 3  # a token's last logit: input register, sorted cells, second set
SUM = 2  # after the last weight: the sum, and its copy for the divider
ANSWER = 3  # output FIFO, the end is noticed, hand-over


def gate_cycles(n_tok: int, experts: int, k: int) -> int:
    """Cycles from the command's transfer to that of its status, with all streams at full speed.

    A cycle a logit, `n_tok * experts`, as every later stage is done with a token sooner than its
    logits came. The last token's k weights then leave one by one, and after their sum once more.
    """
    if 0 in (n_tok, experts, k):
        return 2
    return START + n_tok * experts + SORT + WEIGHT_LATENCY + SUM + DIV_LATENCY + 2 * k - 3 + ANSWER
