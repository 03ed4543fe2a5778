"""A run that stops half way and goes on in another process is the run that never stopped."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_machine import compiled, small_net, small_project
from resume_cases import HARD, TASKS, Job, assert_same, begun, everything, opened, resume

from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import HardwareModel
from hwmoe.sim import machine_session
from hwmoe.sim.checkpoint import SUFFIX, Checkpoints, Interrupted
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.machine import MachineRun
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_library import FINISHED
from hwmoe.sim.machine_session import MachineSession, Progress
from hwmoe.sim.whole_model import _requests, machine_memory


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> HardwareModel:
    model = small_project()
    model.write(tmp_path_factory.mktemp("resume") / "project")
    return compiled(model, tmp_path_factory)


@pytest.fixture(scope="module")
def job(hardware: HardwareModel) -> Job:
    project, folder = hardware.project, hardware.folder
    assert folder
    program, ports = project.program, project.program.accelerator.ports
    return Job(
        folder / "build",
        tuple(project.rtl_sources(folder)),
        ports.port_bits,
        ports.w_ports,
        machine_memory(program, small_net().patches, TASKS),
        tuple(_requests(program)),
        len(program.steps),
    )


@pytest.fixture(scope="module")
def whole(job: Job) -> MachineRun:
    """In one go."""
    return job.run()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Another process, which shares nothing with this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def stop(job: Job, folder: Path, cycles: int, patch: pytest.MonkeyPatch, again: bool) -> None:
    """Ctrl-C so many cycles after it was begun, or taken up `again`."""
    patch.setattr(machine_session, "_FIRST_CHUNK", cycles)

    def press(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"interrupted after [\d,]+ cycles; it is kept in "):
        job.run(Checkpoints(folder, again), progress=press)
    assert [path.suffix for path in folder.iterdir()] == [SUFFIX]


def stops(whole: MachineRun) -> list[int]:
    """Cycles after the start: random ones, the first, and some while results are written."""
    store = whole.events[(whole.events["engine"] == 4) & (whole.events["null"] == 0)]
    begun = store["cycle"][store["done"] == 0] - whole.start_cycle
    done = store["cycle"][store["done"] == 1] - whole.start_cycle
    drawn = np.random.default_rng(5).integers(2, whole.cycles, 6)
    return [1, *drawn.tolist(), int(begun[0] + done[0]) // 2, int(done[1]) - 3]


def test_stopped_anywhere_and_resumed_in_another_process(
    job: Job,
    whole: MachineRun,
    elsewhere: ProcessPoolExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    under_way: list[Sequence[str]] = []
    save = MachineSession.save

    def watched(session: MachineSession) -> dict[str, Any]:
        channels = session.channels().items()
        under_way.append([name for name, state in channels if state["outstanding"]])
        return save(session)

    monkeypatch.setattr(MachineSession, "save", watched)
    for cycle in stops(whole):
        folder = tmp_path / str(cycle)
        stop(job, folder, cycle, monkeypatch, again=False)
        process, resumed = elsewhere.submit(resume, job, folder).result(timeout=300)
        assert process != os.getpid()
        assert_same(whole, resumed, f"stopped after {cycle}")
        assert list(folder.iterdir()) == []
    # Worth something only if bursts were cut in two.
    names = {name for names in under_way for name in names}
    assert names >= {"m_axi_gmem read", "m_axi_w0 read", "m_axi_gmem write"}
    assert len(whole.captures) > 50
    assert all(state["starved"] for state in whole.channels.values())


def test_every_cycle_of_a_stretch_can_be_taken_up(job: Job) -> None:
    """While results are written, and every channel holds back: the next cycle and the 60th."""
    held_back = replace(job, options=replace(HARD, stall=0.8))
    events = held_back.run().events
    store = events[(events["engine"] == 4) & (events["null"] == 0)]["cycle"]
    first, length, ahead = int(store[0]), int(store[1] - store[0]) + 100, 60
    with begun(held_back) as session:
        session.advance(first - session.cycle)
        states, saved = [], []
        for cycle in range(length + ahead):
            if cycle < length:
                saved.append(session.save())
            states.append(everything(session))
            session.advance(1)
    assert len(set(states)) == len(states)
    for cycle, state in enumerate(saved):
        with opened(held_back) as other:
            other.restore(state)
            assert other.cycle == first + cycle
            for further in (1, ahead):
                other.advance(first + cycle + further - other.cycle)
                assert everything(other) == states[cycle + further], (cycle, further)


@pytest.mark.parametrize("poll", [None, 41])
def test_stopped_again_and_again(
    poll: int | None, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polling = replace(job, poll_cycles=poll)
    expected = polling.run()
    for turn in range(7):
        stop(polling, tmp_path, expected.cycles // 9 + 17 * turn, monkeypatch, again=turn > 0)
    assert_same(expected, polling.run(Checkpoints(tmp_path, resume=True)), "stopped seven times")


@pytest.mark.parametrize("poll", [None, 41])
def test_interrupted_in_the_very_last_cycle(
    poll: int | None, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the library works is seen when it returns, and then the machine is done."""
    polling = replace(job, poll_cycles=poll)
    expected = polling.run()
    status = MachineSession._status

    def pressed(session: MachineSession, *arguments: int) -> int:
        report = ctypes.byref(session._report)
        found = session._library.machine_run(session._handle, *arguments, report)
        if found == FINISHED:
            raise KeyboardInterrupt
        return status(session, found)

    with monkeypatch.context() as patch:
        patch.setattr(MachineSession, "_run", pressed)
        with pytest.raises(Interrupted):
            polling.run(Checkpoints(tmp_path))
    assert_same(expected, polling.run(Checkpoints(tmp_path, resume=True)), "the last cycle")


def test_out_of_time(
    job: Job, whole: MachineRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_session, "_FIRST_CHUNK", 3000)
    here = Checkpoints(tmp_path, shown=Path("there"), hint="type this")
    with pytest.raises(SimulationFault) as caught:
        job.run(here, seconds=0.0)
    kept = next(tmp_path.iterdir())
    first, *rest = str(caught.value).splitlines()
    told = rf"it is kept in there/{kept.name}; to go on: type this"
    assert re.fullmatch(rf"the machine did not finish within 0 s, 30\d\d cycles; {told}", first)
    assert any(line.startswith("  linear: ") for line in rest)
    seen: list[Progress] = []
    resumed = job.run(replace(here, resume=True), progress=seen.append)
    assert seen[0].cycles > 3000
    assert_same(whole, resumed, "out of time")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_go_on_is_not_kept(job: Job, tmp_path: Path) -> None:
    with pytest.raises(SimulationFault, match="within 500 cycles\n"):
        job.run(Checkpoints(tmp_path), cycle_limit=500)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_session, "_FIRST_CHUNK", 100)
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulationFault, match=r"the run could not be kept: .*file"):
        job.run(Checkpoints(tmp_path / "file"), seconds=0.0)


@pytest.fixture
def kept(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    """A run that was stopped."""
    with monkeypatch.context() as patch:
        stop(job, tmp_path, 700, patch, again=False)
    return Checkpoints(tmp_path, resume=True)


def changed(job: Job, region: str) -> MemoryImage:
    memory = job.memory.copy()
    memory[region][-1] ^= 1
    return memory


def test_a_run_of_something_else_is_not_resumed(job: Job, kept: Checkpoints) -> None:
    others = {
        r"options \(seed was 11, is 4; stall was 0.3, is 0.0\)": replace(
            job, options=replace(HARD, stall=0.0, seed=4)
        ),
        r"options \(poll_cycles was None, is 5\)": replace(job, poll_cycles=5),
        "images": replace(job, memory=changed(job, "images")),
        "program": replace(job, memory=changed(job, "weights_0")),
        "captures": replace(job, captures=job.captures[1:]),
        r"program, options \(latency was 40, is 41\)": replace(
            job, memory=changed(job, "program"), options=replace(HARD, latency=41)
        ),
    }
    for what, other in others.items():
        name = next(kept.folder.iterdir()).name
        with pytest.raises(HwmoeError, match=rf"{name} differs in {what}\n"):
            other.run(kept)
    with pytest.raises(HwmoeError, match="differs in sources\n"):
        kept.expect("hwmoe_top-0123456789abcdef")
    kept.expect(job.machine.key)
    with pytest.raises(HwmoeError, match="holds no run to resume: run from the start"):
        Checkpoints(kept.folder / "empty").expect(job.machine.key)


def test_damage_is_found(job: Job, kept: Checkpoints) -> None:
    path = next(kept.folder.iterdir())
    sound = path.read_bytes()
    rng = np.random.default_rng(2)
    places = [8, 200, len(sound) - 1, *rng.integers(len(sound), size=8).tolist()]
    flipped = [sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :] for at in places]
    for text in (*flipped, b"", sound[:100], sound[:-1], sound + b"0"):
        path.write_bytes(text)
        with pytest.raises(HwmoeError, match="is damaged: delete it and run from the start"):
            job.run(kept)
    kept.expect("hwmoe_top-0123456789abcdef")  # nobody knows of what it was
    path.write_bytes(sound)
    assert job.run(kept).cycles > 700
