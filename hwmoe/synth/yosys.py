"""Runs Yosys on a kernel: a process of its own, since an error of Yosys ends its process."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hwmoe.codegen.folder import write_text
from hwmoe.errors import HwmoeError
from hwmoe.process import run_tool
from hwmoe.synth.resources import Resources, resources_of

FAMILY = "xcup"  # UltraScale+
SECONDS = 3600.0
DRIVER = "hwmoe.synth.driver"
_SCRIPT, LOG, _STAT, _KEY = "synth.ys", "yosys.log", "stat.json", "key"


def yosys_version() -> str:
    """Version of Yosys; HwmoeError if it is not installed."""
    try:
        return version("pyosys")
    except PackageNotFoundError:
        raise HwmoeError("Yosys is not installed. To mend it: pip install pyosys") from None


def synthesize(
    sources: Sequence[Path],
    top: str,
    work: Path,
    timeout: float = SECONDS,
    uram: bool = False,
    luts: bool = True,
    without: Sequence[str] = (),
) -> Resources:
    """Map `top` to cells of UltraScale+ with the hierarchy kept, and count them.

    work: a folder for script, log and statistics; what is in it is taken if sources, script and
    version are the same. `uram`: the part has UltraRAM. Without `luts` it stops before the logic
    is mapped: multipliers, memories and most registers in a third of the time, but no LUTs.
    Modules named in `without` are not looked into; they are counted among `other`.
    HwmoeError with what Yosys says if it rejects the sources, and for a latch.
    """
    missing = [str(path) for path in sources if not path.is_file()]
    if missing:
        raise HwmoeError(f"{top}: no such file: {', '.join(missing)}")
    script = _script([path.name for path in sources], top, uram, luts, without)
    key = _digest(sources, script)
    if not _is_made(work, key):
        _run(sources, top, script, work, timeout)
        write_text(work / _KEY, key)
    text = (work / _STAT).read_text(encoding="utf-8")
    return resources_of(json.loads(text[text.index("{") :]), top)


def _script(names: Sequence[str], top: str, uram: bool, luts: bool, without: Sequence[str]) -> str:
    """One command a line, for hwmoe and for anyone who runs `yosys -s` by hand."""
    end = "check" if luts else "map_luts"
    synth = f"synth_xilinx -family {FAMILY} -noiopad -noclkbuf{' -uram' if uram else ''}"
    lines = [
        # A name that is not declared is an error and not a wire of one bit.
        *(f"read_verilog -sv -noautowire {name}" for name in names),
        *(f"blackbox {name}" for name in without),
        # The last step of synth_xilinx elaborates again, which a mapped design may not survive.
        f"{synth} -top {top} -run begin:{end}",
        "blackbox =A:whitebox",
        f"tee -q -o {_STAT} stat -json -tech xilinx -top {top}",
    ]
    return "\n".join(lines) + "\n"


def _digest(sources: Sequence[Path], script: str) -> str:
    total = hashlib.sha256(f"{yosys_version()}\0{script}".encode())
    for path in sources:
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _is_made(work: Path, key: str) -> bool:
    made = work / _KEY
    return made.is_file() and made.read_text(encoding="utf-8") == key and (work / _STAT).is_file()


def _run(sources: Sequence[Path], top: str, script: str, work: Path, timeout: float) -> None:
    """Leave the statistics in `work`. Sources are copied there: names in Yosys have no folders."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for path in sources:
        shutil.copyfile(path, work / path.name)
    write_text(work / _SCRIPT, script)
    log = work / LOG
    try:
        run_tool([sys.executable, "-m", DRIVER, _SCRIPT], cwd=work, timeout=timeout, log=log)
    except HwmoeError as error:
        said = [line for line in log.read_text(errors="replace").splitlines() if "ERROR:" in line]
        if not said:
            raise HwmoeError(f"synthesis of {top}: {error}") from error
        raise HwmoeError(f"Yosys rejects {top}: {said[-1].strip()}\nIts log: {log}") from None
