"""The linear engine in time: the kernel's rules (linear_cycles.py) with its streams as they come.

Weights are read ahead through a buffer, activations follow tokens and `after`, results leave
through the collector in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from itertools import islice

from hwmoe.codegen.rtl_linear import ROOM as RESULTS_ROOM
from hwmoe.codegen.rtl_linear import flush_cycles, mac_latency
from hwmoe.codegen.rtl_linear_engine import QUEUE, ROOM
from hwmoe.dse.bandwidth_time import INFINITE, Burst
from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.dse.linear_command import Command, Loading
from hwmoe.dse.linear_cycles import (
    COMPARE,
    LAST_READ_TO_STATUS,
    LIST_TO_ISSUE,
    MIN_PASS,
    START_TO_ISSUE,
    TABLE,
    WORD_TO_ISSUE,
)
from hwmoe.dse.memory_time import OffChip
from hwmoe.dse.onchip_time import MemoryPort, Results
from hwmoe.dse.weights_time import Weights
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import ceil_div

TO_KERNEL = 2  # from the dispatch to the kernel's queues
FEED = 6  # from the dispatch to the first word or row at the kernel
TO_DONE = 2  # from the status to the signal
SEEN = 2  # from the signal until `after` lets the next command read
PARAMS = 8  # chunks of which the kernel holds parameters
KERNEL_QUEUE = 2  # commands that wait in the kernel itself
NOTHING = 3  # from the dispatch of what the kernel does not get to its signal, and between signals


class LinearTime:
    """The kernel with feeders and collector; commands come by `put` when they are let go."""

    def __init__(
        self,
        acc: AcceleratorConfig,
        engine: str,
        memory: OffChip,
        client: int,
        clock: Clock,
        written: Sequence[MemoryPort],
        read: MemoryPort,
    ) -> None:
        self.cfg, self.clock, self.client = acc.linears[engine], clock, client
        self.weights = Weights(memory, client, clock)
        self.mac, self.flush = mac_latency(self.cfg, engine), flush_cycles(self.cfg)
        self.number, room = instruction_set().engines.index(engine), RESULTS_ROOM - self.flush
        self.results = Results(self.number, written, room, clock)
        self.read, self.read_shared = read, len(acc.linears) > 1
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
        self.loaded_x = False  # the present command has, so the next one may be
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
        self._ahead()
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
        n_list = command.n_list
        if not command.loading:
            self._push(command)
            yield self.push
            self._load(command, self.free)
        assert command.loading
        begin, x_begin, x_words = command.loading
        listed = n_list if command.flag("gather") else 0
        start = max(self.free, begin)
        ready = max(self.push + 1, self.drain)
        self.pops.append(max(self.take, start, ready))
        self.clock.start(self._pop(self.pops[-1]))
        list_begin = max(begin, command.go + FEED) if listed else begin
        self.loader = max(x_begin + (x_words.beats if x_words else 0), list_begin + listed) + 1
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
        yield from self._tiles(command, x_words, list_begin if listed else None, run)
        self.free = self.issue
        self.drain = self.last + self.flush + 3
        self.status = self.last + self.flush + LAST_READ_TO_STATUS
        while (end := self.results.written() + self.flush) > max(self.status, self.clock.time):
            yield end
        self.status = max(self.status, end)

    def _pop(self, time: float) -> Process:
        """The kernel's units have a command."""
        yield time
        self.waiting -= 1
        self.changed.now()

    def _push(self, command: Command) -> None:
        """When the command enters the kernel."""
        self.push = max(self.push + 1, command.go + TO_KERNEL, self.pops[0] + 1)

    def _load(self, command: Command, free: float, ahead: int = 0) -> None:
        """Leaves in the command when it is loaded, and reads its activations. `free`: when the
        sequencer is; `ahead`: commands before it whose end is not known."""
        f, words = command.fields, command.words
        take = max(self.push + 1, self.loader, self.take + COMPARE)
        allowed = max(free, take + 1)
        if not words or self._apart(command):
            allowed = min(allowed, take + COMPARE)
        self.words, self.take = command.region, take
        begin = start = max(allowed, self.start + 1)
        burst = None
        if words:
            feed = max(command.go, self.fed)
            after = f["after"] - ahead
            if 0 < after <= len(self.ends):
                feed = max(feed, self.ends[-after] + SEEN)
            start = max(begin, feed + FEED)
            self.fed = max(feed + words, start + words - ROOM)
            burst = self.read.move(self.number, words, start)
        command.loading = Loading(begin, start, burst)

    def _ahead(self) -> None:
        """The next command is loaded while the present one is computed, if it may be: then its
        reads are in the way of the other kernel's now."""
        if not self.read_shared or not self.loaded_x:
            return
        for ahead, command in enumerate(islice(self.commands, 1, None), 1):
            if command.used:
                waits = 0 < command.fields["after"] <= ahead
                if command.words and self._apart(command) and not waits:
                    self.loaded_x = False
                    self._push(command)
                    self._load(command, INFINITE, ahead)
                return

    def _apart(self, command: Command) -> bool:
        """Whether it uses other words than the command before."""
        first, stop = command.region
        return first >= self.words[1] or stop <= self.words[0]

    def _tiles(
        self, command: Command, x_words: Burst | None, list_begin: float | None, run: float
    ) -> Process:
        """All output tiles; leaves the cycle of the epilogue's last read in `last`.

        x_words: what it loads of the activation memory, pass by pass of the first tile.
        """
        f, n_tok, n_list, t_tok = command.fields, command.n_tok, command.n_list, self.cfg.t_tok
        self.results.begin(f["space"])
        slots = max(ceil_div(n_list, t_tok), MIN_PASS)
        spare = slots - ceil_div(n_list, t_tok)
        beats = command.tile_beats(self.cfg)
        chunks = self.cfg.t_out // self.cfg.t_epi
        left = f["chunks"]
        for o in range(f["out_tiles"]):
            page = self.tile & 1
            for i in range(f["in_tiles"]):
                yield from self._next_weights(beats)
                if o == 0 and i > 0 and x_words:
                    word = yield from self._word(x_words, i * n_tok)
                    self.issue = max(self.issue, word + spare)
                swap = max(self.issue, self.loaded + 1)
                end = 0.0
                if i == 0:
                    swap = max(swap, self.release[page] + 1)
                if o == 0 and x_words:
                    word = yield from self._word(x_words, i * n_tok + min(t_tok, n_tok))
                    swap = max(swap, word - 1)
                if o == 0 and i == 0 and list_begin is not None:
                    row = list_begin + LIST_TO_ISSUE
                    swap = max(swap, row + min(t_tok, n_list) - 1)
                    end = max(end, row + n_list + spare)
                self.swap = swap
                self.issue = max(swap + slots, end)
                self.busy += slots
            if o == 0:
                yield from self._last_word(x_words, spare)
            full = self.issue - spare + self.mac
            now = min(chunks, left)
            left -= now
            run = yield from self._drain(command, max(run, full), now, left)
            self.release[page] = run - 1
            self.tile += 1
        self.last = run - 1
        self.loaded_x = False

    def _next_weights(self, beats: int) -> Process:
        """They have loaded, while those before are used."""
        while not self.weights.known(beats):
            yield self.weights.asked
        could = max(self.loaded + 1, self.swap) + beats - 1
        while (here := max(could, self.weights.here(beats))) > self.clock.time:
            yield here
        self.loaded = here
        self.weights.use(beats)

    def _last_word(self, x_words: Burst | None, spare: int) -> Process:
        """All activations have entered, so those of the next command may."""
        if x_words:
            word = yield from self._word(x_words, x_words.beats)
            self.issue = max(self.issue, word + spare)
            self.loader = max(self.loader, word - WORD_TO_ISSUE + 1)
            self.fed = max(self.fed, word - WORD_TO_ISSUE - ROOM)
        self.loaded_x = True
        self._ahead()

    def _word(self, x_words: Burst, number: int) -> Generator[float | Happening, None, float]:
        """The cycle after that from which the array may use so many words."""
        read, clock = self.read, self.clock
        while (end := read.moved(self.number, x_words, number)) > clock.time and self.read_shared:
            yield end
        return end + WORD_TO_ISSUE

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
            run = yield from self.results.write(run, n_list)
        return run
