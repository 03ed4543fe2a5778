"""The command line as a user types it: results, exit codes, one clear message for bad input."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from built_machine import MACHINE, build, compiled, shared_folder, small_net, small_project
from small_models import BASE

from hwmoe import cli
from hwmoe.codegen.folder import MARKER
from hwmoe.flow.rtl import SIMULATING
from hwmoe.model.checkpoint import save_checkpoint
from hwmoe.model.zoo import load_model
from hwmoe.report.progress import Bars

TINY = """
name = "tiny"
image = [4, 6]
patch = [2, 3]
channels = 1
dim = 12
heads = 3
depth = 2
dense_hidden = 10
moe_layers = [1]
experts = 3
top_k = 2
expert_hidden = 9
[[tasks]]
name = "shape"
classes = 3
"""


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in `folder` (contextlib.chdir is of Python 3.11)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def hwmoe(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of the command line, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with inside(cwd), redirect_stdout(out), redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def refused(*arguments: str | Path, cwd: Path) -> str:
    """The message of a command that must end with code 2, say one thing, and write nothing."""
    before = sorted(cwd.rglob("*"))
    code, out, err = hwmoe(*arguments, cwd=cwd)
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    assert not out
    assert sorted(cwd.rglob("*")) == before
    return err


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def change(folder: Path, old: str, new: str) -> str:
    """A variant of tiny.toml; its name."""
    assert old in TINY
    (folder / "variant.toml").write_text(TINY.replace(old, new))
    return "variant.toml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("heads = 3", "heads = 5", "heads=5 does not divide dim=12"),
        ("top_k = 2", "top_k = 4", "top_k=4 is more than experts=3"),
        ("dim = 12", "dim = 6000", "dim"),
        ("image = [4, 6]", "image = [4000, 6000]", "tokens are over the limit"),
        ("dim = 12", "dim = ", "TOML"),
        ("dim = 12", "dime = 12", "dime"),
    ],
)
def test_bad_configuration(tiny: Path, old: str, new: str, message: str) -> None:
    variant = change(tiny, old, new)
    assert message in refused("run", variant, "--out", "out", cwd=tiny)


def test_all_problems_at_once(tiny: Path) -> None:
    text = TINY.replace("heads = 3", "heads = 5").replace("top_k = 2", "top_k = 4")
    (tiny / "both.toml").write_text(text)
    message = refused("run", "both.toml", "--out", "out", cwd=tiny)
    assert "heads=5" in message
    assert "top_k=4" in message


def test_bad_files(tiny: Path) -> None:
    (tiny / "empty.safetensors").write_bytes(b"")
    (tiny / "text.safetensors").write_text("no checkpoint at all")
    with (tiny / "model.pkl").open("wb") as file:
        pickle.dump({"weight": 1}, file)
    torch.save({"weight": torch.zeros(2)}, tiny / "model.pt")
    said = {
        name: refused("run", name, "--out", "out", cwd=tiny)
        for name in ("missing.safetensors", "empty.safetensors", "text.safetensors")
    }
    assert "missing.safetensors" in said["missing.safetensors"]
    assert all("safetensors" in message for message in said.values())
    assert "pickle" in refused("run", "model.pkl", "--out", "out", cwd=tiny)
    assert "hwmoe import" in refused("run", "model.pt", "--out", "out", cwd=tiny)


def test_nan_weights(tiny: Path) -> None:
    model = load_model(str(tiny / "tiny.toml"))
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    save_checkpoint(tiny / "nan.safetensors", model)
    message = refused("run", "nan.safetensors", "--out", "out", cwd=tiny)
    assert "norm.weight" in message
    assert "NaN" in message


def test_bad_board_and_images(tiny: Path) -> None:
    message = refused("run", "tiny.toml", "--board", "zcu999", "--out", "out", cwd=tiny)
    assert "zcu102" in message
    np.savez(tiny / "wrong.npz", images=np.zeros((2, 3, 4, 6), np.float32))
    message = refused("run", "tiny.toml", "--images", "wrong.npz", "--out", "out", cwd=tiny)
    assert "wrong.npz" in message


def test_output_folder_of_something_else(tiny: Path) -> None:
    (tiny / "mine").mkdir()
    (tiny / "mine" / "thesis.tex").write_text("years of work")
    message = refused("run", "tiny.toml", "--out", "mine", cwd=tiny)
    assert "mine" in message
    assert (tiny / "mine" / "thesis.tex").read_text() == "years of work"
    (tiny / "file").write_text("")
    assert "file" in refused("run", "tiny.toml", "--out", "file", cwd=tiny)


def test_usage_errors(tiny: Path) -> None:
    for arguments in (
        ("run", "tiny.toml"),
        ("run",),
        ("fly",),
        ("simulate", "nowhere"),
        ("disasm", "nowhere"),
        ("bench", "--models", "fnord"),
        ("bench", "--board", "pynq-z2", "--synth"),
    ):
        refused(*arguments, cwd=tiny)
    refused("run", "tiny.toml", "--experts", "int3", "--out", "out", cwd=tiny)


def test_verbs_one_after_the_other(tiny: Path) -> None:
    code, out, err = hwmoe("quantize", "tiny.toml", "--out", "q.safetensors", "--json", cwd=tiny)
    assert code == 0, err
    assert json.loads(out)["experts"] == "int8"
    code, out, err = hwmoe("generate", "q.safetensors", "--out", "project", "--json", cwd=tiny)
    assert code == 0, err
    generated = json.loads(out)
    assert {"hls/hwmoe_linear.cpp", "rtl/hwmoe_top.sv", "program.txt"} <= set(generated["files"])
    assert generated["cycles"]["steady"]["predicted"] > 0
    assert generated["cycles"]["steady"]["measured"] is None
    code, out, err = hwmoe("disasm", "project", cwd=tiny)
    assert code == 0, err
    assert out == (tiny / "project" / "program.txt").read_text()
    simulate = ("simulate", "project", "--level", "hls", "--json")
    code, out, err = hwmoe(*simulate, cwd=tiny)
    assert code == 0, err
    assert json.loads(out)["bit_exact"] is True
    code, out, err = hwmoe("compare", "project", "--model", "tiny.toml", "--json", cwd=tiny)
    assert code == 0, err
    assert {row["name"] for row in json.loads(out)["layers"]} >= {"embed", "norm", "head"}

    # One constant in one rendered file: the comparison fails and names the place.
    numerics = tiny / "project" / "hls" / "hwmoe_types.hpp"
    text = numerics.read_text()
    assert "127, 124, 122" in text
    numerics.write_text(text.replace("127, 124, 122", "127, 123, 122"))
    code, out, err = hwmoe(*simulate, cwd=tiny)
    assert code == 1, err
    message = json.loads(out)["checks"]["hls_csim"]["divergence"]
    assert "blocks.0.attn[" in message
    assert "reference" in message


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its machine compiled."""
    hardware = small_project()
    hardware.write(tmp_path_factory.mktemp("cli") / "project")
    compiled(hardware, tmp_path_factory)
    assert hardware.folder
    return hardware.folder


def test_simulate_the_whole_machine(project: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=small_net().images)
    simulate = ("simulate", project, "--level", "rtl", "--images", "images.npz")
    code, out, err = hwmoe(*simulate, "--timeline", "t/run.json", "--json", cwd=tmp_path)
    assert code == 0, err
    assert "simulating RTL, cycles: " in err
    result = json.loads(out)
    assert result["bit_exact"] is True
    assert result["checks"]["rtl"]["images"] == 6
    assert result["cycles"]["steady"]["measured"] > 0
    assert json.loads((tmp_path / "t" / "run.json").read_text())["traceEvents"]
    code, out, err = hwmoe(*simulate, "--count", "1", "--stall", "0.2", "--seed", "5", cwd=tmp_path)
    assert code == 0, err
    assert "RTL simulation: bit-exact, 2 images" in out
    assert "held by memory" in out
    code, out, err = hwmoe(*simulate, "--memory-gb-s", "0.01", "--timeout", "1", cwd=tmp_path)
    if code:  # a fast computer may finish
        assert code == 1, err
        assert "did not finish within 1 s" in out
        assert "bursts outstanding" in out


@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_simulation_that_was_stopped_goes_on(
    number: signal.Signals,
    wanted: int,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.savez(tmp_path / "images.npz", images=small_net().images)
    simulate = ("simulate", project, "--level", "rtl", "--images", "images.npz", "--json")
    code, whole, err = hwmoe(*simulate, cwd=tmp_path)
    assert code == 0, err
    for old in (project / "build").glob("*.checkpoint"):
        old.unlink()

    def stop(_: Bars, what: str, *at: int) -> None:
        if what == SIMULATING:
            signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Bars, "update", stop)
            patch.setattr("hwmoe.sim.machine_session._FIRST_CHUNK", 5000)
            code, out, err = hwmoe(*simulate, cwd=tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    kept = next((project / "build").glob("*.checkpoint"))
    assert (code, out) == (wanted, "")
    assert re.search(
        rf"^hwmoe: interrupted after 5,0\d\d cycles; it is kept in {kept}; ", err, re.M
    )
    assert f"to go on: hwmoe simulate {project} --level rtl --resume, with the options" in err
    assert "Traceback" not in err

    code, out, err = hwmoe(*simulate, "--resume", "--stall", "0.5", cwd=tmp_path)
    assert code == 2
    assert f"{kept.name} differs in options (stall was 0.0, is 0.5)\n" in err
    code, out, err = hwmoe(*simulate, "--resume", cwd=tmp_path)
    assert code == 0, err
    same, found = json.loads(whole), json.loads(out)
    for result in (same, found):
        assert result["checks"]["rtl"].pop("cycles_per_s") > 0
        assert result["cycles"]["run"].pop("simulated_cycles_per_s") > 0
    assert found == same
    assert not kept.exists()
    code, out, err = hwmoe(*simulate, "--resume", cwd=tmp_path)
    assert code == 2
    assert "holds no run to resume: run from the start" in err
    code, out, err = hwmoe("simulate", project, "--level", "hls", "--resume", cwd=tmp_path)
    assert code == 2
    assert "give --level rtl, or all" in err


@pytest.fixture
def small_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Every model gets the same machine, compiled only once; its geometry as small.toml."""
    shared = shared_folder(tmp_path_factory)
    monkeypatch.setattr("hwmoe.flow.hardware.default_accelerator", lambda *_: MACHINE)
    monkeypatch.setattr(
        "hwmoe.flow.rtl.build_machine",
        lambda project, folder, _, say: build(project, folder, shared, say),
    )
    folder = tmp_path_factory.mktemp("small")
    lines = [f"{key} = {json.dumps(value)}" for key, value in BASE.items() if key != "tasks"]
    for task in BASE["tasks"]:
        lines += ["[[tasks]]", *(f"{key} = {json.dumps(value)}" for key, value in task.items())]
    (folder / "small.toml").write_text("\n".join(lines))
    return folder


def test_run(small_machine: Path) -> None:
    command = ("run", "small.toml", "--experts", "ternary", "--count", "3", "--out", "out")
    code, out, err = hwmoe(*command, "--rtl-images", "2", cwd=small_machine)
    assert code == 0, err
    assert "Bit-exact with the integer reference: HLS C simulation and RTL simulation" in out
    report = json.loads((small_machine / "out" / "report.json").read_text())
    assert report["bit_exact"] == {"hls_csim": True, "rtl": True}
    assert report["checks"]["rtl"]["images"] == report["cycles"]["images"] == 4
    assert "held by memory" in (small_machine / "out" / "report.html").read_text()
    steady = report["cycles"]["steady"]
    assert f"{steady['measured']:,.0f}" in out


def test_bench(small_machine: Path) -> None:
    command = ("bench", "--models", "small.toml", "--out", "bench", "--json")
    code, out, err = hwmoe(*command, cwd=small_machine)
    assert code == 0, err
    assert err.count("simulating RTL") == 4  # each machine full, and one image alone
    result = json.loads(out)
    ternary, int8 = result["ours"]
    assert [row["bits"] for row in result["ours"]] == [
        "W8 A8, ternary experts",
        "W8 A8, int8 experts",
    ]
    assert ternary["bit_exact"] is int8["bit_exact"] is True
    model = load_model(str(small_machine / "small.toml"))
    assert ternary["gop"] == round(2 * model.config.macs / 1e9, 4)
    assert ternary["gops"] == pytest.approx(
        2 * model.config.macs * 300e6 / ternary["cycles"] / 1e9, rel=0.05
    )
    assert ternary["lut"] is None
    assert ternary["cycles"] < ternary["alone_cycles"]
    by_name = {(row["name"], row["board"]): row for row in result["published"]}
    design = by_name["CoQMoE", "zcu102"]
    assert design["cycles"] == 1_941_000
    assert design["gop"] == pytest.approx(2.5, rel=0.01)

    # Again: taken from what is kept, and for people.
    code, out, err = hwmoe(*command[:-1], cwd=small_machine)
    assert code == 0, err
    assert "simulating" not in err
    for part in (
        "latency x clock",
        "simulated in the SystemVerilog",
        "UbiMoE",
        f"{int8['cycles'] / 1e3:,.1f}",
    ):
        assert part in out

    # A source that is not the one simulated: not taken.
    project = next((small_machine / "bench").glob("small-int8-*"))
    kept = json.loads((project / "bench.json").read_text())
    kept["key"] = "other"
    (project / "bench.json").write_text(json.dumps(kept))
    code, out, err = hwmoe(*command, cwd=small_machine)
    assert json.loads(out)["ours"][1] == int8
    assert err.count("simulating RTL") == 2


def test_the_installed_command(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("hwmoe")), "run", "fnord", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("hwmoe: unknown model 'fnord'")
    assert not list(tmp_path.iterdir())


def test_doctor_finds_this_machine_ready(tmp_path: Path) -> None:
    code, out, err = hwmoe("doctor", "--json", cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["ready"] is True


def _descendants() -> set[str]:
    """Command lines of processes that carry our mark in their environment."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (
                    b"HWMOE_TEST_MARK=" + str(os.getpid()).encode()
                    in (entry / "environ").read_bytes()
                ):
                    found.add((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for stray processes in /proc")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(tiny: Path, sent: signal.Signals, code: int) -> None:
    env = {**os.environ, "HWMOE_TEST_MARK": str(os.getpid())}
    command = [sys.executable, "-m", "hwmoe.cli", "run", "tiny.toml", "--out", "new/out"]
    process = subprocess.Popen(
        command, cwd=tiny, env=env, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    deadline = time.monotonic() + 120
    while not any("cc1plus" in line or "verilator" in line for line in _descendants()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no compiler was started"
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "interrupted" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tiny.iterdir()) == ["tiny.toml"]
    assert not _descendants()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for stray processes in /proc")
def test_interrupt_while_the_machine_runs(project: Path, tmp_path: Path) -> None:
    env = {**os.environ, "HWMOE_TEST_MARK": str(os.getpid())}
    command = [sys.executable, "-m", "hwmoe.cli", "simulate", str(project), "--level", "rtl"]
    process = subprocess.Popen(
        [*command, "--count", "200", "--memory-gb-s", "0.01"],
        cwd=tmp_path, env=env, stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    library = "libmachine.so"
    deadline = time.monotonic() + 120
    while library not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the machine was not started"
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not _descendants()


def test_marker_name_is_documented() -> None:
    flow = Path(__file__).parents[2] / "docs" / "flow.md"
    assert MARKER in flow.read_text(encoding="utf-8")
