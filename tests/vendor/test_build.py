"""`hwmoe build`: finds tools, runs them, shows phases, ends what it started, or says what to type.

The tools here are shell scripts that print and write what the real ones would.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_vendor_reports import MET, NOT_MET, ULTRASCALE, timing

from hwmoe.codegen.folder import read_json
from hwmoe.codegen.project import Project
from hwmoe.errors import HwmoeError
from hwmoe.vendor import runner
from hwmoe.vendor.runner import TimingNotMet, descendants, is_done, run_step
from hwmoe.vendor.steps import Step, default_tool, hls_steps, steps_for
from hwmoe.vendor.tools import find_tool

Folders = Callable[[str], Path]
Projects = Callable[[str], Project]
OUTPUTS = "".join(f"touch build/vivado/hwmoe.{kind}\n" for kind in ("bit", "hwh", "xsa"))


def program(folder: Path, name: str, body: str) -> Path:
    """An executable shell script."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)
    return path


def step_of(project: Projects) -> Step:
    return steps_for(project("zcu102"), "vivado", "rtl", 1, "d", unified=True)[0]


# ---- where tools are ----------------------------------------------------------------------------


def test_tools_are_found(tmp_path: Path) -> None:
    empty = {"PATH": str(tmp_path / "nowhere")}
    assert find_tool("vivado", empty, [tmp_path]) is None
    program(tmp_path, "Vivado/2023.2/bin/vivado", "")
    newest = program(tmp_path, "2025.1/Vivado/bin/vivado", "")
    program(tmp_path, "Vivado/2024.2/bin/vivado", "").chmod(0o644)
    assert find_tool("vivado", empty, [tmp_path]) == newest
    settings = program(tmp_path, "own/bin/vivado", "")
    assert find_tool("vivado", {**empty, "XILINX_VIVADO": str(tmp_path / "own")}, []) == settings
    on_path = program(tmp_path, "nowhere/vivado", "")
    assert find_tool("vivado", empty, [tmp_path]) == on_path


def test_default_tool(project: Projects) -> None:
    assert default_tool(project("zcu102")) == "vivado"
    assert default_tool(project("u280")) == "vitis"


def test_older_project(project: Projects) -> None:
    made = project("zcu102")
    old = {name: text for name, text in made.files.items() if not name.startswith("vivado/")}
    older = Project(made.model, made.program, made.board, old, made.source)
    with pytest.raises(HwmoeError, match=r"has no vivado/build\.tcl: it was made by an older"):
        steps_for(older, "vivado", "rtl", 1, "", unified=True)


def test_commands_can_be_typed(project: Projects) -> None:
    link = steps_for(project("u280"), "vitis", "rtl", 4, "", unified=True)[1]
    assert link.text().startswith("(cd build/vitis && v++ --link -t hw --config ../../vitis/link")
    assert shlex.split(link.text().strip("()"))[-1] == "hwmoe_top.xo"
    assert [step.program for step in hls_steps(unified=True)] == ["vitis-run", "v++", "vitis-run"]


# ---- runs ---------------------------------------------------------------------------------------


def test_run(copied: Folders, project: Projects, tmp_path: Path) -> None:
    folder, step = copied("zcu102"), step_of(project)
    body = "echo 'hwmoe: phase synthesis'\nsleep 0.5\necho 'hwmoe: phase reports'\n" + OUTPUTS
    tool = program(tmp_path, "bin/vivado", body)
    seen: list[tuple[str, int]] = []
    run_step(folder, step, tool, "d", 60, lambda what, done, _: seen.append((what, done)))
    assert seen == [
        ("Vivado", 0), ("Vivado", 1), ("Vivado: synthesis", 0), ("Vivado: synthesis", 1),
        ("Vivado: reports", 0), ("Vivado: reports", 1),
    ]  # fmt: skip
    assert "phase synthesis" in (folder / step.log).read_text()
    assert is_done(folder, step, "d")
    assert not is_done(folder, step, "other")
    (folder / step.outputs[0]).unlink()
    assert not is_done(folder, step, "d")


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        ("echo 'ERROR: [Board 49-71] The board_part'; exit 1", HwmoeError, "of this board are not"),
        ("echo 'hwmoe: error: timing is not met: WNS'; exit 3", TimingNotMet, "too fast"),
        ("echo plain; exit 7", HwmoeError, r"exit code 7\)\.\n  plain"),
        ("exit 0", HwmoeError, "left no build/vivado/hwmoe.bit"),
    ],
)
def test_failure(
    copied: Folders, project: Projects, tmp_path: Path, body: str, kind: type, says: str
) -> None:
    folder, step = copied("zcu102"), step_of(project)
    tool = program(tmp_path, "bin/vivado", body + "\n")
    with pytest.raises(HwmoeError, match=says) as raised:
        run_step(folder, step, tool, "d", 60, lambda *_: None)
    assert type(raised.value) is kind
    assert not is_done(folder, step, "d")


# A child in a session of its own, as a run of Vivado may be; its number is in the file `child`.
STRAY = f"{shlex.quote(sys.executable)} -c 'import os,time; os.setsid(); time.sleep(300)' &\n"
HANGS = f"{STRAY}echo $! > child\nsleep 300\n"


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="descendants are read from /proc")
def test_time_out_ends_all(copied: Folders, project: Projects, tmp_path: Path) -> None:
    folder, step = copied("zcu102"), step_of(project)
    tool = program(tmp_path, "bin/vivado", HANGS)
    with pytest.raises(HwmoeError, match=r"did not finish within 2 s.*--timeout"):
        run_step(folder, step, tool, "d", 2, lambda *_: None)
    assert_gone(int((folder / "child").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="descendants are read from /proc")
def test_interrupt_ends_all(
    copied: Folders, project: Projects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, step = copied("zcu102"), step_of(project)
    tool = program(tmp_path, "bin/vivado", HANGS)

    def interrupted(_: float) -> None:
        if (folder / "child").is_file() and (folder / "child").read_text().strip():
            raise KeyboardInterrupt
        os.sched_yield()

    with monkeypatch.context() as patch:
        patch.setattr(runner.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_step(folder, step, tool, "d", 60, lambda *_: None)
    assert_gone(int((folder / "child").read_text()))


def assert_gone(pid: int) -> None:
    for _ in range(50):
        if not alive(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is still there")


@pytest.mark.skipif(sys.platform != "linux", reason="descendants are read from /proc")
def test_descendants() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        for _ in range(50):
            if descendants(child.pid):
                break
            time.sleep(0.1)
        assert len(descendants(child.pid)) == 1
        assert child.pid in descendants(os.getpid())
    finally:
        os.killpg(child.pid, 9)
        child.wait()


# ---- the verb -----------------------------------------------------------------------------------


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """build(*arguments): exit code, output, errors; tools are those in tmp_path/bin alone."""
    from hwmoe import cli
    from hwmoe.flow import build as verb

    path = f"{tmp_path / 'bin'}"
    monkeypatch.setattr(verb, "find_tool", lambda name: find_tool(name, {"PATH": path}, []))

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(["build", *map(str, arguments)])
        return code, out.getvalue(), err.getvalue()

    return call


Build = Callable[..., tuple[int, str, str]]


def test_without_tools(copied: Folders, build: Build) -> None:
    folder = copied("zcu102")
    code, out, _ = build(folder)
    assert code == 3
    assert "vivado -mode batch -nojournal -nolog -source vivado/build.tcl -tclargs -jobs 2" in out
    assert not (folder / "vendor.json").exists()
    code, out, _ = build(folder, "--tool", "hls")
    assert code == 3
    assert "vitis_hls -f vitis/hls.tcl" in out
    assert "v++ -c --mode hls --config hls_config.cfg" in out
    assert (folder / "vitis/hls_case.bin").is_file()
    code, _, err = build(folder, "--tool", "vitis")
    assert code == 2
    assert "--tool vitis is for an Alveo card" in err


def reports(text: str, wns: str, verdict: str) -> str:
    """Shell that writes two reports."""
    return (
        f"cat > build/vivado/utilization.rpt <<'END'\n{text}END\n"
        f"cat > build/vivado/timing.rpt <<'END'\n{timing(wns, verdict)}END\n"
    )


def test_with_tools(copied: Folders, build: Build, tmp_path: Path) -> None:
    folder = copied("zcu102")
    body = reports(ULTRASCALE, "0.100", MET) + OUTPUTS
    program(tmp_path, "bin/vivado", body)
    code, out, err = build(folder)
    assert code == 0, err
    assert "300 MHz met, WNS 0.1 ns; about 309.3 MHz" in out
    assert str(folder / "build/vivado/hwmoe.bit") in out.replace("\n", "")
    assert "101,234" in out
    found = read_json(folder / "vendor.json")
    assert found["outputs"] == [f"build/vivado/hwmoe.{kind}" for kind in ("bit", "hwh", "xsa")]
    assert found["reports"]["utilization"]["used"]["lut"] == 101234
    assert found["failed"] is None


def test_timing_not_met(copied: Folders, build: Build, tmp_path: Path) -> None:
    folder = copied("zcu102")
    body = reports(ULTRASCALE, "-0.333", NOT_MET)
    program(tmp_path, "bin/vivado", body + "echo 'hwmoe: error: timing is not met: WNS'; exit 3\n")
    code, out, _ = build(folder)
    assert code == 1
    assert "300 MHz NOT met, WNS -0.333 ns; about 272.8 MHz" in out
    assert read_json(folder / "vendor.json")["failed"]


def test_card_continues(copied: Folders, build: Build, tmp_path: Path) -> None:
    """A finished package is not made again when the link failed."""
    folder = copied("u280")
    made = "echo p >> packaged\ntouch build/vitis/hwmoe_top.xo\n"
    program(tmp_path, "bin/vivado", made)
    program(tmp_path, "bin/v++", "echo 'ERROR: Failed to find a platform xilinx_u280'\nexit 1\n")
    code, _, err = build(folder)
    assert code == 2
    assert "platform of this card is not installed" in err
    program(tmp_path, "bin/v++", "touch hwmoe.xclbin\n")
    code, _, err = build(folder)
    assert code == 0, err
    assert (folder / "packaged").read_text() == "p\n"
    assert "kernel package (done before)" in err


def test_link_of_hls_needs_its_kernel(copied: Folders, build: Build, tmp_path: Path) -> None:
    folder = copied("u280")
    program(tmp_path, "bin/v++", "touch hwmoe.xclbin\n")
    code, _, err = build(folder, "--source", "hls")
    assert code == 2
    assert "link needs build/hls/hwmoe_top.xo: run `hwmoe build" in err
