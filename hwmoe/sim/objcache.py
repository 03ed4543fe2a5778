"""The compiler of Verilator's makefiles, as their OBJCACHE: keeps objects of Verilator's run time.

    python objcache.py FOLDER g++ ... -c -o verilated.o .../include/verilated.cpp

Every build would compile the same few files again, most of a small build's time. All other commands
are run as they are. Run as a script for each file: only the standard library, and little of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys


def main(folder: str, command: list[str]) -> int:
    """Exit code of the compiler."""
    root = os.environ.get("VERILATOR_ROOT", "")
    source = command[-1]
    of_verilator = root and source.startswith(os.path.join(root, "include"))
    if not of_verilator or command.count("-o") != 1 or "-march=native" in command:
        os.execvp(command[0], command)
    at = command.index("-o") + 1
    kept = os.path.join(folder, _key([*command[:at], *command[at + 1 :]]) + ".o")
    if not os.path.isfile(kept):
        code = _compile(command, at, kept)
        if code:
            return code
    shutil.copyfile(kept, command[at])
    return 0


def _compile(command: list[str], at: int, kept: str) -> int:
    beside = f"{kept.removesuffix('.o')}.{os.getpid()}.o"
    try:
        code = subprocess.run([*command[:at], beside, *command[at + 1 :]], check=False).returncode
        if code == 0:
            os.replace(beside, kept)
    finally:
        for left in (beside, beside.removesuffix("o") + "d"):  # -MMD asks for the second
            if os.path.exists(left):
                os.unlink(left)
    return code


def _key(command: list[str]) -> str:
    """Of the command, and of the compiler and Verilator as they are installed."""
    compiler = os.path.realpath(shutil.which(command[0]) or command[0])
    parts = list(command)
    for path in (compiler, command[-1], os.path.join(os.environ["VERILATOR_ROOT"], "bin")):
        if os.path.exists(path):
            found = os.stat(path)
            parts += [path, str(found.st_size), str(found.st_mtime_ns)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
