"""The whole machine behind its AXI ports: small programs from ap_start to the results in memory."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pin_bench import Built
from top_machine import Machine
from top_network import IMAGES, PARAMS, PROGRAM, RESULTS, SMALL, WEIGHTS, Network, encode

from hwmoe.codegen.rtl_machine import TOP, configuration_digest, machine_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.program import MachineSizes
from hwmoe.process import run_tool
from hwmoe.quant.numerics import FORMAT
from hwmoe.sim.verilator import lint

LARGER = AcceleratorConfig(
    linear=LinearConfig(t_in=16, t_out=16, t_tok=2, t_epi=8, w_rows=4, max_tokens=40, x_words=256),
    attention=AttentionConfig(rows=4, dim_lanes=8, head_units=2, max_tokens=40, max_dim_tiles=4),
    layernorm=LayerNormConfig(lanes=8, max_tiles=8),
    gate=GateConfig(max_experts=16, max_k=4),
    ports=PortsConfig(port_bits=512, w_ports=1),
)
SIZES = MachineSizes(300, 100, 120, 90, 2, 8, 20, 50)
LARGER_SIZES = MachineSizes(1000, 600, 700, 1 << 16, 16, 16, 40, 1000)


def write(folder: Path, acc: AcceleratorConfig, sizes: MachineSizes) -> list[Path]:
    folder.mkdir(parents=True)
    files = machine_rtl(acc, sizes)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    work = tmp_path_factory.mktemp("top")
    paths = write(work / "rtl", SMALL, SIZES)
    return Built(TOP, paths, work / "build", clock="ap_clk", reset="ap_rst_n")


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("pace", [0.3, 1.0])
def test_images_to_results(stages: int, pace: float, built: Built) -> None:
    machine = Machine(built, pace, seed=stages, stages=stages)
    clipped = 0
    for tasks in ([0], [1, 0, 0, 1, 1]):  # the second run on the machine as the first left it
        patches = machine.images(tasks)
        machine.run()
        assert machine.error() == (0, 0, 0)
        clipped += machine.check(tasks, patches)
        done = [machine.host.read(0x24C + 32 * e) for e in range(5)]
        rounds = len(tasks) + stages - 1
        assert done == [2 * rounds, 3 * rounds, 0, 2 * rounds, 2 * rounds]
    assert clipped


def test_identity(built: Built) -> None:
    machine = Machine(built)
    assert machine.host.read(0x21C) == FORMAT
    assert machine.host.read(0x220) == configuration_digest(SMALL, SIZES)
    assert configuration_digest(SMALL, SIZES) != configuration_digest(SMALL, LARGER_SIZES)


def after_an_error(machine: Machine) -> None:
    """The next run is as good as any."""
    tasks = [1, 0]
    patches = machine.images(tasks)
    machine.run()
    assert machine.error() == (0, 0, 0)
    machine.check(tasks, patches)


def test_illegal_instruction(built: Built) -> None:
    machine = Machine(built)
    machine.images([0, 1])
    at = PROGRAM + 64 * (1 + 7)
    right = machine.store.read(at, 1)
    machine.store.write(at, b"\x77")
    machine.run()
    assert machine.error()[:2] == (1, 7)
    machine.store.write(at, right)
    after_an_error(machine)


@pytest.mark.parametrize(
    ("pointer", "channels"),
    [(IMAGES, 0b1001), (PARAMS, 0b1110), (WEIGHTS[-1], 8 << len(WEIGHTS))],
)
def test_read_error(pointer: int, channels: int, built: Built) -> None:
    """The detail has a bit of each channel of gmem (FETCH, linear, LayerNorm, load), then of w."""
    machine = Machine(built)
    machine.images([0, 1])
    machine.store.bad = {pointer >> 12}
    machine.run()
    code, step, detail = machine.error()
    assert (code, step) == (2, 0xFFFF)
    assert detail
    assert not detail & ~channels
    machine.store.bad = set()
    after_an_error(machine)


def test_write_error(built: Built) -> None:
    machine = Machine(built)
    machine.images([0, 1])
    machine.store.bad = {RESULTS >> 12}
    machine.run()
    assert machine.error() == (3, 0xFFFF, 0)
    machine.store.bad = set()
    after_an_error(machine)


def test_beyond_a_memory(built: Built) -> None:
    """The linear engine writes past the end of y, which nobody can tell from its fields."""
    machine = Machine(built)
    machine.images([0])
    right = encode("linear", machine.body[2][2])
    machine.store.write(PROGRAM + 64 * 3, encode("linear", machine.body[2][2] | {"dst": 88}))
    machine.run()
    assert machine.error() == (4, 0xFFFF, 3 << 16 | 90)
    machine.store.write(PROGRAM + 64 * 3, right)
    after_an_error(machine)


def test_unaligned_pointer(built: Built) -> None:
    machine = Machine(built)
    machine.images([0])
    machine.host.write64(0x34, RESULTS + 64)
    machine.run()
    assert machine.error()[0] == 7
    machine.host.write64(0x34, RESULTS)
    after_an_error(machine)


@pytest.mark.parametrize("what", ["results", "counts"])
def test_a_difference_is_found(what: str, built: Built) -> None:
    """The comparison with the reference can fail: by results, by counts of clipped values."""
    machine = Machine(built)
    tasks = [0, 1, 0]
    patches = machine.images(tasks)
    machine.run()
    machine.check(tasks, patches)
    if what == "results":
        machine.network.heads[1] = Network(seed=2).heads[1]
    else:
        machine.body[0], machine.body[3] = machine.body[3], machine.body[0]
    with pytest.raises(AssertionError):
        machine.check(tasks, patches)


MACHINES = {"small": (SMALL, SIZES), "larger": (LARGER, LARGER_SIZES)}


@pytest.mark.parametrize("name", MACHINES)
def test_lint(name: str, tmp_path: Path) -> None:
    assert lint(write(tmp_path / "rtl", *MACHINES[name]), TOP) == ""


@pytest.mark.parametrize("name", MACHINES)
def test_yosys_reads_it(name: str, tmp_path: Path) -> None:
    """The whole hierarchy, and no latches in it."""
    paths = write(tmp_path / "rtl", *MACHINES[name])
    lines = ["read_verilog -lib +/xilinx/cells_xtra.v"]
    lines += [f"read_verilog -sv -noautowire {path.name}" for path in paths]
    lines += [f"hierarchy -check -top {TOP}", "proc", "check -assert"]
    lines += ["select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr"]
    code = "from pyosys import libyosys\ndesign = libyosys.Design()\n"
    code += "".join(f"libyosys.run_pass({line!r}, design)\n" for line in lines)
    run_tool([sys.executable, "-c", code], cwd=tmp_path / "rtl", timeout=900)


@pytest.mark.parametrize(
    ("what", "part", "wrong"),
    [
        ("port_bits", "ports", PortsConfig(port_bits=64, w_ports=1)),
        ("t_in=24", "linear", LinearConfig(t_in=24, t_out=8, t_epi=4, w_rows=2)),
    ],
)
def test_what_does_not_fit(what: str, part: str, wrong: object) -> None:
    with pytest.raises(HwmoeError, match=what):
        machine_rtl(SMALL.model_copy(update={part: wrong}), SIZES)


def test_too_many_steps() -> None:
    with pytest.raises(HwmoeError, match="12289 steps"):
        machine_rtl(SMALL, replace(SIZES, max_steps=12289))


def test_same_text_every_time() -> None:
    assert machine_rtl(SMALL, SIZES) == machine_rtl(SMALL, SIZES)
