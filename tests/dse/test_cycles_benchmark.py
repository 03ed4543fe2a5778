"""benchmarks/cycles.py: what it draws, keeps and calls wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_limits_are_a_share_or_cycles() -> None:
    from cycles_results import Sample, row, within

    small = Sample("a", 116, 100, within(0.01, 16))
    large = Sample("b", 10_120, 10_000, within(0.01, 16))
    assert small.of_allowed == 1
    assert large.of_allowed == pytest.approx(1.2)
    line = row("kernel", 3, [small, large])
    assert "+120 of 10,000 (+1.20%)" in line
    assert line.endswith("| 1 |")


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    from hwmoe.flow.kept import Kept

    kept = Kept(tmp_path)
    assert kept.get("a", lambda: [1, 2]) == [1, 2]
    assert kept.get("a", lambda: pytest.fail("made again")) == [1, 2]
    assert kept.digest(b"a", b"b") != kept.digest(b"ab", b"")


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    from cycles_machines import random_case, random_machine

    first, second, other = (random_machine(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == second != other
    cases = [random_case(np.random.default_rng(5), first, (16.8, 64.0)) for _ in range(2)]
    assert cases[0].key("machine") == cases[1].key("machine") != cases[0].key("another")
    assert cases[0].predicted.stores == cases[1].predicted.stores


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    """A minute of processor time; the second time it only reads what it kept."""
    command = [sys.executable, str(BENCHMARKS / "cycles.py"), "training", "--quick", "--folder"]
    command += [str(tmp_path), "--only", "gate", "layernorm"]
    for seconds in (600, 60):
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        assert run.returncode == 0, run.stderr
        gate, norm = run.stdout.splitlines()[2:]
        assert gate.startswith("| gate | 2 | 24 | 24 |")
        assert norm.startswith("| layernorm | 2 | 24 | 24 |")
