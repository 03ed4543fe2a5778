"""What reading queries costs the attention engine where every beat is a word of the memory."""

from __future__ import annotations

from hwmoe.codegen.rtl_attention import PRODUCT_STAGE
from hwmoe.dse.attention_cycles import RECIPROCAL
from hwmoe.plan.accelerator import AttentionConfig
from hwmoe.plan.packing import ceil_div, log2_ceil

ARRIVAL = 7  # from the request for a group's last query until its keys are taken
FILL = 10  # cycles in which keys and values fill their FIFO when the kernel first holds


def query_wait(
    cfg: AttentionConfig, lanes: int, n_tok: int, dim_tiles: int, head_groups: int
) -> int:
    """Cycles that the engine takes more than its kernel with all streams at full speed.

    Keys and values are read first (hwmoe_attention_engine): a word of `lanes` a cycle if a beat is
    as wide, or if each word gives but one beat of a head. Then queries are read only in the cycles
    in which the kernel takes none, and if those do not do, it waits for the rest.
    """
    if cfg.dim_lanes * cfg.head_units < lanes and dim_tiles > 1:
        return 0
    groups = ceil_div(n_tok, cfg.rows) if n_tok else 0
    last = n_tok - cfg.rows * (groups - 1)
    bubble = PRODUCT_STAGE + log2_ceil(cfg.dim_lanes)
    ahead = -min(FILL, bubble)  # queries that were read early
    wait = 0
    for group in range(1, head_groups * groups):
        rows, before = (last if (group - i) % groups == groups - 1 else cfg.rows for i in (0, 1))
        drain = RECIPROCAL + before * dim_tiles + dim_tiles - 1
        ahead += max(bubble, drain - 2 * n_tok * dim_tiles) - rows * dim_tiles
        if ahead < 0:
            wait += ARRIVAL - ahead
            ahead = ARRIVAL
    return wait
