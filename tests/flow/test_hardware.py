"""`HardwareModel`: all verbs, and both checks against planted faults."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flow_machines import MACHINES
from small_models import Small, small

from hwmoe.codegen.project import Project
from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import HardwareModel, convert, generate
from hwmoe.model.data import digits_images
from hwmoe.plan.board import load_board
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.rtl import RtlRun


@pytest.fixture(scope="module")
def net() -> Small:
    return small("ternary", count=3)


def clipping(model: QuantizedModel) -> QuantizedModel:
    """Results of operations four times as large, logits 32 times: some clip everywhere."""
    ops = dict(model.ops)
    for name, p in ops.items():
        if isinstance(p, LinearParams):
            larger = np.minimum(4 * p.multiplier.astype(np.int64), 2**17 - 1)
            shift = p.shift - 5 if name.startswith("heads") else p.shift
            ops[name] = replace(p, multiplier=larger.astype(np.int32), shift=shift)
        elif name.endswith(".attn"):
            ops[name] = replace(p, out_shift=p.out_shift - 2)  # type: ignore[call-arg]
    return replace(model, ops=ops)


@pytest.fixture(scope="module")
def written(net: Small, tmp_path_factory: pytest.TempPathFactory) -> HardwareModel:
    """One project on disk; its simulators are built once."""
    folder = tmp_path_factory.mktemp("project") / "out"
    machine = MACHINES["plain"]
    model = generate(clipping(net.quantized), load_board("zcu102"), "small", machine)
    assert model.folder is None
    assert model.write(folder) == folder
    return model


def copy_with(
    hardware: HardwareModel, folder: Path, file: str, old: str, new: str
) -> HardwareModel:
    """The project copied, compiled simulators and all, with one constant in one file changed."""
    assert hardware.folder is not None
    shutil.copytree(hardware.folder, folder)
    path = folder / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return HardwareModel.load(folder)


# ---- project ------------------------------------------------------------------------------------


def test_a_written_project_comes_back(written: HardwareModel, tmp_path: Path) -> None:
    assert written.folder is not None
    project, again = written.project, Project.load(written.folder)
    assert again.digest == project.digest
    assert again.files == project.files
    assert again.rtl == project.rtl
    assert (again.board, again.source) == (project.board, "small")
    for paths in again.rtl_sources(written.folder).values():
        assert paths
        assert all(path.is_file() for path in paths)
    shutil.copytree(written.folder, tmp_path / "copy")
    (tmp_path / "copy" / "hls" / "hwmoe_top.cpp").unlink()
    with pytest.raises(HwmoeError, match=r"files are missing: hls/hwmoe_top\.cpp"):
        HardwareModel.load(tmp_path / "copy")
    with pytest.raises(HwmoeError, match="not a project of hwmoe"):
        HardwareModel.load(tmp_path)


def test_the_digest_follows_sources_and_constants(net: Small) -> None:
    board, machine = load_board("zcu102"), MACHINES["plain"]
    first = generate(net.quantized, board, "x", machine).project
    assert generate(net.quantized, board, "y", machine).project.digest == first.digest
    assert replace(first, files={**first.files, "hls/x": ""}).digest != first.digest
    other = small("ternary", seed=1).quantized
    assert generate(other, board, "x", machine).project.digest != first.digest
    wider = generate(net.quantized, board, "x", MACHINES["odd"]).project
    assert wider.digest != first.digest


def test_nothing_runs_before_it_is_written(net: Small) -> None:
    hardware = generate(net.quantized, load_board("zcu102"), "x", MACHINES["plain"])
    for verb in (hardware.compile, lambda: hardware.check_rtl(net.images)):
        with pytest.raises(HwmoeError, match=r"call write\(folder\) first"):
            verb()


def test_images_of_another_shape(written: HardwareModel) -> None:
    for verb in (written.predict, written.trace, written.check_hls, written.check_rtl):
        with pytest.raises(HwmoeError, match="shape"):
            verb(np.zeros((1, 2, 8, 8), np.float32))


def test_convert_takes_names_and_chooses_a_machine() -> None:
    images = digits_images().calibration[:8]
    hardware = convert("digits", images, "u280", "ternary")
    assert hardware.project.source == "digits"
    assert hardware.project.board.name == "u280"
    assert hardware.quantized.experts == "ternary"
    used = hardware.project.program.accelerator
    assert used.linear.macs_per_cycle + used.attention.macs_per_cycle < 9024
    cycles = hardware.predict_cycles()
    assert {name: p.cycles > p.macs / p.macs_per_cycle for name, p in cycles.items()} == {
        "linear": True,
        "attention": True,
    }
    assert sum(p.macs for p in cycles.values()) == hardware.quantized.config.macs
    with pytest.raises(HwmoeError, match="unknown board"):
        convert("digits", images, "nothing")


# ---- HLS ----------------------------------------------------------------------------------------


def test_predict_trace_and_check(written: HardwareModel, net: Small) -> None:
    run = written.check_hls(net.images)
    assert run.divergence is None
    assert run.images == 6
    for task in (0, 1):
        patches = written.quantized.quantize_images(net.images)
        reference = run_reference(written.quantized, patches, task, trace=True)
        scale = written.quantized.scales[f"head.{task}"]
        got = written.predict(net.images, task)
        assert got.dtype == np.float32
        assert np.array_equal(got, (reference.logits * scale).astype(np.float32))
        traces = written.trace(net.images, task)
        assert len(traces) == 3
        assert reference.trace is not None
        for image, trace in enumerate(traces):
            want = reference.trace["blocks.0.qkv"][image]
            assert np.array_equal(trace["blocks.0.qkv"], want)
            assert np.array_equal(trace["blocks.1.res2"], reference.trace["blocks.1.res2"][image])
            assert np.array_equal(trace["head"][0], reference.logits[image])
            names = {n for n in trace if ".experts." not in n}
            assert names <= {*reference.trace, "image", "position", "logits"}
            assert {"image", "embed", "norm", "blocks.1.moe.gate", "blocks.0.attn"} <= names
            rows = [trace[f"blocks.1.moe.experts.{e}.rows"] for e in range(5)]
            assert sum(map(len, rows)) == 2 * net.config.tokens
    assert written.compile() is written.compile()


def test_compare_with_pytorch(written: HardwareModel, net: Small) -> None:
    labels = {"a": np.zeros(3, np.int64)}
    first, second = written.compare(net.model, net.images, labels)
    assert first.accuracy.float_top1 is not None
    assert second.accuracy.float_top1 is None
    assert (first.accuracy.task, second.accuracy.images) == ("a", 3)
    assert {"embed", "head", "blocks.0.qkv"} <= {layer.name for layer in first.layers}
    with pytest.raises(HwmoeError, match="not the model the project was made from"):
        written.compare(small(dim=6).model, net.images)


def test_a_fault_in_the_hls_on_disk_is_named(
    written: HardwareModel, net: Small, tmp_path: Path
) -> None:
    """A rounding constant of the attention row halved: traced to the first wrong value."""
    faulty = copy_with(
        written,
        tmp_path / "faulty",
        "hls/hwmoe_numerics.hpp",
        "const prod_t half = prod_t(1) << (scale.shift - 1);",
        "const prod_t half = prod_t(1) << (scale.shift - 2);",
    )
    run = faulty.check_hls(net.images)
    found = run.divergence
    assert found is not None
    assert found.tensor == "blocks.0.attn"
    assert found.what == "HLS small/a image 0"
    token, channel = found.index
    trace = run_reference(faulty.quantized, faulty.quantized.quantize_images(net.images), 0, True)
    assert trace.trace is not None
    assert trace.trace["blocks.0.attn"][0, token, channel] == found.expected
    assert found.got == found.expected - 1
    assert 0 < found.differing < found.total == net.config.tokens * net.config.dim


# ---- SystemVerilog ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rtl_run(written: HardwareModel, net: Small) -> RtlRun:
    return written.check_rtl(net.images[:2])


def test_rtl_is_bit_exact(rtl_run: RtlRun, written: HardwareModel, net: Small) -> None:
    assert rtl_run.divergence is None, str(rtl_run.divergence)
    assert rtl_run.images == 4
    patches = written.quantized.quantize_images(net.images[:2])
    values = commands = 0
    for task in (0, 1):
        run = run_reference(written.quantized, patches, task, trace=True)
        assert run.trace is not None
        for name, tensor in run.trace.items():
            kind = name.rpartition(".")[2]
            if kind in ("patch_embed", "qkv", "proj", "gelu", "fc2", "gate", "head", "attn"):
                values += tensor.size
        # Fault finding is only worth what is exercised: these sites do clip.
        for site in ("blocks.0.qkv", "blocks.0.attn", "blocks.0.mlp.fc1", f"heads.{task}"):
            assert run.saturations[site] > 0, site
    assert rtl_run.values == values
    commands = sum(len(kernel.commands) for kernel in rtl_run.kernels.values())
    assert rtl_run.commands == commands
    assert len(rtl_run.kernels["attention"].commands) == 4 * net.config.depth


def test_stalls_change_cycles_and_nothing_else(
    rtl_run: RtlRun, written: HardwareModel, net: Small
) -> None:
    stalled = written.check_rtl(net.images[:2], stall=0.4)
    assert stalled.divergence is None
    assert (stalled.values, stalled.commands) == (rtl_run.values, rtl_run.commands)
    for name, kernel in stalled.kernels.items():
        assert kernel.commands == rtl_run.kernels[name].commands
        assert all(np.array(kernel.cycles) > 1.05 * np.array(rtl_run.kernels[name].cycles))


def test_cycles_are_as_predicted(rtl_run: RtlRun, written: HardwareModel) -> None:
    predicted = written.predict_cycles(rtl_run)
    for name, kernel in rtl_run.kernels.items():
        measured = float(np.mean(kernel.cycles))
        commands = len(kernel.commands) / len(kernel.images)
        difference = abs(predicted[name].cycles - measured)
        assert difference <= max(0.01 * measured, 16 * commands), name
        assert predicted[name].macs < predicted[name].macs_per_cycle * measured
    again = written.check_rtl(np.zeros((1, 2, 8, 12), np.float32))
    assert again.divergence is None


def test_a_fault_in_the_rtl_on_disk_is_named(
    written: HardwareModel, rtl_run: RtlRun, net: Small, tmp_path: Path
) -> None:
    """The first entry of the exponential table halved."""
    assert rtl_run.images
    faulty = copy_with(
        written,
        tmp_path / "faulty",
        "rtl/hwmoe_attn_exp7.sv",
        "8'd0: value <= 7'd127;",
        "8'd0: value <= 7'd63;",
    )
    run = faulty.check_rtl(net.images[:1])
    found = run.divergence
    assert found is not None
    assert found.tensor == "blocks.0.attn"
    assert "RTL small/a image 0 attention: first difference in blocks.0.attn[" in str(found)
    assert run.images == 0
