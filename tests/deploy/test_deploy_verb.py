"""`hwmoe deploy`: the selftest on the simulated board, and what it says of a real one."""

from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from built_machine import compiled, small_project
from simulated_boards import change_weights, copy_package

from hwmoe.cli import main
from hwmoe.codegen.folder import read_json, write_json
from hwmoe.codegen.project import Project
from hwmoe.flow.hardware import HardwareModel
from hwmoe.plan.board import load_board


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hardware = small_project()
    folder = hardware.write(tmp_path_factory.mktemp("deploy-verb") / "project")
    compiled(hardware, tmp_path_factory)
    return folder


def test_simulated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("Simulated AMD Zynq UltraScale+ MPSoC ZCU102, through pynq 4.")
    assert printed[-1].startswith("OK")
    made = (folder / "package" / "manifest.json").stat().st_mtime_ns
    assert main(["deploy", str(folder), "--board", "sim", "--stall", "0.2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"]
    assert result["lines"][-1] == printed[-1]
    assert (folder / "package" / "manifest.json").stat().st_mtime_ns == made  # made only once


def test_package_of_other_sources_is_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", str(folder), "--json"]) == 0
    manifest = folder / "package" / "manifest.json"
    write_json(manifest, read_json(manifest) | {"project": "0123"})
    assert main(["deploy", str(folder), "--json"]) == 0
    assert read_json(manifest)["project"] != "0123"


def test_what_is_wrong_is_found(
    folder: Path,
    project: Project,
    packaged: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Weights changed in the file, with its digests: the driver cannot know, the selftest does."""

    package = copy_package(packaged, tmp_path / "p")
    manifest = read_json(package / "manifest.json")
    memory = manifest["memory"]
    data = bytearray((package / memory["file"]).read_bytes())
    part = next(part for part in memory["parts"] if part["name"] == "weights_0")
    weights = np.frombuffer(data, np.uint8)[part["offset"] : part["offset"] + part["bytes"]]
    change_weights(weights, project.program, "blocks.0.mlp.fc2")
    (package / memory["file"]).write_bytes(data)
    memory["sha256"] = hashlib.sha256(data).hexdigest()
    write_json(package / "manifest.json", manifest)
    assert main(["deploy", str(folder), "--package", str(package)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: a: blocks.0.res2" in printed
    assert "What the simulation saw:" in printed


def test_real_boards(
    folder: Path, packaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", str(folder), "--board", "pynq", "--package", str(packaged)]) == 2
    assert "placeholder for simulation" in capsys.readouterr().err
    built = read_json(packaged / "manifest.json")["bitstream"] | {"kind": "vivado"}
    package = copy_package(packaged, tmp_path / "built", bitstream=built)
    assert main(["deploy", str(folder), "--board", "192.168.2.99", "--package", str(package)]) == 0
    printed = capsys.readouterr().out
    assert f"scp -r {package} xilinx@192.168.2.99:built" in printed
    assert "sudo bash -c 'source /etc/profile.d/pynq_venv.sh" in printed
    assert main(["deploy", str(folder), "--board", "me@b", "--package", str(package)]) == 0
    assert "ssh -t me@b" in capsys.readouterr().out


def test_bad_input(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(tmp_path)]) == 2
    assert "not a project of hwmoe" in capsys.readouterr().err
    assert main(["deploy", str(folder), "--package", str(tmp_path)]) == 2
    assert "not a package; `hwmoe package` makes one" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["deploy", str(folder), "--serve", port]) == 2
    assert f"--serve {port}: " in capsys.readouterr().err


def test_boards_without_pynq(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = small_project().project
    card = HardwareModel(replace(project, board=load_board("u280")))
    card.write(tmp_path / "card")
    assert main(["deploy", str(tmp_path / "card")]) == 2
    assert "alveo" in capsys.readouterr().err
    assert not (tmp_path / "card" / "package").exists()
