"""The command line as a user types it: results, exit codes, one clear message for bad input."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
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

from hwmoe import cli
from hwmoe.codegen.folder import MARKER
from hwmoe.model.checkpoint import save_checkpoint
from hwmoe.model.zoo import load_model

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
    assert "safetensors" in refused("run", "model.pt", "--out", "out", cwd=tiny)


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
    for arguments in (("run", "tiny.toml"), ("run",), ("fly",), ("simulate", "nowhere")):
        refused(*arguments, cwd=tiny)
    refused("run", "tiny.toml", "--experts", "int3", "--out", "out", cwd=tiny)


def test_verbs_one_after_the_other(tiny: Path) -> None:
    code, out, err = hwmoe("quantize", "tiny.toml", "--out", "q.safetensors", "--json", cwd=tiny)
    assert code == 0, err
    assert json.loads(out)["experts"] == "int8"
    code, out, err = hwmoe("generate", "q.safetensors", "--out", "project", "--json", cwd=tiny)
    assert code == 0, err
    assert "hls/hwmoe_linear.cpp" in json.loads(out)["files"]
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


def test_marker_name_is_documented() -> None:
    flow = Path(__file__).parents[2] / "docs" / "flow.md"
    assert MARKER in flow.read_text(encoding="utf-8")
