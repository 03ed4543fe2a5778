"""Whole images on the whole machine in SystemVerilog: bit-exact, in time, faults named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from built_machine import MACHINE, compiled, small_net, small_project
from small_models import Small

from hwmoe.flow.hardware import HardwareModel
from hwmoe.flow.rtl import RtlCheck, RtlOptions, board_memory, build_machine, check_machine
from hwmoe.plan.board import load_board
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.program import Program
from hwmoe.quant.calibrate import no_progress
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.whole_model import simulate_model

TASKS = (0, 1)
GB_S = 0.6  # of a slow memory


@pytest.fixture(scope="module")
def net() -> Small:
    return small_net()


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> HardwareModel:
    model = small_project(clipping(small_net().quantized))
    model.write(tmp_path_factory.mktemp("machine") / "out")
    return compiled(model, tmp_path_factory)


@pytest.fixture(scope="module")
def check(hardware: HardwareModel, net: Small) -> RtlCheck:
    return hardware.check_rtl(net.images)


def changed(model: QuantizedModel, names: Iterable[str], factor: float) -> QuantizedModel:
    """The results of some linear operations `factor` times as large."""
    ops = dict(model.ops)
    for name in names:
        p = ops[name]
        assert isinstance(p, LinearParams)
        larger = np.minimum(factor * p.multiplier.astype(np.int64), 2**17 - 1)
        ops[name] = replace(p, multiplier=larger.astype(np.int32))
    return replace(model, ops=ops)


def clipping(model: QuantizedModel) -> QuantizedModel:
    """Everywhere some results clip."""
    return changed(model, [n for n, p in model.ops.items() if isinstance(p, LinearParams)], 4)


def wrong(hardware: HardwareModel, op: str) -> Program:
    """The program of the model with one operation twice as large."""
    return compile_model(changed(hardware.quantized, [op], 1.5), MACHINE)


def run(hardware: HardwareModel, program: Program, net: Small, traced: int) -> str:
    """What differs if the machine runs another program than the model's."""
    assert hardware.folder
    machine = build_machine(
        hardware.project, hardware.folder, hardware.folder / "build", no_progress
    )
    patches = np.repeat(hardware.quantized.quantize_images(net.images), 2, axis=0)
    memory = board_memory(hardware.project.board, RtlOptions())
    tasks = [*TASKS] * 3
    found = simulate_model(
        program, hardware.quantized, machine, patches, tasks, memory, traced=traced
    )
    return str(found.divergence)


def test_every_tensor_is_compared(check: RtlCheck, hardware: HardwareModel, net: Small) -> None:
    whole = check.whole
    assert whole.divergence is None, str(whole.divergence)
    assert whole.images == check.images == 6
    patches = hardware.quantized.quantize_images(net.images)
    values = 0
    for task in TASKS:
        reference = run_reference(hardware.quantized, patches[:1], task, trace=True)
        assert reference.trace is not None
        left_out = ("fc1", "probs", "topk", "scores", "rows")  # these stay inside the kernels
        kept = [n for n in reference.trace if n.rpartition(".")[2] not in left_out]
        values += sum(reference.trace[name].size for name in kept)
        # Finding faults is only worth what is exercised: these sites do clip.
        for site in ("blocks.0.qkv", "blocks.0.mlp.fc1", "blocks.1.moe.shared.fc1"):
            assert reference.saturations[site] > 0, site
    assert whole.values == values


def test_cycles_are_as_predicted(check: RtlCheck, hardware: HardwareModel) -> None:
    cycles = check.cycles(hardware.project)
    for row in (cycles["latency"], cycles["steady"]):
        assert row["measured"] > 0
        assert abs(row["error_percent"]) < 15
        assert row["ms"] == pytest.approx(row["measured"] / 300e3, rel=1e-3)
    assert cycles["run"]["cycles"] > cycles["latency"]["measured"]
    whole = check.whole
    assert whole.run is not None
    assert len(whole.stores) == 6
    assert whole.stores == sorted(whole.stores)
    for states in cycles["engines"].values():
        assert sum(states.values()) == pytest.approx(whole.run.cycles, abs=64)
    macs = cycles["linear_macs"]
    steady = cycles["steady"]["measured"]
    assert macs["per_cycle"] == 64
    assert macs["utilization"] == pytest.approx(macs["per_image"] / (steady * 64), abs=1e-4)
    assert 0 < cycles["traffic"]["share"] < 1


def test_stalls_change_cycles_and_nothing_else(
    check: RtlCheck, hardware: HardwareModel, net: Small
) -> None:
    runs = [hardware.check_rtl(net.images, options=RtlOptions(stall=0.5, seed=s)) for s in (1, 2)]
    for stalled in runs:
        assert stalled.whole.divergence is None, str(stalled.whole.divergence)
        assert stalled.prediction is None
        assert (stalled.whole.tensors, stalled.whole.values) == (
            check.whole.tensors,
            check.whole.values,
        )
        assert stalled.whole.stores[-1] > 1.02 * check.whole.stores[-1]
    assert runs[0].whole.stores != runs[1].whole.stores


def test_a_slow_memory_holds_the_machine_up(
    check: RtlCheck, hardware: HardwareModel, net: Small, tmp_path: Path
) -> None:
    seen = []
    options = RtlOptions(memory_gb_s=GB_S, timeline=tmp_path / "run.json")
    slow = hardware.check_rtl(net.images[:2], lambda *at: seen.append(at), options)
    assert slow.whole.divergence is None
    cycles, before = slow.cycles(hardware.project), check.cycles(hardware.project)
    assert cycles["memory"]["bytes_per_cycle"] == GB_S * 1e3 / load_board("zcu102").clock_mhz
    assert cycles["steady"]["measured"] > 1.2 * before["steady"]["measured"]
    assert abs(cycles["steady"]["error_percent"]) < 20
    assert cycles["engines"]["linear"]["held"] > before["engines"]["linear"]["held"]
    assert cycles["traffic"]["share"] > before["traffic"]["share"]
    assert slow.whole.run is not None
    assert seen[-1] == ("simulating RTL, cycles", slow.whole.run.cycles, slow.whole.run.cycles)
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    names = {event["name"] for event in events}
    assert {"blocks.0.qkv", "blocks.1.moe.experts.4.fc2", "logits"} <= names


@pytest.mark.parametrize(
    ("op", "tensor"),
    [
        ("blocks.0.qkv", "blocks.0.qkv"),
        ("blocks.1.moe.experts.3.fc1", "blocks.1.moe.experts.3.gelu"),
        ("heads.1", "head"),
    ],
)
def test_a_wrong_constant_is_named(
    op: str, tensor: str, hardware: HardwareModel, net: Small
) -> None:
    said = run(hardware, wrong(hardware, op), net, traced=2)
    task = "b image 1" if tensor == "head" else "a image 0"
    assert said.startswith(f"RTL small/{task} of the run: first difference in {tensor}[")


def test_a_difference_of_an_image_that_was_not_traced_is_traced(
    hardware: HardwareModel, net: Small
) -> None:
    said = run(hardware, wrong(hardware, "heads.1"), net, traced=1)
    assert said.startswith("RTL small/b image 1 of the run: first difference in head[")
    said = run(hardware, wrong(hardware, "heads.1"), net, traced=0)
    assert said.startswith("RTL small/b image 1 of the run: first difference in logits[")


def test_a_run_that_takes_too_long_says_where_it_is(hardware: HardwareModel, net: Small) -> None:
    options = RtlOptions(memory_gb_s=0.01, seconds=0.01, project=Path("end"))
    found = hardware.check_rtl(net.images, options=options)
    said = str(found.whole.divergence)
    assert "did not finish within 0.01 s" in said
    for part in ("linear: ", "steps complete", "bursts outstanding"):
        assert part in said
    # Written elsewhere first, as `hwmoe run` does: the place where it will be is told.
    assert hardware.folder
    kept = next((hardware.folder / "build").glob("*.checkpoint"))
    assert f"it is kept in end/build/{kept.name}; to go on: hwmoe simulate end --level rtl" in said
    cycles = found.cycles(hardware.project)
    assert cycles["steady"]["measured"] is cycles["engines"] is None
    assert cycles["steady"]["predicted"] > 0


@pytest.mark.slow
def test_a_fault_in_the_rtl_on_disk_is_named(
    hardware: HardwareModel, net: Small, tmp_path: Path
) -> None:
    """The first entry of the exponential table halved."""
    assert hardware.folder
    shutil.copytree(hardware.folder, tmp_path / "faulty")
    path = tmp_path / "faulty" / "rtl" / "hwmoe_attn_exp7.sv"
    text = path.read_text()
    assert text.count("8'd0: value <= 7'd127;") == 1
    path.write_text(text.replace("8'd0: value <= 7'd127;", "8'd0: value <= 7'd63;"))
    faulty = HardwareModel.load(tmp_path / "faulty")
    assert faulty.folder
    patches = faulty.quantized.quantize_images(net.images[:1])
    found = check_machine(
        faulty.project, faulty.folder, faulty.folder / "build", patches, RtlOptions(), no_progress
    )
    assert "first difference in blocks.0.attn[" in str(found.whole.divergence)
    assert found.whole.images == 0
