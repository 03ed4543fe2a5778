"""One job of `hwmoe search --measure` in a process of its own: python -m hwmoe.flow.measure FOLDER.

A process, so that a crash or the end of its time costs one job, on this machine as on a cluster.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hwmoe
from hwmoe.codegen.folder import KEPT, read_json, write_json
from hwmoe.codegen.project import PROGRAM, QUANTIZED
from hwmoe.errors import HwmoeError
from hwmoe.flow.jobs import PATCHES, Job, Kind, tools
from hwmoe.plan.checker import check_program
from hwmoe.plan.program import Program
from hwmoe.process import run_tool
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.sim.checkpoint import Checkpoints
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_build import OPTIMIZE
from hwmoe.sim.machine_options import MachineOptions
from hwmoe.sim.whole_model import simulate_model
from hwmoe.synth.yosys import synthesize

Result = dict[str, Any]
TASK, RESULT, LOG, LOCK = "task.json", "result.json", "log.txt", "lock"
FAILED = "failed"
SPARE = 60.0  # seconds for a process to stop by itself when its time is over
TERMINATED = 143


def run_job(job: Job, folder: Path, seconds: float) -> Result:
    """What was measured; `HwmoeError` why not. `folder`: for its files, gone if all went well; what
    an earlier run of the same job left there is used: the compiled machine, a stopped simulation.
    """
    with _alone(folder):
        put_files(job, folder, seconds)
        (folder / RESULT).unlink(missing_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "hwmoe.flow.measure", folder.resolve()]
        run_tool(command, timeout=seconds + SPARE, log=folder / LOG)
        result: Result = read_json(folder / RESULT)
    if FAILED in result:
        raise HwmoeError(result[FAILED])
    if not result.get("divergence"):
        shutil.rmtree(folder, ignore_errors=True)
    return result


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """`HwmoeError` if another search, or one that was interrupted, is at work there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HwmoeError(f"another process is at it, in {folder}: try again later") from None
        yield


def put_files(job: Job, folder: Path, seconds: float) -> None:
    """What `measure` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in job.files.items():
        (folder / name).write_bytes(content)
    write_json(folder / TASK, {**job.task, "seconds": seconds})


def measure(folder: Path) -> Result:
    """The task in `folder`, here and now."""
    task = read_json(folder / TASK)
    kind: Kind = task["kind"]
    for what, wanted, own in (
        ("hwmoe", task["hwmoe"], hwmoe.__version__),
        ("tool", task["tool"], tools(kind == "resources")[kind]),
    ):
        if wanted != own:
            raise HwmoeError(f"{what} {wanted} is asked for, and {own} is installed where it runs")
    started = time.perf_counter()
    result = MEASURE[kind](folder, task)
    return {**result, "tool": task["tool"], "seconds": round(time.perf_counter() - started, 1)}


def _cycles(folder: Path, task: Mapping[str, Any]) -> Result:
    """Images through the whole machine, compared with the integer reference."""
    started, seconds = time.perf_counter(), task["seconds"]
    program, model = Program.load(folder / PROGRAM), QuantizedModel.load(folder / QUANTIZED)
    check_program(program)
    patches = np.load(folder / PATCHES, allow_pickle=False)
    ports, sources = program.accelerator.ports, [folder / name for name in task["sources"]]
    machine = Machine(
        sources,
        ports.port_bits,
        ports.w_ports,
        folder / KEPT,
        optimize=OPTIMIZE,
        build_seconds=seconds,
    )
    kept = Checkpoints(folder / KEPT)
    whole = simulate_model(
        program,
        model,
        machine,
        patches,
        [0] * len(patches),
        MachineOptions(**task["memory"]),
        traced=1,
        seconds=max(1.0, seconds - (time.perf_counter() - started)),
        checkpoints=replace(kept, resume=bool(kept.files())),
    )
    if kept.files():
        raise HwmoeError(
            f"it did not finish within {seconds:g} s, and is kept: the same command goes on with "
            "it; --timeout gives it more"
        )
    if whole.divergence:
        return {"divergence": str(whole.divergence)}
    return {
        "latency": whole.latency,
        "steady": whole.cycles_per_image,
        "images": whole.images,
        "tensors": whole.tensors,
        "values": whole.values,
    }


def _resources(folder: Path, task: Mapping[str, Any]) -> Result:
    """Cells of one part by module."""
    found = synthesize(
        [folder / name for name in task["sources"]],
        task["top"],
        folder / KEPT,
        task["seconds"],
        task["uram"],
        without=task["without"],
    )
    return found.as_dict()


MEASURE: Mapping[Kind, Callable[[Path, Mapping[str, Any]], Result]] = {
    "cycles": _cycles,
    "resources": _resources,
}


def main(folder: Path) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        result = measure(folder)
    except KeyboardInterrupt:  # a simulation that was terminated, and is kept
        return TERMINATED
    except HwmoeError as error:
        result = {FAILED: str(error)}
    write_json(folder / RESULT, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
