"""A package used from another process, which has numpy and pynq and nothing of hwmoe, through
PYNQ's remote protocol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest
from built_machine import compiled, small_project
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SECONDS = 120

CLIENT = """
import sys, warnings
warnings.simplefilter("ignore")
from pynq.pl_server.device import Device
from pynq.pl_server.remote_device import RemoteDevice
device = Device.active_device = RemoteDevice(0, "127.0.0.1", port=int(sys.argv[1]))
for absent in ("hwmoe", "torch", "jinja2"):
    try:
        __import__(absent)
    except ImportError:
        continue
    sys.exit(f"{absent} can be imported")
sys.path.insert(0, sys.argv[2])
import selftest
if "--hold" in sys.argv:
    with selftest.Accelerator(device=device):
        print(device.arch, device.name, "is held", flush=True)
        sys.stdin.readline()
    sys.exit(0)
sys.exit(selftest.main([], device))
"""


@pytest.fixture(scope="module")
def board_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from: numpy, pynq and what pynq needs. pynq is a copy: it writes there."""
    site = tmp_path_factory.mktemp("board") / "site"
    site.mkdir()
    wanted, seen = ["pynq", "numpy", "setuptools"], set()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(top)))
            if top == "pynq":
                shutil.copytree(source, site / top, ignore=shutil.ignore_patterns("*.bit"))
            elif not (site / top).exists():
                (site / top).symlink_to(source)
    assert not {"hwmoe", "torch", "jinja2"} & seen
    return site


@contextmanager
def at_most(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends it if the block takes too long, and with it a wait for what it prints."""
    watchdog = threading.Timer(3 * SECONDS, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a simulated board that another process serves."""
    hardware = small_project()
    folder = hardware.write(tmp_path_factory.mktemp("remote") / "project")
    compiled(hardware, tmp_path_factory)
    command = [sys.executable, "-m", "hwmoe.cli", "deploy", str(folder), "--serve", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, at_most(server):
        try:
            assert server.stdout
            said = re.match(
                r"zcu102, simulated, on 127.0.0.1 port (\d+);", server.stdout.readline()
            )
            assert said
            yield said[1]
        finally:
            server.terminate()
        assert server.wait(SECONDS) == 143


def client(site: Path, port: str, package: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    """Started in `folder`, with nothing installed but `site`."""
    environment = {"PYTHONPATH": str(site), "TMPDIR": str(folder), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-c", CLIENT, port, str(package), *more]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_package_on_a_remote_board(
    board_site: Path, port: str, packaged: Path, tmp_path: Path
) -> None:
    """And a second process is told that the first one has the board."""
    package = tmp_path / "elsewhere" / "copy"
    shutil.copytree(packaged, package)
    with client(board_site, port, package, tmp_path) as alone:
        printed, _ = alone.communicate(timeout=SECONDS)
    assert alone.returncode == 0, printed
    assert re.search(r"a: blocks.1.res2 +84 values +ok", printed)
    assert re.search(r"6 images in [\d,]+ cycles", printed)
    assert printed.rstrip().endswith("OK: every value as expected")

    with client(board_site, port, package, tmp_path, "--hold") as first, at_most(first):
        assert first.stdout
        assert first.stdin
        assert "aarch64 zcu102 is held" in first.stdout.readline()
        with client(board_site, port, package, tmp_path) as second:
            printed, _ = second.communicate(timeout=SECONDS)
        assert second.returncode == 1
        assert "remote0 is in use by another process" in printed
        first.stdin.write("\n")
        first.stdin.close()
        assert first.wait(SECONDS) == 0
