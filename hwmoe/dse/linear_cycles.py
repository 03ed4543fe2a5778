"""Cycles of the linear kernel (docs/kernels.md) from its sizes, for streams at full speed.

The names and constants are those of the SystemVerilog (hwmoe_linear_*.sv). Cycle 0 is the transfer
of the first command. For one command:

    queue      +2 cycles to its units
    pass       max(groups, MIN_PASS) slots, but not less than the weight beats of a tile: the next
               tile loads while one is used
    tile       in_tiles passes; waits for a page of accumulators, released by the tile two before
    loading    one word a cycle, if possible while the command before is computed; a group waits for
               its words (this shows in the first output tile)
    epilogue   n_list cycles a chunk; tile o drains while tile o+1 is computed
    end        the pipeline of the epilogue, then the status
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hwmoe.codegen.rtl_linear import flush_cycles, mac_latency
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.plan.packing import ceil_div

MIN_PASS = 3  # slots: the read-modify-write latency of the accumulators
TABLE = 256
START_TO_ISSUE = 4  # stages 0 to 3 of the sequencer
WORD_TO_ISSUE = 3  # from the begin of loading, word 0: written, counted, checked
LIST_TO_ISSUE = 5  # from the begin of loading, row 0: written, counted, then stages 0 to 3
COMPARE = 4  # the loader knows whether its words are apart from those of the command before
LAST_READ_TO_STATUS = 4  # besides the flush: wait, report, FIFO, register


@dataclass(frozen=True)
class LinearWork:
    """What of a command takes time; `rows` (the gathered list) matters only if it loads as well.

    Without `rows` a gathered list is taken to reach every row it must wait for in order.
    """

    n_tok: int
    n_list: int
    in_tiles: int
    out_tiles: int
    chunks: int
    load_x: bool = False
    gather: bool = False
    load_table: bool = False
    ternary: bool = False
    x_base: int = 0
    rows: Sequence[int] | None = None

    def apart(self, other: LinearWork) -> bool:
        """Whether the two commands have no word of the activation memory in common."""
        stop = self.x_base + self.n_tok * self.in_tiles
        other_stop = other.x_base + other.n_tok * other.in_tiles
        return self.x_base >= other_stop or stop <= other.x_base


@dataclass
class _Times:
    """When each unit is free; in cycles, -inf-like values mean that it always was."""

    mac: int  # from an activation to its sum
    push: int = 0
    before: LinearWork | None = None  # the last command
    take: int = -COMPARE  # the loader took it
    loader: int = 0  # the loader is idle again
    start: int = 0  # the sequencer started it
    free: int = 0  # the sequencer is idle again
    issue: int = 0  # cycle after the last slot
    loaded: int = -1  # last weight beat taken
    swap: int = 0  # last swap of weights
    drain: int = 0  # the drain is idle again
    tile: int = 0  # output tiles so far, over all commands
    release: list[int] = field(default_factory=lambda: [-1, -1])  # of each page
    pops: list[tuple[int, ...]] = field(default_factory=list)  # loader, sequencer, drain
    weight_pops: list[int] = field(default_factory=list)


def linear_cycles(
    cfg: LinearConfig,
    n_tok: int,
    n_list: int,
    in_tiles: int,
    out_tiles: int,
    chunks: int,
    load_x: bool = False,
    gather: bool = False,
    load_table: bool = False,
    ternary: bool = False,
) -> int:
    """Cycles from the transfer of a lone command to the transfer of its status."""
    work = LinearWork(
        n_tok, n_list, in_tiles, out_tiles, chunks, load_x, gather, load_table, ternary
    )
    return linear_schedule(cfg, [work])[0]


def linear_schedule(
    cfg: LinearConfig, works: Sequence[LinearWork], engine: str = "linear"
) -> list[int]:
    """The cycle of each status of commands sent back to back; cycle 0: first command's transfer.

    `engine`: which of the two kernels it is.
    """
    times = _Times(mac_latency(cfg, engine))
    return [_command(cfg, work, times) for work in works]


def _command(cfg: LinearConfig, work: LinearWork, times: _Times) -> int:
    """Advance `times` by one command; the cycle of its status."""
    _enqueue(work, times)
    take, begin = _begin(work, times)
    start = max(times.free, begin)
    ready = max(times.push + 1, times.drain)  # the drain takes its command
    times.pops.append((take, start, ready))
    words = work.n_tok * work.in_tiles if work.load_x else 0
    times.loader = begin + 1 + max(words, work.n_list if work.gather else 0)
    times.before, times.take, times.start = work, take, start
    run = ready + 1 + (TABLE if work.load_table else 0)
    if work.n_list == 0:
        times.free = start + 1
        times.drain = run + 1
        return run + 2
    times.issue = max(times.issue, start + START_TO_ISSUE)
    last = _tiles(cfg, work, times, begin, run)
    times.free = times.issue
    flush = flush_cycles(cfg)
    times.drain = last + flush + 3
    return last + flush + LAST_READ_TO_STATUS


def _begin(work: LinearWork, times: _Times) -> tuple[int, int]:
    """When the loader takes a command and when it begins to load."""
    take = max(times.push + 1, times.loader, times.take + COMPARE)
    if times.before is None:
        return take, take + 1
    allowed = max(times.free, take + 1)
    if not work.load_x or work.apart(times.before):
        allowed = min(allowed, take + COMPARE)
    return take, max(allowed, times.start + 1)


def _enqueue(work: LinearWork, times: _Times) -> None:
    """`times.push`: the command enters the queues of two places; the weights may begin with it."""
    times.push += 1
    if len(times.pops) >= 2:
        times.push = max(times.push, *(cycle + 1 for cycle in times.pops[-2]))
    if len(times.weight_pops) >= 2:
        times.push = max(times.push, times.weight_pops[-2] + 1)
    if work.n_list:
        times.weight_pops.append(max(times.push + 1, times.loaded))
        times.loaded = max(times.loaded, times.weight_pops[-1])


def _tiles(cfg: LinearConfig, work: LinearWork, times: _Times, begin: int, run: int) -> int:
    """All output tiles of a command; the cycle of the epilogue's last read."""
    groups = ceil_div(work.n_list, cfg.t_tok)
    slots = max(groups, MIN_PASS)
    beats = cfg.t_out // (cfg.w_rows * (4 if work.ternary else 1))
    chunks = cfg.t_out // cfg.t_epi
    for o in range(work.out_tiles):
        page = times.tile & 1
        waits = o == 0 and (work.load_x or work.gather)
        passes = work.in_tiles if waits else 1
        for i in range(passes):
            # The weights of this pass have loaded since the last swap.
            times.loaded = max(times.loaded + 1, times.swap) + beats - 1
            swap = max(times.issue, times.loaded + 1)
            if i == 0:
                swap = max(swap, times.release[page] + 1)
            word, end = _wait(cfg, work, begin, i, slots) if waits else (0, 0)
            times.swap = max(swap, word)
            times.issue = max(times.swap + slots, end)
        if not waits:  # from here on, nothing but slots and weight beats counts
            times.swap += (work.in_tiles - 1) * max(slots, beats)
            times.loaded = times.swap - 1 if work.in_tiles > 1 else times.loaded
            times.issue = times.swap + slots
        full = times.issue - 1 - (slots - groups) + times.mac + 1
        drained = min(chunks, work.chunks - o * chunks) * work.n_list
        run = max(run, full) + drained
        times.release[page] = run - 1
        times.tile += 1
    return run - 1


def _wait(cfg: LinearConfig, work: LinearWork, begin: int, i: int, slots: int) -> tuple[int, int]:
    """Pass i while loading: earliest first slot, earliest cycle after the last slot."""
    first = end = 0
    starts: Iterable[int] = range(0, work.n_list, cfg.t_tok)
    if work.rows is None:  # rows in order: the first group and the last ones decide
        ends = (0, min(work.n_list, work.n_tok) - 1, work.n_list - 1)
        starts = sorted({row // cfg.t_tok * cfg.t_tok for row in ends})
    for at in starts:
        stop = min(at + cfg.t_tok, work.n_list)
        rows = range(at, stop) if work.rows is None else work.rows[at:stop]
        ready = begin
        if work.load_x:
            ready = begin + WORD_TO_ISSUE + i * work.n_tok + min(max(rows), work.n_tok - 1)
        if work.gather and i == 0:
            ready = max(ready, begin + LIST_TO_ISSUE + stop - 1)
        first = first or ready
        end = max(end, ready + slots - at // cfg.t_tok)
    return first, end
