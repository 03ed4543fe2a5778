"""The front of the linear engine in time."""

from __future__ import annotations

from collections.abc import Sequence

from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.dse.engine_time import Engine, Instruction, Trace
from hwmoe.dse.linear_command import Command
from hwmoe.dse.linear_cycles import TABLE
from hwmoe.dse.linear_time import LinearTime
from hwmoe.dse.memory_time import Channel, OffChip
from hwmoe.plan.packing import ceil_div

LIST = 5  # from the tokens until the length of a list is settled and its weights are asked for
TABLE_FIRST = 4  # cycles that the request for a table holds back the one for parameters


class LinearFront(Engine):
    """One instruction asks for its weights, the one before waits for its tokens."""

    def __init__(
        self,
        number: int,
        clock: Clock,
        engines: Sequence[Engine],
        trace: Trace,
        memory: OffChip,
        linear: LinearTime,
    ) -> None:
        super().__init__(number, clock, engines, trace)
        self.memory, self.linear = memory, linear
        self.second: tuple[Instruction, Command] | None = None
        self.moved = Happening(clock)  # into the second stage, or out of it
        clock.start(self._ask())
        clock.start(self._dispatch())

    def _ask(self) -> Process:
        while True:
            yield from self.first()
            work = self.queue[0]
            self.pop()
            command = self._command(work)
            yield self.clock.time + 1
            if work.rows is not None:
                while self.second:
                    yield self.moved
                yield from self.wait(work.step)
                yield self.clock.time + LIST
            if command.used:
                self._request(command)
                yield self.clock.time + 1
            while self.second:
                yield self.moved
            self.second = (work, command)
            self.moved.now()
            yield self.clock.time + 1

    def _command(self, work: Instruction) -> Command:
        f = work.step.fields
        n_list = f["n_list"] if work.rows is None else work.rows
        n_tok = n_list if f["list_mode"] == 2 else f["n_tok"]

        def finish(end: float) -> None:
            self.finish(work, command.go, end)

        command = Command(f, work.null, n_tok, n_list, finish)
        return command

    def _request(self, command: Command) -> None:
        f, now, beat = command.fields, self.clock.time, self.memory.beat
        channel = Channel.EXPERT_PARAMS if self.linear.client else Channel.PARAMS
        if command.flag("load_table"):
            address = 4 * f["table"] // beat
            command.table = self.memory.general(channel, TABLE // beat, now, address)
            now += TABLE_FIRST
        if command.n_list:
            beats = ceil_div(8 * f["chunks"] * self.linear.cfg.t_epi, beat)
            command.params = self.memory.general(channel, beats, now, 4 * f["params"] // beat)
            command.ask(self.linear.cfg, self.linear.weights)

    def _dispatch(self) -> Process:
        while True:
            while not self.second:
                yield self.moved
            work, command = self.second
            yield self.clock.time + 1
            yield from self.wait(work.step)
            while not self.linear.has_room():
                yield self.linear.changed
            self.take(work.step)
            command.go = self.clock.time
            self.linear.put(command)
            yield self.clock.time + 1
            self.second = None
            self.moved.now()
