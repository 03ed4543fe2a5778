"""A module's pins in Python's hands: set, read and clock them, under Verilator.

For parts with other ports than streams. A cycle is: set inputs, read outputs (paths from inputs
to outputs have settled), `tick`. Registers start with random bits, and so do memories.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from hwmoe.process import run_tool
from hwmoe.sim.verilator import COMMON_FLAGS, verilator_env

SECONDS = 600.0
RESET_CYCLES = 40  # lines without a reset run empty
_PORT = re.compile(r"VL_(?:IN|OUT)(?:8|16|64|W)?\(&?(\w+),(\d+),(\d+)(?:,\d+)?\);")
_WORD = "__SYM__"  # before a name that C++ programs often use
_CXX = "-fPIC -fvisibility=hidden -fno-gnu-unique"
_HARNESS = """\
#include <cstring>
#include "Vtop.h"
#define API extern "C" __attribute__((visibility("default")))
struct Bench { VerilatedContext context; Vtop* top; };
API void* make(int seed) {
  Bench* bench = new Bench;
  bench->context.randReset(2);
  bench->context.randSeed(seed);
  bench->context.assertOn(false);
  bench->top = new Vtop(&bench->context);
  return bench;
}
API void drop(void* b) { Bench* bench = static_cast<Bench*>(b); delete bench->top; delete bench; }
API void watch(void* b) { static_cast<Bench*>(b)->context.assertOn(true); }
API void settle(void* b) { static_cast<Bench*>(b)->top->eval(); }
API void tick(void* b) {
  Vtop* top = static_cast<Bench*>(b)->top;
  top->eval(); top->CLOCK = 1; top->eval(); top->CLOCK = 0; top->eval();
}
API void* pin(void* b, int index) {
  Vtop* top = static_cast<Bench*>(b)->top;
  switch (index) {
CASES
  }
  return nullptr;
}
"""


class Built:
    """A module built once; `pins` makes as many simulations of it as wanted."""

    def __init__(
        self,
        top: str,
        files: Iterable[Path],
        work: Path,
        values: Mapping[str, int] | None = None,
        clock: str = "clk",
        reset: str = "rst_n",
    ):
        self.clock, self.reset = clock, reset
        work.mkdir(parents=True)
        env = verilator_env()
        env.pop("MAKEFLAGS", None)
        cmd = ["verilator", "--cc", "--exe", *COMMON_FLAGS, "-Wno-fatal", "-Wno-lint"]
        cmd += ["--x-initial", "unique", "--x-assign", "unique", "--top-module", top]
        cmd += [f"-G{name}={value}" for name, value in (values or {}).items()]
        cmd += ["--prefix", "Vtop", "--Mdir", str(work), "-o", "libpins.so"]
        cmd += ["-CFLAGS", _CXX, "-LDFLAGS", "-shared -Wl,-Bsymbolic -pthread", "harness.cpp"]
        run_tool([*cmd, *(str(path.resolve()) for path in files)], env, work, SECONDS)
        ports = _PORT.findall((work / "Vtop.h").read_text())
        cases = (f"    case {i}: return &top->{port[0]};" for i, port in enumerate(ports))
        harness = _HARNESS.replace("CASES", "\n".join(cases)).replace("CLOCK", clock)
        (work / "harness.cpp").write_text(harness)
        make = ["make", "-j1", "-f", "Vtop.mk", "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0"]
        make += ["CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++", f"PYTHON3={sys.executable}"]
        run_tool([*make, "libpins.so"], env, work, SECONDS)
        self.widths = {
            name.removeprefix(_WORD): int(high) - int(low) + 1 for name, high, low in ports
        }
        self.library = ctypes.CDLL(str(work / "libpins.so"))
        self.library.make.restype = self.library.pin.restype = ctypes.c_void_p

    def pins(self, seed: int = 1) -> Pins:
        """A simulation of its own, just out of reset, all inputs 0."""
        return Pins(self, seed)


class Pins:
    """One simulation: pins by name, values as unsigned integers."""

    def __init__(self, built: Built, seed: int):
        self.lib = built.library
        self.bench = ctypes.c_void_p(self.lib.make(seed))
        self.cycle = 0
        self.settled = False
        self.buffers: dict[str, ctypes.Array[ctypes.c_char]] = {}
        for index, (name, width) in enumerate(built.widths.items()):
            at = self.lib.pin(self.bench, index)
            size = next((n for n in (1, 2, 4, 8) if width <= 8 * n), -(-width // 32) * 4)
            self.buffers[name] = (ctypes.c_char * size).from_address(at)
            if name != built.clock:
                self[name] = 0
        for _ in range(RESET_CYCLES):
            self.tick()
        if built.reset in self.buffers:
            self[built.reset] = 1
        self.lib.watch(self.bench)  # assertions: what registers hold before a reset breaks some
        self.cycle = 0

    def __setitem__(self, name: str, value: int) -> None:
        buffer = self.buffers[name]
        buffer.raw = value.to_bytes(len(buffer), "little")
        self.settled = False

    def __getitem__(self, name: str) -> int:
        if not self.settled:
            self.lib.settle(self.bench)
            self.settled = True
        return int.from_bytes(self.buffers[name].raw, "little")

    def tick(self) -> None:
        """One clock edge."""
        self.lib.tick(self.bench)
        self.settled = True
        self.cycle += 1

    def __del__(self) -> None:
        self.lib.drop(self.bench)


def bits(value: int) -> list[int]:
    """Numbers of the bits that are set."""
    return [i for i in range(value.bit_length()) if value >> i & 1]
