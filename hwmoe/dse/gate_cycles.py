"""Cycles of the gate kernel in SystemVerilog, from its architecture."""

from __future__ import annotations

from hwmoe.codegen.rtl_gate import DIV_LATENCY, WEIGHT_LATENCY
from hwmoe.model.config import GateScores

START = 2  # from the command to the first logit: it is latched, then the state changes
SORT = 3  # a token's last logit: input register, sorted cells, second set
SUM = 2  # after the last weight: the sum, and its copy for the divider
ANSWER = 3  # output FIFO, the end is noticed, hand-over


def gate_cycles(n_tok: int, experts: int, k: int, scores: GateScores = "topk") -> int:
    """Cycles from the command's transfer to that of its status, with all streams at full speed.

    A cycle a logit, `n_tok * experts`, as no later stage needs longer for a token than its logits.
    Of the last token the weights then leave one by one, those of the chosen or of all experts, and
    after their sum those of the chosen once more.
    """
    if 0 in (n_tok, experts, k):
        return 2
    weights = experts if scores == "all" else k
    last = SORT + WEIGHT_LATENCY + weights + SUM + DIV_LATENCY + k - 3 + ANSWER
    return START + n_tok * experts + last
