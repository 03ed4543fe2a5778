"""The package's driver without a machine: arguments, files, arithmetic of pixels, diagnosis."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_machine import small_net
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmoe.codegen.project import Project
from hwmoe.deploy.manifest import image_section
from hwmoe.plan.image import image_records

IMAGES = small_net().images


@pytest.fixture
def accelerator(host: Any) -> Any:
    with host.driver.Accelerator(host.folder) as opened:
        yield opened


def write_results(accelerator: Any, logits: np.ndarray) -> None:
    """The machine's next runs leave these int16 [n, outputs] in memory."""
    size = accelerator.manifest["programs"]["main"]["result_bytes"] // 2
    rows = np.zeros((len(logits), size), "<i2")
    rows[:, : logits.shape[1]] = logits

    def work(arguments: dict[str, Any], count: int) -> bool:
        arguments["results"].there[: rows[:count].nbytes] = rows[:count].reshape(-1).view(np.uint8)
        return True

    type(accelerator._board).work = staticmethod(work)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-3, 1.0, 50.0, 1e30]))
def test_pixels_become_the_records_of_the_plan(project: Project, seed: int, scale: float) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "hwmoe/templates/host"))
    try:
        import hwmoe_package
    finally:
        del sys.path[0]
    model, program = project.model, project.program
    rng = np.random.default_rng(seed)
    images = (scale * rng.normal(size=(3, *IMAGES.shape[1:]))).astype(np.float32)
    tasks = rng.integers(0, 2, 3).tolist()
    expected = image_records(program, model.quantize_images(images), tasks)
    section = json.loads(json.dumps(image_section(model, program)))
    size = program.loop["image_bytes"]
    records = hwmoe_package.image_records(section, images, tasks, size)
    np.testing.assert_array_equal(records.reshape(-1), expected)


@pytest.mark.parametrize(
    ("images", "kind", "says"),
    [
        (IMAGES.astype(np.float64), TypeError, "float64"),
        ((IMAGES > 0).astype(np.uint8), TypeError, "astype"),
        (IMAGES[0], ValueError, "shape"),
        (IMAGES[:, :1], ValueError, "shape"),
        (IMAGES[:0], ValueError, "shape"),
        (np.full_like(IMAGES, np.nan), ValueError, "NaN"),
    ],
)
def test_images_are_refused(
    accelerator: Any, images: np.ndarray, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        accelerator.predict(images)


@pytest.mark.parametrize("task", [2, -1, "c", [0, 1], [0, 0, 7]])
def test_tasks_are_refused(accelerator: Any, task: Any) -> None:
    with pytest.raises(ValueError, match="task"):
        accelerator.predict(IMAGES, task)


def test_tasks_by_name_number_and_image(accelerator: Any) -> None:
    logits = np.arange(12, dtype=np.int16).reshape(3, 4)
    write_results(accelerator, logits)
    np.testing.assert_array_equal(accelerator.predict(IMAGES, "a"), logits)
    np.testing.assert_array_equal(accelerator.predict(IMAGES, 1), logits[:, :3])
    mixed = accelerator.predict(IMAGES, ["a", 1, "a"])
    assert mixed[1].tolist() == [4, 5, 6, -32768]
    again = accelerator.predict(IMAGES, "a")
    again[:] = 0
    np.testing.assert_array_equal(accelerator.predict(IMAGES, "a"), logits)


def test_many_images_are_several_runs(
    accelerator: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = accelerator.manifest["programs"]["main"]["image_bytes"]
    monkeypatch.setattr(host.driver, "RUN_BYTES", 2 * size)
    seen = []

    def work(arguments: dict[str, Any], count: int) -> bool:
        seen.append(count)
        result = arguments["results"].there
        result[: 64 * count] = np.repeat(np.arange(count, dtype=np.uint8), 64)
        return True

    type(accelerator._board).work = staticmethod(work)
    logits = accelerator.predict(np.repeat(IMAGES[:1], 5, 0), 1)
    assert seen == [2, 2, 1]
    assert logits[:, 0].tolist() == [0, 257, 0, 257, 0]


def test_results_that_never_came(accelerator: Any, host: Any) -> None:
    with pytest.raises(host.driver.DeviceError, match=r"image 0 .* never came"):
        accelerator.predict(IMAGES)


def test_a_machine_that_stops_is_described(accelerator: Any, host: Any) -> None:
    board, at = accelerator._board, accelerator.manifest["registers"]
    type(board).work = staticmethod(lambda arguments, count: False)
    steps = accelerator.manifest["programs"]["main"]
    linear = [i for i, engine in enumerate(steps["engines"]) if engine == 1]
    board.registers[at["images_done"]["offset"]] = 2
    board.registers[at["cycles"]["offset"]] = 5
    board.registers[at["cycles"]["offset"] + 4] = 1
    board.registers[at["linear_completed"]["offset"]] = len(linear) + 2
    waiting, read = at["linear_waiting"]["offset"], board.read
    counts = iter(range(1000))
    board.read = lambda offset: next(counts) if offset == waiting else read(offset)
    with pytest.raises(host.driver.DeviceError) as told:
        accelerator.predict(IMAGES, timeout=0.5)
    text = str(told.value)
    assert "within 0.5 s" in text
    assert "2 images done after 4,294,967,301 cycles" in text
    name = f"{steps['steps'][linear[2]]} (step {linear[2]})"
    assert f"linear: waiting for another engine at {name}" in text
    assert "attention: idle before" in text


def test_an_error_of_the_machine_is_named(accelerator: Any, host: Any) -> None:
    board, at = accelerator._board, accelerator.manifest["registers"]
    for name, value in (("error_code", 2), ("error_step", 5), ("error_detail", 0xAB)):
        board.registers[at[name]["offset"]] = value
    step = accelerator.manifest["programs"]["main"]["steps"][5]
    with pytest.raises(host.driver.DeviceError, match=r"error 2 \(read response\)") as told:
        accelerator.predict(IMAGES)
    assert f"at {step} (step 5), detail 0xab" in str(told.value)


def test_another_machine_is_refused(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offset = json.loads((host.folder / "manifest.json").read_text())["registers"]["digest"]
    read = host.board.read
    monkeypatch.setattr(
        host.board, "read", lambda self, at: 7 if at == offset["offset"] else read(self, at)
    )
    with pytest.raises(host.driver.DeviceError, match="digest is 0x7"):
        host.driver.Accelerator(host.folder)
    monkeypatch.undo()


def test_without_registers_the_machine_is_told_by_its_logits(host: Any) -> None:
    host.board.has_registers = False
    golden = np.load(next(host.folder.glob("golden-*.npz")))
    tasks = [golden["task0/logits"], golden["task1/logits"]]

    def work(arguments: dict[str, Any], count: int) -> bool:
        for image in range(count):
            row = tasks[image % 2][image // 2]
            arguments["results"].there[64 * image : 64 * image + 2 * row.size] = row.view(np.uint8)
        return True

    host.board.work = staticmethod(work)
    opened = host.driver.Accelerator(host.folder)
    with pytest.raises(host.driver.DeviceError, match="no registers here"):
        opened.counters()
    opened.close()
    tasks[1] = tasks[1] + 1
    with pytest.raises(host.driver.DeviceError, match="wrong logits"):
        host.driver.Accelerator(host.folder)


def test_a_closed_device(accelerator: Any, host: Any) -> None:
    accelerator.close()
    accelerator.close()
    for use in (accelerator.counters, accelerator.load, lambda: accelerator.predict(IMAGES)):
        with pytest.raises(host.driver.DeviceError, match="closed"):
            use()
    assert "closed" in repr(accelerator)


def test_a_cell_can_be_run_again(accelerator: Any, host: Any) -> None:
    with host.driver.Accelerator(host.folder):
        assert "closed" in repr(accelerator)


def test_a_second_process_is_refused(accelerator: Any, host: Any, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(host.folder)!r})\n"
        "from hwmoe_board import lock_device\nlock_device('fake')"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode
    assert "in use by another process" in told.stderr
    accelerator.close()
    assert not subprocess.run(command, timeout=60, check=False).returncode


def test_buffers_of_a_busy_machine_are_kept(accelerator: Any, host: Any) -> None:
    accelerator._board.busy = True
    with pytest.raises(host.driver.DeviceError, match="still busy"):
        accelerator.predict(IMAGES)
    buffers = accelerator._buffers
    accelerator.close()
    assert host.driver._abandoned == [buffers]


def change(folder: Path, pattern: str, edit: Any) -> None:
    path = next(folder.glob(pattern))
    path.write_bytes(edit(path.read_bytes()))


def flipped(at: int) -> Any:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("pattern", "edit", "says"),
    [
        ("memory-*.bin", lambda data: data[:-1], "copy the package again"),
        ("memory-*.bin", flipped(70), "altered in program;"),
        ("memory-*.bin", flipped(24000), "altered"),
        ("*.bit", flipped(3), "altered"),
        ("manifest.json", lambda data: data[:-20], "not a manifest"),
        ("manifest.json", lambda data: data.replace(b'"manifest": 1', b'"manifest": 2'), "version"),
        ("manifest.json", lambda data: data.replace(b'"pynq"', b'"os"'), "runtime"),
    ],
)
def test_files_are_checked(host: Any, tmp_path: Path, pattern: str, edit: Any, says: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(host.folder, folder)
    change(folder, pattern, edit)
    with pytest.raises(host.driver.PackageError, match=says):
        host.driver.Accelerator(folder)


def test_a_missing_file_is_named(host: Any, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(host.folder, folder)
    next(folder.glob("memory-*.bin")).unlink()
    with pytest.raises(host.driver.PackageError, match=r"memory-.*No such file"):
        host.driver.Accelerator(folder)
    with pytest.raises(host.driver.PackageError, match="is it a package"):
        host.driver.Accelerator(tmp_path / "nothing")
