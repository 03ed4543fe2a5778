"""benchmarks/accuracy.py: a broken promise is found, and the bytes are those the compiler packs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console
from small_models import small

from hwmoe.dse.defaults import default_accelerator
from hwmoe.plan.board import load_board
from hwmoe.plan.compiler import compile_model, stored_bytes_of
from hwmoe.plan.packing import pack_weights

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy.py"


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy"] = module
    spec.loader.exec_module(module)
    return module


def test_a_broken_promise_is_found(accuracy: ModuleType) -> None:
    kept = accuracy.Row(
        "m", "way", "int8", ["a", "b"], [0.9, 0.8], [0.895, 0.8], [1.0, 1.0], (20.0, 30.0), 0.5
    )
    quiet = Console(quiet=True)
    assert accuracy.show_rows([kept], quiet) == []
    worse = replace(kept, top1=[0.894, 0.8])
    assert len(accuracy.show_rows([kept, worse], quiet)) == 1
    assert accuracy.show_rows([replace(worse, promise=None)], quiet) == []


def test_the_width_from_which_ternary_takes_a_39th(accuracy: ModuleType) -> None:
    """8 D^2 weights and 5 D channels of 4 or 8 bytes; ternary takes a quarter of the weights."""
    for biases, extra, width in ((False, 20, 290), (True, 40, 580)):
        for dim in (width - 1, width):
            ratio = (8 * dim**2 + extra * dim) / (2 * dim**2 + extra * dim)
            assert accuracy.expert_ratio(dim, biases) == pytest.approx(ratio)
            assert (ratio >= 3.9) == (dim == width)


@pytest.mark.parametrize("kind", ["int8", "ternary"])
def test_stored_bytes_are_those_of_the_program(kind: str) -> None:
    net = small(kind, count=1).quantized  # type: ignore[arg-type]
    machine = default_accelerator(net, load_board("zcu102"))
    sizes = stored_bytes_of(net, machine)
    program = compile_model(net, machine)
    assert sum(weights for weights, _ in sizes.values()) == program.weights.nbytes
    assert sum(params for _, params in sizes.values()) == program.params.nbytes
    name = "blocks.1.moe.experts.0.fc1"
    params = net.linear(name)
    cfg = machine.expert if machine.expert and params.ternary else machine.linear
    assert sizes[name][0] == pack_weights(cfg, params.weight, params.ternary).nbytes


@pytest.mark.slow  # half a minute
def test_quick_keeps_its_promises(tmp_path: Path) -> None:
    command = [sys.executable, str(FILE), "--quick", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "from D = 580 on" in done.stdout
