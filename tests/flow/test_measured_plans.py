"""`hwmoe search --measure` for real: simulated, synthesized, here and on a Dask cluster."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from built_machine import compiled, small_net, small_project
from small_models import small

import hwmoe
from hwmoe import cli
from hwmoe.codegen.folder import KEPT
from hwmoe.codegen.project import QUANTIZED
from hwmoe.errors import HwmoeError
from hwmoe.flow import measure as measuring
from hwmoe.flow.jobs import Job, jobs_of, tools
from hwmoe.flow.measure import measure, put_files, run_job
from hwmoe.flow.rtl import AS_THE_BOARD, board_memory
from hwmoe.flow.runners import on_dask
from hwmoe.plan.board import load_board
from hwmoe.sim import machine_session
from hwmoe.sim.whole_model import simulate_model
from hwmoe.synth.resources import Cells, Resources

MODEL = """\
seed = 3
name = "least"
image = [8, 8]
patch = [4, 4]
channels = 1
dim = 16
heads = 2
depth = 2
dense_hidden = 32
moe_layers = [1]
experts = 3
top_k = 2
expert_hidden = 16
shared_hidden = 0
[[tasks]]
name = "a"
classes = 4
"""
CLOSE = 0.03  # of cycles
SOURCE = b"module tiny (input logic clk, d, output logic q); always_ff @(posedge clk) q <= d;"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """With so few DSPs there are only small machines."""
    (tmp_path / "least.toml").write_text(MODEL)
    model = ["search", str(tmp_path / "least.toml"), "--board", "zcu104", "--share", "dsp=6"]
    return [*model, "--measure", "2", "--jobs", "2", "--out", str(tmp_path / "plan"), "--json"]


def measured(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow  # 10 minutes of two processors: two machines built, nine syntheses
def test_two_plans_are_measured_once(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(words, capsys)
    plans = found["measured"]["plans"]
    assert len(plans) == 2
    assert [plan["verdict"] for plan in plans].count("chosen") == 1
    for plan in plans:
        rows = plan["rows"]
        assert abs(rows["cycles"]["error"]) < CLOSE
        assert rows["dsp"]["error"] == 0
        for row in rows.values():
            assert row["measured"] is not None
            assert row["allowed"] is None or row["measured"] <= row["allowed"]
        assert plan["simulated"]["values"] > 0
    least = min(plan["rows"]["cycles"]["measured"] for plan in plans)
    assert found["measured"]["cycles"] == round(least)
    own = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert own["measured"] == found["measured"]
    # Nothing is left to be done, so nothing may be started.
    kept = tmp_path / "plan.measured"
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*.json")}
    assert not list((kept / "work").iterdir())
    again = measured([*words, "--timeout", "1"], capsys)
    assert again["measured"] == found["measured"]
    assert {path: path.stat().st_mtime_ns for path in kept.glob("*.json")} == before


@pytest.mark.slow  # 2 minutes: two machines built by the workers of a cluster
def test_on_a_dask_cluster(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from distributed import LocalCluster

    task = {"kind": "resources", "hwmoe": hwmoe.__version__, "tool": tools(True)["resources"]}
    task |= {"sources": ["tiny.sv"], "top": "tiny", "without": [], "uram": False}
    part = Job("resources", "synthesis", "k", task, {"tiny.sv": SOURCE + b" endmodule"})
    bad = replace(part, key="bad", files={"tiny.sv": SOURCE})
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=str(tmp_path / "workers"),
    ) as cluster:
        address = cluster.scheduler_address
        answers = {job.key: answer for job, answer in on_dask([part, bad], address, 120.0)}
        assert Resources.from_dict(answers["k"]).total == Cells(ff=1)
        assert "Yosys rejects tiny" in str(answers["bad"])
        found = measured([*words, "--without-synthesis", "--scheduler", address], capsys)
    for plan in found["measured"]["plans"]:
        assert abs(plan["rows"]["cycles"]["error"]) < CLOSE
        assert plan["rows"]["lut"]["measured"] is None
    # The cluster is gone, and is not needed any more.
    again = measured([*words, "--without-synthesis"], capsys)
    assert again["measured"] == found["measured"]
    assert cli.main([*words, "--scheduler", "tcp://127.0.0.1:1"]) == cli.BAD_INPUT
    assert "no Dask scheduler answers there" in capsys.readouterr().err


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Path]:
    """Of the small machine; and its compiled simulation."""
    hardware, board = small_project(), load_board("zcu102")
    hardware.write(tmp_path_factory.mktemp("small") / "project")
    compiled(hardware, tmp_path_factory)
    net, memory = small_net(), board_memory(board, AS_THE_BOARD)
    acc = hardware.project.program.accelerator
    jobs = jobs_of(net.quantized, acc, net.patches, memory, False, False)
    return jobs.cycles, hardware.written() / KEPT


def test_a_simulation_goes_on_where_its_time_was_over(
    simulation: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, then in one of its own; and without a stop."""
    job, built = simulation
    stopped, through = tmp_path / "stopped", tmp_path / "through"
    for folder in (stopped, through):
        shutil.copytree(built, folder / KEPT)
        put_files(job, folder, 600.0)
    with monkeypatch.context() as patch:
        patch.setattr(machine_session, "_FIRST_CHUNK", 2000)
        at_once = partial(simulate_model, seconds=0.0)
        patch.setattr(
            measuring, "simulate_model", lambda *args, seconds, **more: at_once(*args, **more)
        )
        with pytest.raises(HwmoeError, match="did not finish within 600 s, and is kept"):
            measure(stopped)
    assert list((stopped / KEPT).glob("*.checkpoint"))
    result, whole = run_job(job, stopped, 600.0), measure(through)
    assert result["images"] == len(small_net().images)
    assert result["values"] > 0
    assert not stopped.exists()
    for name in ("latency", "steady", "images", "tensors", "values"):
        assert result[name] == whole[name]


def test_another_model_than_the_program_was_made_of(
    simulation: tuple[Job, Path], tmp_path: Path
) -> None:
    """What the machine computes is compared, not believed."""
    job, built = simulation
    small("ternary", seed=9, count=3).quantized.save(tmp_path / "other")
    other = {**job.files, QUANTIZED: (tmp_path / "other").read_bytes()}
    folder = tmp_path / "work"
    shutil.copytree(built, folder / KEPT)
    result = run_job(replace(job, files=other), folder, 600.0)
    assert "first difference in" in result["divergence"]
    assert folder.exists()


def test_a_board_of_another_family(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is searched."""
    at = words.index("zcu104")
    assert load_board("pynq-z2").part.startswith("xc7")
    assert cli.main([*words[:at], "pynq-z2", *words[at + 1 :]]) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert "cells of UltraScale+ only" in said
    assert "--without-synthesis" in said
