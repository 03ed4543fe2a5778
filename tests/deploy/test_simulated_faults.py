"""Faults between a package and its board, one at a time: each is told for what it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from built_machine import build, shared_folder
from simulated_boards import (
    MEMORY,
    ForgetfulDevice,
    change_field,
    change_weights,
    copy_package,
    file_of,
    number_of,
    on_board,
    zcu102,
)

from hwmoe.codegen.folder import read_json
from hwmoe.codegen.project import Project
from hwmoe.plan.program import Program
from hwmoe.plan.trace import trace_program
from hwmoe.quant.calibrate import no_progress
from hwmoe.sim.machine import Machine


@pytest.fixture(scope="module")
def traced(project: Project) -> Program:
    program = project.program
    return trace_program(project.model, program.accelerator, program).program


def buffer_number(package: Path, name: str) -> int:
    """Of a buffer of the driver in the order of their allocation, from 1."""
    parts = [part["name"] for part in read_json(package / "manifest.json")["memory"]["parts"]]
    return [*parts, "images", "results"].index(name) + 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("program", r"error 1 \(illegal instruction\)"),
        ("trace_program", r"error 1 \(illegal instruction\)"),
        ("params", "FAILED: a: embed"),
        ("weights_0", "FAILED: a: embed"),
        ("images", r"error 6 \(field out of range\), detail 0xa5a5a5a5"),  # the task: old data
        ("results", "the results of image 0 of .* never came to the host"),
    ],
)
def test_a_sync_that_is_missing(
    packaged: Path, pynq_driver: ModuleType, machine: Machine, name: str, says: str
) -> None:
    with ForgetfulDevice(machine, buffer_number(packaged, name)) as device:
        assert_found(pynq_driver, packaged, device, says)


def assert_found(driver: ModuleType, package: Path, device: Any, says: str) -> None:
    """By what is raised, or in the report of the selftest."""
    with driver.Accelerator(package, device) as acc:
        try:
            told = repr(acc.selftest(timeout=2.0))
        except driver.DeviceError as error:
            told = f"{error}"
    assert_matches(says, told)


def assert_matches(says: str, told: str) -> None:

    assert re.search(says, told), told


def test_another_machine(
    packaged: Path, pynq_driver: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    hardware = read_json(packaged / "manifest.json")["hardware"]
    for name in hardware:
        other = hardware | {name: hardware[name] ^ 1}
        package = copy_package(packaged, tmp_path / name, hardware=other)
        with (
            zcu102(machine) as device,
            pytest.raises(pynq_driver.DeviceError, match=f"the hardware's {name} is 0x"),
        ):
            pynq_driver.Accelerator(package, device)


def test_registers_elsewhere(
    packaged: Path, pynq_driver: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    package = copy_package(packaged, tmp_path / "p")
    description = file_of(package, "bitstream").with_suffix(".hwh")
    text = description.read_text()
    offset = read_json(package / "manifest.json")["registers"]["n_images"]["offset"]
    moved = text.replace(f'VALUE="{offset}"', f'VALUE="{offset + 12}"')
    moved = moved.replace(f'VALUE="0x{offset:x}"', f'VALUE="0x{offset + 12:x}"')
    assert moved != text
    description.write_text(moved)
    with (
        zcu102(machine) as device,
        pytest.raises(
            pynq_driver.DeviceError,
            match=f"not those of this package: n_images is at 0x{offset + 12:x} and not",
        ),
    ):
        pynq_driver.Accelerator(package, device)


def test_another_design(
    packaged: Path, pynq_driver: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    package = copy_package(packaged, tmp_path / "p")
    description = file_of(package, "bitstream").with_suffix(".hwh")
    description.write_text(description.read_text().replace("hwmoe_0", "other_0"))
    with (
        zcu102(machine) as device,
        pytest.raises(pynq_driver.DeviceError, match="the design has no hwmoe_0"),
    ):
        pynq_driver.Accelerator(package, device)


def test_a_machine_that_never_finishes(
    project: Project, packaged: Path, pynq_driver: ModuleType, machine: Machine
) -> None:
    """A token that is not sent is a deadlock: here of q, k and v to the attention engine."""
    program = project.program
    with zcu102(machine) as device:
        with pynq_driver.Accelerator(packaged, device) as acc:
            rows, qkv = on_board(acc, "program"), number_of(program, "blocks.0.qkv", "linear")
            change_field(rows, program, qkv, "signal", 0)
            with pytest.raises(pynq_driver.DeviceError) as caught:
                acc.selftest(timeout=0.5)
            told = str(caught.value)
            assert "no image finished within 0.5 s of a run of 6: 0 images done after" in told
            assert_matches(r"attention: waiting for another engine at blocks.0.attn \(step", told)
            assert "linear: waiting for another engine at" in told
            assert "Nothing is under way" in device.diagnosis()
            with pytest.raises(pynq_driver.DeviceError, match="still busy"):
                acc.predict(acc.golden()["images"])
        with pynq_driver.Accelerator(packaged, device) as acc:  # loading it again is the cure
            assert acc.selftest().ok


@pytest.mark.slow
def test_rtl_that_never_finishes(
    project: Project,
    packaged: Path,
    pynq_driver: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In SystemVerilog: the linear engine's tokens for the vector engine are lost."""
    folder = tmp_path_factory.mktemp("planted")
    name = next(name for name in project.rtl if name.endswith("hwmoe_engines.sv"))
    right, wrong = "& {5{done[f]}}", "& {5{done[f]}} & ~(f == 1 ? 5'b01000 : 5'b0)"
    assert project.files[name].count(right) == 1
    files = dict(project.files) | {name: project.files[name].replace(right, wrong)}
    planted = replace(project, files=files)
    planted.write(folder)
    faulty = build(planted, folder, shared_folder(tmp_path_factory), no_progress)
    with (
        zcu102(faulty) as device,
        pynq_driver.Accelerator(packaged, device) as acc,
        pytest.raises(pynq_driver.DeviceError, match=r"no image finished within 0\.5 s") as caught,
    ):
        acc.selftest(timeout=0.5)
    assert_matches(r"vector: waiting for another engine at embed \(step", str(caught.value))


def test_a_memory_that_never_answers(
    packaged: Path, pynq_driver: ModuleType, machine: Machine
) -> None:
    with (
        zcu102(machine, replace(MEMORY, latency=100_000_000)) as device,
        pynq_driver.Accelerator(packaged, device) as acc,
        pytest.raises(pynq_driver.DeviceError, match=r"no image finished within 0\.3 s") as caught,
    ):
        acc.selftest(timeout=0.3)
    assert "0 instructions complete" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "at", "says"),
    [
        ("program", 64, r"error 2 \(read response\)"),
        ("params", 0, r"error 2 \(read response\)"),
        ("weights_0", 64, r"error 2 \(read response\)"),
        ("images", 64, r"error 2 \(read response\)"),
        ("results", 0, r"error 3 \(write response\)"),
    ],
)
def test_an_error_response(
    packaged: Path, pynq_driver: ModuleType, machine: Machine, name: str, at: int, says: str
) -> None:
    with zcu102(machine) as device, pynq_driver.Accelerator(packaged, device) as acc:
        acc.predict(np.repeat(acc.golden()["images"], 2, 0))
        address = acc._buffers[name].device_address + at
    with zcu102(machine, replace(MEMORY, fault_address=address)) as device:
        assert_found(pynq_driver, packaged, device, says)


def test_memory_that_was_given_back(
    packaged: Path, pynq_driver: ModuleType, machine: Machine
) -> None:
    """What is not allocated does not exist for the machine."""
    with zcu102(machine) as device, pynq_driver.Accelerator(packaged, device) as acc:
        acc._buffers["params"].freebuffer()
        with pytest.raises(pynq_driver.DeviceError, match=r"error 2 \(read response\)"):
            acc.selftest()
        assert "read of memory that does not exist" in device.diagnosis()


def test_a_truncated_or_altered_image(
    packaged: Path, pynq_driver: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    package = copy_package(packaged, tmp_path / "p")
    image = file_of(package, "memory")
    whole = image.read_bytes()
    with zcu102(machine) as device:
        image.write_bytes(whole[:-4096])
        with pytest.raises(
            pynq_driver.PackageError, match=f"has {len(whole) - 4096} bytes and should have"
        ):
            pynq_driver.Accelerator(package, device)
        image.write_bytes(whole[:64] + bytes([whole[64] ^ 1]) + whole[65:])
        with pytest.raises(pynq_driver.PackageError, match="was altered in program"):
            pynq_driver.Accelerator(package, device)


@pytest.mark.parametrize(
    ("step", "first"),
    [
        ("patch_embed", "a: embed"),
        ("blocks.0.qkv", "a: blocks.0.res1"),
        ("blocks.0.mlp.fc2", "a: blocks.0.res2"),
        ("blocks.1.proj", "a: blocks.1.res1"),
        ("blocks.1.moe.shared.fc2", "a: blocks.1.res2"),
    ],
)
def test_a_weight_that_was_changed(
    project: Project,
    packaged: Path,
    pynq_driver: ModuleType,
    machine: Machine,
    step: str,
    first: str,
) -> None:
    with zcu102(machine) as device, pynq_driver.Accelerator(packaged, device) as acc:
        assert acc.selftest().ok
        change_weights(on_board(acc, "weights_0"), project.program, step)
        wrong = acc.selftest().first_wrong
        assert wrong.name == first
        assert 0 < wrong.wrong <= wrong.values
        assert_matches(r"\[\d+, \d+\]: expected -?\d+, found -?\d+", wrong.first)


@pytest.mark.parametrize(
    ("step", "kind", "field", "value", "first"),
    [
        ("embed", "add", "first", 0, "a: embed"),
        ("blocks.0.attn", "attention", "score_shift", 5, "a: blocks.0.res1"),
        ("blocks.0.mlp.fc2", "linear", "shift", 0, "a: blocks.0.res2"),
        ("blocks.1.norm1", "layernorm", "shift", 0, "a: blocks.1.res1"),
        ("blocks.1.moe.topk", "gate", "top_k", 1, "a: blocks.1.res2"),
    ],
)
def test_an_instruction_that_was_changed(
    traced: Program,
    packaged: Path,
    pynq_driver: ModuleType,
    machine: Machine,
    step: str,
    kind: str,
    field: str,
    value: int,
    first: str,
) -> None:
    with zcu102(machine) as device, pynq_driver.Accelerator(packaged, device) as acc:
        rows, number = on_board(acc, "trace_program"), number_of(traced, step, kind)
        change_field(rows, traced, number, field, value)
        assert acc.selftest().first_wrong.name == first


def test_an_instruction_of_the_fast_program_that_was_changed(
    project: Project, packaged: Path, pynq_driver: ModuleType, machine: Machine
) -> None:
    program = project.program
    with zcu102(machine) as device, pynq_driver.Accelerator(packaged, device) as acc:
        number = number_of(program, "blocks.1.norm1", "layernorm")
        change_field(on_board(acc, "program"), program, number, "shift", 0)
        report = acc.selftest()
        assert [check.name for check in report.logits if check.wrong] == ["a: logits", "b: logits"]
        assert not any(check.wrong for check in report.tensors)
        assert report.first_wrong.name == "a: logits"
