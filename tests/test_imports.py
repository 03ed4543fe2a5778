"""Imports run one way: the table of docs/architecture.md, held to."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hwmoe

ROOT = Path(hwmoe.__file__).parent
ALLOWED = {
    "model": set(),
    "quant": {"model"},
    "plan": {"model", "quant"},
    "codegen": {"model", "quant", "plan"},
    "sim": {"model", "quant", "plan", "codegen"},
    "dse": {"model", "quant", "plan", "codegen"},
    "synth": {"model", "quant", "plan", "codegen"},
    "vendor": {"model", "quant", "plan", "codegen", "dse", "synth"},
    "deploy": {"model", "quant", "plan", "codegen", "sim", "vendor"},
    "report": {"model", "quant", "plan", "codegen", "sim", "dse"},
    "train": {"model", "quant"},
    "flow": {
        "model",
        "quant",
        "train",
        "plan",
        "codegen",
        "sim",
        "dse",
        "synth",
        "vendor",
        "deploy",
        "report",
    },
}
EVERYWHERE = {"errors", "files", "boards", "process"}


def imported(path: Path) -> set[str]:
    """Sub-packages of hwmoe that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "hwmoe" and len(part) > 1}
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_run_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        extra = imported(path) - ALLOWED[package] - EVERYWHERE - {package}
        assert not extra, f"{path.name} may not import hwmoe.{', hwmoe.'.join(sorted(extra))}"


def test_every_package_is_in_the_table() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ALLOWED)
