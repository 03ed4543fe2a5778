"""Where a machine stands that did not finish: every engine, every port, what is awaited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import cycle, islice

from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import Program
from hwmoe.plan.tokens import unpack_counters
from hwmoe.sim.machine_library import ENGINES, STATES
from hwmoe.sim.machine_session import MachineSession, Records

StepName = Callable[[int], str]
Awaited = Callable[[Records], Mapping[str, str]]
"""From the events of a run: engine -> what its next instruction waits for."""


def nothing_known(_: Records) -> dict[str, str]:
    """For a machine whose program is not at hand."""
    return {}


def diagnosis(
    session: MachineSession, step_name: StepName = str, awaited: Awaited = nothing_known
) -> str:
    """What every engine and every port is doing, a line each, and what went wrong before."""
    totals = session.totals()
    events, _, errors = session.lists()
    missing = awaited(events)
    lines = [f"In cycle {session.cycle} of the simulation (started in {totals.since}):"]
    for i, engine in enumerate(ENGINES[: totals.engines]):
        doing = STATES[totals.state[i]]
        mine = events[events["engine"] == i]
        begun, done = mine[mine["done"] == 0], mine[mine["done"] == 1]
        text = f"  {engine}: {doing}, {len(done)} steps complete"
        for what, list_ in (("started", begun), ("completed", done)):
            if len(list_):
                last = list_[-1]
                text += f"; last {what} {step_name(int(last['step']))} in cycle {last['cycle']}"
        if doing == "waiting" and engine in missing:
            text += f"; waits for {missing[engine]}"
        lines.append(text)
    channels = session.channels()
    moving = any(state["outstanding"] for state in channels.values())
    if not moving and all(STATES[state] in ("idle", "waiting") for state in totals.state):
        lines.append("  Nothing is under way: engines wait for each other, or for instructions.")
    for name, state in channels.items():
        text = f"  {name}: {state['bytes']} bytes moved, {state['outstanding']} bursts outstanding"
        if state["outstanding"]:
            place = session.memory.describe(int(state["address"]))
            text += f", the oldest since cycle {state['since']}, {state['left']} beats left from "
            text += place
        lines.append(text)
    names = list(channels)
    for error in errors:
        what = "of memory that does not exist" if error["beyond"] else "to read-only memory"
        lines.append(
            f"  {names[error['channel']]} {what} in cycle {error['cycle']}: {error['bytes']} bytes"
            f" at {session.memory.describe(int(error['address']))}"
        )
    return "\n".join(lines)


def missing_tokens(program: Program, events: Records) -> dict[str, str]:
    """Engine -> whose tokens its next instruction lacks, by the events since the start."""
    size = len(program.accelerator.engines)
    counters = unpack_counters(program.loop, size)
    steps = [[s for s in program.steps if s.engine == engine] for engine in range(size)]
    # What was begun took its tokens, null instructions too, which begin and end at once.
    done = Counter(events["engine"][events["done"] == 1].tolist())
    null = Counter(events["engine"][(events["done"] == 1) & (events["null"] == 1)].tolist())
    begun = Counter(events["engine"][events["done"] == 0].tolist()) + null

    def passed(engine: int, count: int, mask: str, other: int) -> int:
        first = islice(cycle(steps[engine]), count)
        return sum(step.fields[mask] >> other & 1 for step in first)

    found = {}
    for me, own in enumerate(steps):
        if not own:
            continue
        step = own[begun[me] % len(own)]
        lacking = []
        for other in range(size):
            count = counters[size * other + me] + passed(other, done[other], "signal", me)
            count -= passed(me, begun[me], "wait", other)
            if step.fields["wait"] >> other & 1 and count <= 0:
                lacking.append(instruction_set().engines[other])
        if lacking:
            found[ENGINES[me]] = f"a token of {' and of '.join(lacking)} to begin {step.name}"
    return found
