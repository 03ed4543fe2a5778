"""`hwmoe package`: files, manifest, golden data, memory image, hardware description."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_machine import MACHINE, small_net, small_project

from hwmoe.cli import main
from hwmoe.codegen.project import Project
from hwmoe.codegen.rtl_axi import register_map
from hwmoe.deploy.bitstream import for_simulation, read_bitstream
from hwmoe.deploy.hwh import divisors, hardware_description
from hwmoe.deploy.package import write_package, zip_path
from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import generate
from hwmoe.plan.board import load_board
from hwmoe.plan.image import constant_parts
from hwmoe.quant.reference import run_reference

ON_BOARD = {"numpy", "pynq", "pyxrt"}
PREDICTED = {"cycles_per_image": 2000.0, "first_cycles": 5000.0}
BIT = b"\x00\x09\x0f\xf0 what a bitstream may be"


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def test_every_file_is_called_after_its_content(packaged: Path) -> None:
    manifest = manifest_of(packaged)
    for section in ("bitstream", "memory", "golden"):
        entry = manifest[section]
        digest = hashlib.sha256((packaged / entry["file"]).read_bytes()).hexdigest()
        assert entry["sha256"] == digest
        assert entry["file"].split("-")[1].split(".")[0] == digest[:12]
    assert (packaged / manifest["bitstream"]["file"]).with_suffix(".hwh").is_file()


def test_the_host_files_import_nothing_of_hwmoe(packaged: Path) -> None:
    scripts = sorted(packaged.glob("*.py"))
    own = {path.stem for path in scripts}
    assert "hwmoe_driver" in own
    for path in scripts:
        assert len(path.read_text().splitlines()) < 250, path.name
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = str(name).split(".")[0]
                assert top in own | ON_BOARD | set(sys.stdlib_module_names), (path.name, name)


def test_memory_image_holds_what_the_machine_reads(packaged: Path, project: Project) -> None:
    memory = manifest_of(packaged)["memory"]
    data = (packaged / memory["file"]).read_bytes()
    assert len(data) == memory["bytes"]
    parts = {part["name"]: part for part in memory["parts"]}
    expected = constant_parts(project.program)
    assert set(parts) == {"trace_program", *expected}
    for name, content in expected.items():
        assert parts[name]["offset"] % 4096 == 0
        start = parts[name]["offset"]
        assert data[start : start + parts[name]["bytes"]] == content.tobytes()


def test_golden_data_is_the_reference(packaged: Path, project: Project) -> None:
    manifest = manifest_of(packaged)
    golden = np.load(packaged / manifest["golden"]["file"])
    patches = project.model.quantize_images(small_net().images)
    np.testing.assert_array_equal(golden["images"], small_net().images)
    for task in range(2):
        run = run_reference(project.model, patches, task, trace=True)
        np.testing.assert_array_equal(golden[f"task{task}/logits"], run.logits)
        taps = manifest["programs"]["trace"]["tensors"][str(task)]
        assert taps[0]["name"] == "embed"
        assert len(taps) == 2 * project.model.config.depth + 1
        assert run.trace is not None
        for tap in taps:
            tensor = golden[f"task{task}/{tap['name']}"]
            assert tensor.dtype == np.int16
            np.testing.assert_array_equal(tensor, run.trace[tap["name"]][0])


def test_manifest_steps_are_those_of_the_programs(packaged: Path, project: Project) -> None:
    manifest = manifest_of(packaged)
    main_program = manifest["programs"]["main"]
    assert main_program["steps"] == [step.name for step in project.program.steps]
    assert main_program["engines"] == [step.engine for step in project.program.steps]
    names = {register.name for register in register_map(MACHINE.ports.w_ports)}
    assert set(manifest["registers"]) == names


def test_the_same_project_is_the_same_package(
    packaged: Path, project: Project, tmp_path: Path
) -> None:
    again = tmp_path / "package"
    for _ in range(2):  # the second time over the first
        write_package(again, project, for_simulation(project), small_net().images, PREDICTED)
    assert zip_path(again).read_bytes() == zip_path(packaged).read_bytes()
    with zipfile.ZipFile(zip_path(again)) as archive:
        assert set(archive.namelist()) == {f"package/{path.name}" for path in again.iterdir()}


def test_a_folder_with_other_files_is_left_alone(project: Project, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(HwmoeError, match=r"holds other files .*manifest\.json"):
        write_package(tmp_path, project, for_simulation(project), small_net().images, PREDICTED)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_notebook_is_valid(packaged: Path) -> None:
    book = json.loads((packaged / "hwmoe.ipynb").read_text())
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        text = "".join(cell["source"])
        assert text.strip()
        assert "%%" not in text
        if cell["cell_type"] == "code":
            ast.parse(text)
            assert cell["outputs"] == []


@pytest.mark.parametrize("board", ["zcu102", "pynq-z2"])
def test_pynq_reads_the_description(project: Project, board: str, tmp_path: Path) -> None:
    pytest.importorskip("pynq")
    from pynq.registers import RegisterMap
    from pynqmetadata.frontends import Metadata
    from pynqmetadata.views.runtime import RuntimeMetadataParser

    target = load_board(board)
    path = tmp_path / "hwmoe.hwh"
    path.write_text(hardware_description(project.program, target))
    parser = RuntimeMetadataParser(Metadata(input=str(path)))
    ip = parser.ip_dict["hwmoe_0"]
    assert ip["type"] == "hwmoe:hwmoe:hwmoe_top:1.0"
    assert ip["addr_range"] == 1 << 16
    words = {name: entry["address_offset"] for name, entry in ip["registers"].items()}
    for register in register_map(MACHINE.ports.w_ports):
        names = [register.name] if register.bits == 32 else [f"{register.name}_{i}" for i in (1, 2)]
        assert tuple(words.pop(name) for name in names) == register.offsets
    assert not words
    array = np.zeros(1 << 14, np.uint32)
    registers = RegisterMap.create_subclass("hwmoe_0", ip["registers"])(array)
    registers.control.ap_start = 1
    registers.weights_0_2 = 9
    assert (array[0], array[0x40 // 4 + 1]) == (1, 9)
    clocks = parser.clock_dict
    assert [clocks[i]["enable"] for i in range(4)] == [1, 0, 0, 0]
    if board == "zcu102":
        assert clocks[0]["frequency"] <= target.clock_mhz


@pytest.mark.parametrize(("pll", "clock"), [(1500, 300), (1500, 299), (1000, 100), (1000, 0.3)])
def test_divisors_never_give_more(pll: float, clock: float) -> None:
    first, second = divisors(pll, clock)
    assert pll / (first * second) <= clock
    assert {first, second} <= set(range(1, 64))


def test_a_card_gets_the_xrt_driver(tmp_path: Path) -> None:
    model = small_net().quantized
    project = generate(model, load_board("u280"), "small", MACHINE).project
    folder = tmp_path / "package"
    write_package(folder, project, for_simulation(project), small_net().images, PREDICTED)
    manifest = manifest_of(folder)
    assert (folder / "hwmoe_xrt.py").is_file()
    assert not (folder / "hwmoe_pynq.py").exists()
    assert not list(folder.glob("*.hwh"))
    pointers = ["program", "params", "images", "results", "weights_0"]
    assert manifest["kernel"]["arguments"] == pointers
    assert manifest["kernel"]["banks"]["weights_0"] == "HBM[1]"


def test_a_built_bitstream_is_taken(project: Project, tmp_path: Path) -> None:
    bit = tmp_path / "built.bit"
    bit.write_bytes(BIT)
    with pytest.raises(HwmoeError, match=r"built\.hwh: cannot be read"):
        read_bitstream(project, bit)
    description = hardware_description(project.program, project.board)
    bit.with_suffix(".hwh").write_text(description.replace("/hwmoe_0", "/my_moe"))
    found = read_bitstream(project, bit)
    assert (found.kind, found.instance, found.data) == ("vivado", "my_moe", BIT)
    bit.with_suffix(".hwh").write_text(description.replace("hwmoe:hwmoe", "other:ip"))
    with pytest.raises(HwmoeError, match="has no hwmoe:hwmoe:hwmoe_top"):
        read_bitstream(project, bit)
    bit.with_suffix(".hwh").write_text("<EDKSYSTEM>")
    with pytest.raises(HwmoeError, match="not a hardware description"):
        read_bitstream(project, bit)
    bit.write_bytes(for_simulation(project).data)
    with pytest.raises(HwmoeError, match="made by hwmoe for simulation"):
        read_bitstream(project, bit)
    bit.write_bytes(b"PK\x03\x04")
    with pytest.raises(HwmoeError, match="does not begin"):
        read_bitstream(project, bit)
    with pytest.raises(HwmoeError, match=r"takes a \.bit file"):
        read_bitstream(project, tmp_path / "built.xclbin")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hardware = small_project()
    hardware.write(tmp_path / "project")
    assert main(["package", str(tmp_path / "project"), "--count", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["manifest"]["golden"]["images"] == 2
    assert told["manifest"]["bitstream"]["kind"] == "simulation"
    assert (tmp_path / "project/package.zip").is_file()
    assert main(["package", str(tmp_path / "nothing")]) == 2
    assert "not a project" in capsys.readouterr().err
