"""The cycles of a run in report.json: what the plan predicts beside what the simulation took."""

from __future__ import annotations

from typing import Any

from hwmoe.codegen.project import Project
from hwmoe.dse.machine_cycles import MachinePrediction
from hwmoe.model.config import ModelConfig
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.whole_model import WholeRun

Section = dict[str, Any]


def linear_macs(config: ModelConfig) -> int:
    """MACs of one image on the linear engines, without padding: all but those of attention."""
    return config.macs - 2 * config.depth * config.tokens**2 * config.dim


def cycles_section(
    project: Project,
    memory: MachineOptions,
    images: int,
    prediction: MachinePrediction | None,
    run: WholeRun | None,
) -> Section:
    """`images` pass through the machine in one run, on this off-chip memory.

    `latency`: cycles from the start to the first image's results. `steady`: cycles an image once
    the machine is full. What was not predicted or simulated is null.
    """
    measured = run if run and run.run and run.divergence is None else None
    clock = project.board.clock_mhz
    section: Section = {
        "images": images,
        "memory": {
            "bytes_per_cycle": round(memory.bytes_per_cycle, 2),
            "gb_s": round(memory.bytes_per_cycle * clock / 1e3, 2),
            "latency_cycles": memory.latency,
            "stall": memory.stall,
        },
        "latency": _compared(
            prediction.latency if prediction else None,
            measured.latency if measured else None,
            clock,
        ),
        "steady": _compared(
            prediction.cycles_per_image if prediction else None,
            measured.cycles_per_image if measured else None,
            clock,
        ),
    }
    steady = section["steady"]["measured"] or section["steady"]["predicted"]
    linears = project.program.accelerator.linears.values()
    per_cycle = sum(cfg.macs_per_cycle for cfg in linears)
    macs = linear_macs(project.model.config)
    section["linear_macs"] = {
        "per_image": macs,
        "per_cycle": per_cycle,
        "utilization": round(macs / (steady * per_cycle), 4) if steady else None,
    }
    return section | _observed(measured, images, memory)


def _compared(predicted: float | None, measured: float | None, clock_mhz: float) -> Section:
    best = measured or predicted
    return {
        "predicted": predicted and round(predicted, 1),
        "measured": measured and round(measured, 1),
        "error_percent": round(100 * (predicted / measured - 1), 3)
        if predicted and measured
        else None,
        "ms": best and round(best / (1e3 * clock_mhz), 6),
    }


def _observed(measured: WholeRun | None, images: int, memory: MachineOptions) -> Section:
    """What only a simulation tells: cycles by engine and state, and use of off-chip memory."""
    if measured is None or measured.run is None:
        return {"run": None, "engines": None, "traffic": None}
    run = measured.run
    return {
        "run": {"cycles": run.cycles, "simulated_cycles_per_s": round(run.cycles_per_second)},
        "engines": run.engine_cycles,
        "traffic": {
            "bytes_per_image": round(run.bytes_moved / images),
            "bytes_per_cycle": round(run.bytes_per_cycle, 2),
            "share": round(run.bytes_per_cycle / memory.bytes_per_cycle, 4),
        },
    }
