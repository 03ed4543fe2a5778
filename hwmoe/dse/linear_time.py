"""The linear engine in time: the kernel's rules (linear_cycles.py) with its streams as they come.

Weights are read ahead through a buffer, activations follow tokens and `after`, results leave
through the collector in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from hwmoe.codegen.rtl_linear import flush_cycles, mac_latency
from hwmoe.codegen.rtl_linear_engine import QUEUE, ROOM
from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.dse.linear_cycles import (
    COMPARE,
    LAST_READ_TO_STATUS,
    LIST_TO_ISSUE,
    MIN_PASS,
    START_TO_ISSUE,
    TABLE,
    WORD_TO_ISSUE,
)
from hwmoe.dse.memory_time import OffChip, Transfer
from hwmoe.dse.weights_time import Weights
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div

TO_KERNEL = 2  # from the dispatch to the kernel's queues
FEED = 6  # from the dispatch to the first word or row at the kernel
TO_DONE = 2  # from the status to the signal
SEEN = 2  # from the signal until `after` lets the next command read
PARAMS = 8  # chunks of which the kernel holds parameters
KERNEL_QUEUE = 2  # commands that wait in the kernel itself
NOTHING = 3  # from the dispatch of what the kernel does not get to its signal, and between signals

_BIT = {name: 1 << bit for bit, name in enumerate(LINEAR_FLAGS)}


@dataclass
class Command:
    """An instruction on its way: let go at `go`; table and parameters as they come."""

    fields: Mapping[str, int]
    null: bool
    n_tok: int
    n_list: int
    finish: Callable[[float], None]  # told when it is complete
    go: float = 0.0
    table: Transfer | None = None
    params: Transfer | None = None

    @property
    def used(self) -> bool:
        return not self.null and self.n_tok > 0

    def flag(self, name: str) -> bool:
        return bool(self.fields["flags"] & _BIT[name])

    def tile_beats(self, cfg: LinearConfig) -> int:
        """Beats of a tile of weights."""
        return cfg.t_out // (cfg.w_rows * (4 if self.flag("ternary") else 1))

    def ask(self, cfg: LinearConfig, weights: Weights) -> None:
        """Ask for its weights."""
        f = self.fields
        weights.ask(f["weights"], f["in_tiles"] * f["out_tiles"] * self.tile_beats(cfg))


class LinearTime:
    """The kernel with feeders and collector; commands come by `put` when they are let go."""

    def __init__(
        self, acc: AcceleratorConfig, engine: str, memory: OffChip, client: int, clock: Clock
    ) -> None:
        self.cfg, self.clock, self.client = acc.linears[engine], clock, client
        self.weights = Weights(memory, client, clock)
        self.mac, self.flush = mac_latency(self.cfg, engine), flush_cycles(self.cfg)
        self.changed = Happening(clock)  # a command has come, or entered the kernel
        self.commands: deque[Command] = deque()
        self.waiting = 0  # commands that have not left the queues in front of the kernel and in it
        # As in linear_cycles
        self.push = 0.0
        self.pops = deque([0.0] * KERNEL_QUEUE, maxlen=KERNEL_QUEUE)
        self.words = (0, 0)  # of the activation memory that the last command used
        self.take = self.loader = self.start = self.free = self.issue = 0.0
        self.loaded, self.swap, self.drain = -1.0, 0.0, 0.0
        self.tile = 0
        self.release = [-1.0, -1.0]
        self.busy = 0.0  # cycles in which groups entered the array
        # Streams
        self.fed = 0.0  # the last word has left for the kernel
        self.param_beats = max(1, 8 * self.cfg.t_epi // memory.beat)  # of a chunk
        self.joined = 0.0  # the last chunk's parameters are complete
        self.begun = deque([0.0] * PARAMS, maxlen=PARAMS)  # chunks: when they were taken
        self.ends: deque[float] = deque([0.0], maxlen=256)
        clock.start(self._run())

    def has_room(self) -> bool:
        return self.waiting < QUEUE + KERNEL_QUEUE and len(self.commands) < 2 * QUEUE

    def put(self, command: Command) -> None:
        self.commands.append(command)
        self.waiting += command.used
        self.changed.now()

    def _run(self) -> Process:
        while True:
            while not self.commands:
                yield self.changed
            command = self.commands[0]
            if command.used:
                yield from self._kernel(command)
                done = self.status + TO_DONE
            else:
                done = command.go + NOTHING
            self.commands.popleft()
            done = max(done, self.ends[-1] + NOTHING)
            self.ends.append(done)
            command.finish(done)
            self.changed.now()

    def _kernel(self, command: Command) -> Process:
        """Leaves the cycle of its status in `status`."""
        f, n_list = command.fields, command.n_list
        self.push = max(self.push + 1, command.go + TO_KERNEL, self.pops[0] + 1)
        yield self.push
        words = command.n_tok * f["in_tiles"] if command.flag("load_x") else 0
        listed = n_list if command.flag("gather") else 0
        begin = self._begin(command, words)
        start = max(self.free, begin)
        ready = max(self.push + 1, self.drain)
        self.pops.append(max(self.take, start, ready))
        self.clock.start(self._pop(self.pops[-1]))
        x_begin = self._feed(command, begin, words) if words else begin
        list_begin = max(begin, command.go + FEED) if listed else begin
        self.loader = max(x_begin + words, list_begin + listed) + 1
        self.start = start
        run = ready + 1
        if table := command.table:
            for beats in range(1, table.beats + 1):  # it enters byte by byte
                while (here := table.at(beats)) > max(run, self.clock.time):
                    yield here
                run = max(run, here) + TABLE / table.beats
            self.joined = max(self.joined, run - TABLE / table.beats)
        if n_list == 0:
            self.free = start + 1
            self.drain = run + 1
            self.status = run + 2
            return
        self.issue = max(self.issue, start + START_TO_ISSUE)
        self.loaded = max(self.loaded, self.push + 1)  # the weights' unit has the command
        yield from self._tiles(
            command, x_begin if words else None, list_begin if listed else None, run
        )
        self.free = self.issue
        self.drain = self.last + self.flush + 3
        self.status = self.last + self.flush + LAST_READ_TO_STATUS

    def _pop(self, time: float) -> Process:
        """The kernel's units have a command."""
        yield time
        self.waiting -= 1
        self.changed.now()

    def _begin(self, command: Command, words: int) -> float:
        """When the loader begins with the command."""
        f = command.fields
        take = max(self.push + 1, self.loader, self.take + COMPARE)
        region = (f["x_base"], f["x_base"] + command.n_tok * f["in_tiles"])
        allowed = max(self.free, take + 1)
        if not words or region[0] >= self.words[1] or region[1] <= self.words[0]:
            allowed = min(allowed, take + COMPARE)
        self.words, self.take = region, take
        return max(allowed, self.start + 1)

    def _feed(self, command: Command, begin: float, words: int) -> float:
        """When activations begin to enter the kernel."""
        feed = max(command.go, self.fed)
        after = command.fields["after"]
        if 0 < after <= len(self.ends):
            feed = max(feed, self.ends[-after] + SEEN)
        start = max(begin, feed + FEED)
        self.fed = max(feed + words, start + words - ROOM)
        return start

    def _tiles(
        self, command: Command, x_begin: float | None, list_begin: float | None, run: float
    ) -> Process:
        """All output tiles; leaves the cycle of the epilogue's last read in `last`."""
        f, n_list, t_tok = command.fields, command.n_list, self.cfg.t_tok
        slots = max(ceil_div(n_list, t_tok), MIN_PASS)
        spare = slots - ceil_div(n_list, t_tok)
        beats = command.tile_beats(self.cfg)
        chunks = self.cfg.t_out // self.cfg.t_epi
        left = f["chunks"]
        for o in range(f["out_tiles"]):
            page = self.tile & 1
            for i in range(f["in_tiles"]):
                while not self.weights.known(beats):
                    yield self.weights.asked
                could = max(self.loaded + 1, self.swap) + beats - 1
                while (here := max(could, self.weights.here(beats))) > self.clock.time:
                    yield here
                self.loaded = here
                self.weights.use(beats)
                swap = max(self.issue, self.loaded + 1)
                end = 0.0
                if i == 0:
                    swap = max(swap, self.release[page] + 1)
                if o == 0 and x_begin is not None:
                    word = x_begin + WORD_TO_ISSUE + i * command.n_tok
                    swap = max(swap, word + min(t_tok, command.n_tok) - 1)
                    end = word + command.n_tok + spare
                if o == 0 and i == 0 and list_begin is not None:
                    row = list_begin + LIST_TO_ISSUE
                    swap = max(swap, row + min(t_tok, n_list) - 1)
                    end = max(end, row + n_list + spare)
                self.swap = swap
                self.issue = max(swap + slots, end)
                self.busy += slots
            full = self.issue - spare + self.mac
            now = min(chunks, left)
            left -= now
            run = yield from self._drain(command, max(run, full), now, left)
            self.release[page] = run - 1
            self.tile += 1
        self.last = run - 1

    def _drain(
        self, command: Command, run: float, chunks: int, left: int
    ) -> Generator[float | Happening, None, float]:
        """The cycle after the last read of so many chunks, with `left` more to come.

        A chunk begins when its parameters are there; they are joined from beats of the port.
        """
        n_list, params = command.n_list, command.params
        assert params
        chunk = params.beats / command.fields["chunks"]  # beats
        for behind in range(left + chunks - 1, left - 1, -1):
            beats = params.beats - behind * chunk
            while (here := params.at(beats)) > max(run, self.clock.time):
                yield here
            self.joined = max(self.joined + self.param_beats, self.begun[0], here)
            run = max(run, self.joined)
            self.begun.append(run)
            run += n_list
        return run
