"""`hwmoe deploy`: a package on a simulated board with PYNQ, or what to type for a real one."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hwmoe.codegen.folder import KEPT, read_json
from hwmoe.deploy.hwh import processor_of
from hwmoe.deploy.package import MANIFEST
from hwmoe.errors import HwmoeError
from hwmoe.flow.deploy import PACKAGE, package_folder
from hwmoe.flow.hardware import HardwareModel
from hwmoe.flow.rtl import AS_THE_BOARD, RtlOptions, board_memory, build_machine
from hwmoe.quant.calibrate import Progress, no_progress

if TYPE_CHECKING:
    from hwmoe.deploy.simulated_device import SimulatedDevice

Result = dict[str, Any]
SIMULATED = "sim"
SELFTEST = "selftest"
RUNNING = "running the package's selftest"

_ROOT = "source /etc/profile.d/pynq_venv.sh; source /etc/profile.d/xrt_setup.sh"
_START = {
    "pynq": f"sudo bash -c '{_ROOT}; python3 selftest.py'",
    "xrt": "source /opt/xilinx/xrt/setup.sh && python3 selftest.py",
}


def deploy_simulated(
    folder: Path, package: Path | None, timeout: float | None, options: RtlOptions, say: Progress
) -> Result:
    """The selftest of a package on the simulated board of the project in `folder`.

    package: by default the project's own, which is made if it is missing or of other sources.
    timeout: seconds for an image, by default what the package says. `ok` in the result: all as
    expected; `lines`: what the selftest printed.
    """
    hardware = HardwareModel.load(folder)
    if package is not None:
        _manifest(package)
    arguments = [] if timeout is None else ["--timeout", str(timeout)]
    with simulated_board(hardware, options, say) as device:
        chosen = package or _own_package(hardware, folder)
        say(RUNNING, 0, 1)
        code, lines = _selftest(chosen, device, arguments)
        say(RUNNING, 1, 1)
        if code:
            lines += ["What the simulation saw:", *device.diagnosis().splitlines()]
    return {
        "folder": str(folder),
        "package": str(chosen),
        "board": hardware.project.board.title,
        "runtime": f"pynq {_pynq().__version__}",
        "ok": code == 0,
        "lines": lines,
    }


def deploy_commands(folder: Path, host: str, package: Path | None) -> Result:
    """What to type to try a package on the real board `host`, as `[user@]name`."""
    chosen = package or folder / PACKAGE
    manifest = _manifest(chosen)
    if manifest["bitstream"]["kind"] == "simulation":
        raise HwmoeError(
            f"{chosen}: the bitstream is a placeholder for simulation. Build one (`hwmoe build "
            f"{folder}`), then `hwmoe package {folder} --bitstream FILE`"
        )
    runtime, name = manifest["runtime"], chosen.absolute().name
    target = host if "@" in host or runtime != "pynq" else f"xilinx@{host}"
    commands = [
        f"scp -r {chosen} {target}:{name}",
        f'ssh -t {target} "cd {name} && {_START[runtime]}"',
    ]
    return {"folder": str(folder), "package": str(chosen), "commands": commands}


def serve_simulated(folder: Path, port: int, options: RtlOptions, say: Progress) -> None:
    """The simulated board of a project for PYNQ's remote clients on this computer, until Ctrl-C."""
    hardware = HardwareModel.load(folder)
    with simulated_board(hardware, options, say) as device:
        from hwmoe.deploy.simulated_remote import serve

        try:
            server, bound = serve(device, port)
        except RuntimeError as error:
            raise HwmoeError(f"--serve {port}: {error}; another port, or 0 for any") from None
        sys.stdout.write(f"{device.name}, simulated, on 127.0.0.1 port {bound}; Ctrl-C ends it\n")
        sys.stdout.flush()
        try:
            server.wait_for_termination()
        finally:
            server.stop(grace=None)


@contextlib.contextmanager
def simulated_board(
    hardware: HardwareModel, options: RtlOptions = AS_THE_BOARD, say: Progress = no_progress
) -> Iterator[SimulatedDevice]:
    """The board of a written project, with its machine and its off-chip memory.

    `HwmoeError` if PYNQ does not run on the board, or if the package `pynq` is missing.
    """
    _pynq()
    from hwmoe.deploy.simulated_device import SimulatedDevice

    board, folder = hardware.project.board, hardware.written()
    processor_of(board)  # before minutes of compiling
    machine = build_machine(hardware.project, folder, folder / KEPT, say)
    with SimulatedDevice(board, machine, board_memory(board, options)) as device:
        yield device


def show_deploy(result: Result, console: Console) -> None:
    if "commands" in result:
        console.print("Copy the package to the board and run its selftest there:", soft_wrap=True)
        lines = [f"  {command}" for command in result["commands"]]
    else:
        title = f"Simulated {result['board']}, through {result['runtime']}:"
        lines = [title, *result["lines"]]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _own_package(hardware: HardwareModel, folder: Path) -> Path:
    package = folder / PACKAGE
    made_of = None
    if (package / MANIFEST).is_file():
        made_of = read_json(package / MANIFEST).get("project")
    if made_of != hardware.project.digest:
        package_folder(folder)
    return package


def _manifest(package: Path) -> Result:
    if not all((package / name).is_file() for name in (MANIFEST, f"{SELFTEST}.py")):
        raise HwmoeError(f"{package}: not a package; `hwmoe package` makes one of a project")
    manifest: Result = read_json(package / MANIFEST)
    return manifest


def _selftest(
    package: Path, device: SimulatedDevice, arguments: list[str]
) -> tuple[int, list[str]]:
    """Exit code and what was printed."""
    printed = io.StringIO()
    with imported(package, SELFTEST) as selftest, contextlib.redirect_stdout(printed):
        try:
            code = selftest.main(arguments, device)
        except (HwmoeError, RuntimeError) as error:  # of the simulation: a board would hang or end
            print(f"FAILED: {error}")
            code = 1
    return code, printed.getvalue().splitlines()


@contextlib.contextmanager
def imported(package: Path, name: str) -> Iterator[ModuleType]:
    """A module of the package, with its neighbours, as if it were started there."""
    path, before = str(package.absolute()), set(sys.modules)
    sys.path.insert(0, path)
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(path)
        for added in set(sys.modules) - before:
            file = getattr(sys.modules[added], "__file__", None)
            if file is not None and Path(file).parent == Path(path):
                del sys.modules[added]


def _pynq() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that it imports
        try:
            return importlib.import_module("pynq")
        except ImportError as error:
            raise HwmoeError(
                f"the simulated board needs pynq ({error}): pip install 'hwmoe[pynq]'"
            ) from None
