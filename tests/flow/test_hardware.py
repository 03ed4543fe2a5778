"""`HardwareModel`: all verbs, and both checks against planted faults."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from built_machine import MACHINE, small_net, small_project
from flow_machines import MACHINES
from small_models import Small, small

from hwmoe.codegen.project import LISTING, Project, make_project
from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import HardwareModel, convert, generate
from hwmoe.flow.rtl import RtlOptions
from hwmoe.model.data import digits_images
from hwmoe.plan.board import load_board
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference


@pytest.fixture(scope="module")
def net() -> Small:
    return small_net()


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
    """One project on disk; its HLS is built once."""
    folder = tmp_path_factory.mktemp("project") / "out"
    model = small_project(clipping(net.quantized))
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
    sources = again.rtl_sources(written.folder)
    assert "hwmoe_top.sv" in {path.name for path in sources}
    assert sorted(sources) == sorted((written.folder / "rtl").iterdir())
    steps = project.program.steps
    lines = (written.folder / LISTING).read_text().splitlines()
    assert [line.split()[0] for line in lines[1:]] == [step.name for step in steps]
    shutil.copytree(written.folder, tmp_path / "copy")
    (tmp_path / "copy" / "hls" / "hwmoe_top.cpp").unlink()
    with pytest.raises(HwmoeError, match=r"files are missing: hls/hwmoe_top\.cpp"):
        HardwareModel.load(tmp_path / "copy")
    with pytest.raises(HwmoeError, match="not a project of hwmoe"):
        HardwareModel.load(tmp_path)


def test_the_digest_follows_sources_and_constants(net: Small) -> None:
    board, machine = load_board("zcu102"), MACHINE
    first = generate(net.quantized, board, "x", machine).project
    assert generate(net.quantized, board, "y", machine).project.digest == first.digest
    assert replace(first, files={**first.files, "hls/x": ""}).digest != first.digest
    other = small("ternary", seed=1).quantized
    assert generate(other, board, "x", machine).project.digest != first.digest
    wider = generate(net.quantized, board, "x", MACHINES["odd"]).project
    assert wider.digest != first.digest


def test_a_program_that_is_not_sound_is_refused(net: Small) -> None:
    program = small_project().project.program
    steps = [replace(s, fields={**s.fields, "wait": 0, "signal": 0}) for s in program.steps]
    with pytest.raises(HwmoeError, match="the program is not sound"):
        make_project(net.quantized, replace(program, steps=tuple(steps)), load_board("zcu102"), "x")


def test_nothing_runs_before_it_is_written(net: Small) -> None:
    hardware = generate(net.quantized, load_board("zcu102"), "x", MACHINE)
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
    predicted = hardware.predict_cycles()
    config = hardware.quantized.config
    fewest = (config.macs - 2 * config.depth * config.tokens**2 * config.dim) / (
        used.linear.macs_per_cycle
    )
    assert fewest < predicted.cycles_per_image <= predicted.latency < 100 * fewest
    starved = hardware.predict_cycles(RtlOptions(memory_gb_s=0.1))
    assert starved.cycles_per_image > 2 * predicted.cycles_per_image
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
