"""Output folders are whole or what they were; differences are named in full."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hwmoe.codegen import folder as folder_module
from hwmoe.codegen.folder import MARKER, read_json, staged, write_json, write_text
from hwmoe.errors import HwmoeError
from hwmoe.sim.divergence import first_divergence


def fill(stage: Path, text: str) -> None:
    write_json(stage / MARKER, {"text": text})
    write_text(stage / "sub" / "file.txt", text)


def content(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_text() for p in files}


def test_success_replaces_everything(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out) as stage:
        fill(stage, "one")
        write_text(stage / "only-once.txt", "x")
        assert not out.exists()
    with staged(out) as stage:
        fill(stage, "two")
        assert content(out)["sub/file.txt"] == "one"
    assert content(out) == {MARKER: '{\n  "text": "two"\n}\n', "sub/file.txt": "two"}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_leaves_what_was_there(
    error: type[BaseException], before: bool, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    if before:
        with staged(out) as stage:
            fill(stage, "old")
    old = content(out)

    def run() -> None:
        with staged(out) as stage:
            fill(stage, "new")
            raise error

    with pytest.raises(error):
        run()
    assert content(out) == old
    assert out.exists() == before
    assert [p.name for p in tmp_path.rglob("*") if p.is_dir()] == ["deep", "out", "sub"] * before


def test_a_failed_swap_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with staged(out) as stage:
        fill(stage, "old")
    rename = Path.rename

    def stubborn(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    with (
        pytest.raises(HwmoeError, match=r"cannot write .*out: No space left"),
        staged(out) as stage,
    ):
        fill(stage, "new")
    assert content(out)["sub/file.txt"] == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_compiled_simulators_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out) as stage:
        fill(stage, "one")
        write_text(stage / folder_module.KEPT / "lib" / "x.so", "binary")
    with staged(out) as stage:
        fill(stage, "two")
    assert content(out)["build/lib/x.so"] == "binary"


def enter(folder: Path, message: str) -> None:
    """`staged` refuses before its block begins."""
    with pytest.raises(HwmoeError, match=message), staged(folder):
        pytest.fail("entered")


def test_foreign_folders_and_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis"
    write_text(foreign / "chapter.tex", "years of work")
    enter(foreign, r"thesis holds other files \(no hwmoe\.json in it\)")
    (tmp_path / "file").write_text("text")
    enter(tmp_path / "file", "file is a file; give --out a folder")
    assert content(foreign) == {"chapter.tex": "years of work"}
    assert (tmp_path / "file").read_text() == "text"
    enter(tmp_path / "file" / "below", "cannot write")


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    with staged(tmp_path / "x") as stage:
        fill(stage, "one")
    empty = tmp_path / "empty"
    empty.mkdir()
    with staged(empty) as stage:
        fill(stage, "one")
    assert content(empty) == content(tmp_path / "x")


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with staged(Path("out")) as stage:
        assert stage.is_absolute()
        fill(stage, "one")
    assert content(tmp_path / "out")["sub/file.txt"] == "one"


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    with pytest.raises(HwmoeError, match=r"b\.json: no such file"):
        read_json(path)
    write_json(path, {"a": [1, 2]})
    assert read_json(path) == json.loads(path.read_text()) == {"a": [1, 2]}
    assert os.listdir(path.parent) == ["b.json"]
    path.write_text('{"a": ')
    with pytest.raises(HwmoeError, match=r"b\.json: cannot be read"):
        read_json(path)


# ---- differences --------------------------------------------------------------------------------


def test_the_first_difference() -> None:
    want = np.arange(12, dtype=np.int16).reshape(3, 4)
    got = want.astype(np.int32)
    assert first_divergence("HLS x", "head", want, got) is None
    got[1, 2], got[2, 0] = -5, 70000
    found = first_divergence("HLS x", "head", want, got)
    assert found is not None
    assert (found.index, found.expected, found.got) == ((1, 2), 6, -5)
    assert str(found) == (
        "HLS x: first difference in head[1, 2]: reference 6, got -5 "
        "(2 of 12 values of this tensor differ)"
    )


def test_differences_are_not_lost_to_wrapping() -> None:
    small, large = np.array([-1], np.int8), np.array([255], np.uint8)
    assert first_divergence("x", "t", small, large) is not None
    assert first_divergence("x", "t", np.zeros(0, np.int8), np.zeros(0, np.int16)) is None


def test_shapes_that_differ_are_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"t has shape \(2,\), not \(1, 2\)"):
        first_divergence("x", "t", np.zeros((1, 2), int), np.zeros(2, int))
