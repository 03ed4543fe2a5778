"""Runs a model on its accelerator. Needs numpy, and what the board brings: pynq or pyxrt.

from hwmoe_driver import Accelerator
with Accelerator() as acc:        # the package in this folder: bitstream, weights, everything
    logits = acc.predict(images)  # float32 [n, C, H, W] -> int16 [n, classes]
"""

from __future__ import annotations

import importlib
import io
import weakref
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from hwmoe_board import Board, Buffer, DeviceError, lock_device
from hwmoe_package import (
    Floats,
    Ints,
    PackageError,
    Task,
    check_images,
    image_records,
    read_file,
    read_package,
    task_numbers,
    trace_tensors,
)
from hwmoe_report import Check, Report, diagnosis

__all__ = ["Accelerator", "Check", "DeviceError", "PackageError", "Report"]

RUN_BYTES = 1 << 25  # of images in one run; more images are several runs
UNWRITTEN = 0x80  # every byte of the results before a run
PADDING = -32768  # logits that a task does not have, beside another one's in the same array

_opened: weakref.WeakValueDictionary[str, Accelerator] = weakref.WeakValueDictionary()
_abandoned: list[object] = []  # buffers that a machine which did not stop may still write to


class Accelerator:
    """The accelerator of a package (a folder, or its manifest.json), open until `close`.

    device: a pynq.Device, or the number or PCIe address of an XRT card; None: the default one.
    timeout: seconds in which the next image must be finished. Raises `PackageError` for a package
    that is not whole and `DeviceError` for hardware that is not its own or in use.
    """

    def __init__(
        self,
        package: Path | str = Path(__file__).parent,
        device: object = None,
        timeout: float | None = None,
    ) -> None:
        self._board: Board | None = None
        self._lock: IO[str] | None = None
        self._buffers: dict[str, Buffer] = {}
        self.folder, self.manifest = read_package(package)
        self.tasks = [task["name"] for task in self.manifest["tasks"]]
        self.timeout = self.manifest["timeout_seconds"] if timeout is None else timeout
        self._memory = np.frombuffer(read_file(self.folder, self.manifest["memory"]), np.uint8)
        read_file(self.folder, self.manifest["bitstream"])
        self._program = self.manifest["programs"]["main"]  # that of the last run
        back_end = importlib.import_module(f"hwmoe_{self.manifest['runtime']}")
        board: Board = back_end.Board(self.folder, self.manifest, device)
        if board.name in _opened:  # as when a cell of a notebook is run again
            _opened[board.name].close()
        self._lock = lock_device(board.name)
        try:
            board.load()
            self._board = board
            self.load()
            self._check_hardware()
        except BaseException:
            self.close()
            raise
        _opened[board.name] = self

    def load(self) -> None:
        """Copy program, parameters and weights to the board (done when it is opened)."""
        board = self._ready()
        for part in self.manifest["memory"]["parts"]:
            name, start, size = part["name"], part["offset"], part["bytes"]
            buffer = board.allocate("program" if name.endswith("program") else name, size)
            buffer[:] = self._memory[start : start + size]
            buffer.sync_to_device()
            self._buffers[name] = buffer

    def predict(self, images: npt.ArrayLike, task: Task = 0, timeout: float | None = None) -> Ints:
        """float32 [n, C, H, W], pixels as the model was trained on -> int16 [n, outputs].

        task: its number or name, or one for every image; then the logits of a task with fewer
        outputs than another are filled up with the smallest int16. The manifest's `scale` of a
        task makes floats of its logits.
        """
        images = check_images(self.manifest["image"], images)
        tasks = task_numbers(self.tasks, task, len(images))
        outputs = [self.manifest["tasks"][own]["outputs"] for own in tasks]
        logits = np.full((len(images), max(outputs)), PADDING, np.int16)
        most = max(1, RUN_BYTES // self.manifest["programs"]["main"]["image_bytes"])
        for start in range(0, len(images), most):
            run = slice(start, start + most)
            results = self._run("main", images[run], tasks[run], timeout)
            for row, result in enumerate(results, start):
                logits[row, : outputs[row]] = result[: outputs[row]]
        return logits

    def trace(
        self, image: npt.ArrayLike, task: int | str = 0, timeout: float | None = None
    ) -> dict[str, Ints]:
        """float32 [C, H, W] -> int16 [rows, channels] of every layer by name, then `logits`."""
        images = check_images(self.manifest["image"], np.asarray(image)[None])
        (own,) = task_numbers(self.tasks, task, 1)
        (result,) = self._run("trace", images, [own], timeout)
        taps = self.manifest["programs"]["trace"]["tensors"][str(own)]
        tensors = trace_tensors(self.manifest["image"], taps, result)
        outputs = self.manifest["tasks"][own]["outputs"]
        return tensors | {"logits": np.array(result[None, :outputs])}

    def golden(self) -> dict[str, npt.NDArray[Any]]:
        """`images` to try, and what the machine must make of them: `task0/logits` and so on."""
        data = io.BytesIO(read_file(self.folder, self.manifest["golden"]))
        return dict(np.load(data, allow_pickle=False))

    def selftest(self, timeout: float | None = None) -> Report:
        """Logits of all golden images and tasks in one run, then every layer of the first image."""
        logits = self._check_logits(None, timeout)
        golden, speed, tensors = self.golden(), self._speed(), []
        for task, name in enumerate(self.tasks):
            for tensor, found in self.trace(golden["images"][0], task, timeout).items():
                expected = golden[f"task{task}/{tensor}"]
                expected = expected[:1] if tensor == "logits" else expected
                tensors.append(Check.of(f"{name}: {tensor}", expected, found))
        return Report(logits, tuple(tensors), speed)

    def counters(self) -> dict[str, Any]:
        """Of the last run: cycles, images, cycles by engine and state, clipped values by step."""
        board = self._ready()
        if not board.has_registers:
            raise DeviceError(board.no_registers)
        clipped: Counter[str] = Counter()
        for step, name in enumerate(self._program["steps"]):
            clipped[name] += board.read(self.manifest["step_clipped"] + 4 * step)
        engines = {
            engine: {what: self._get(f"{engine}_{what}") for what in ("running", "waiting", "held")}
            for engine in self.manifest["engines"]
        }
        done = {"cycles": self._get("cycles"), "images": self._get("images_done")}
        return {**done, "engines": engines, "clipped": dict(+clipped)}

    def close(self) -> None:
        """Give the device back. A second time does nothing."""
        board, self._board = self._board, None
        if board is not None and not board.idle():
            _abandoned.append(self._buffers)
        self._buffers = {}
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        m, state = self.manifest, "open" if self._board else "closed"
        return f"<{m['model']} on {m['board']}, {m['experts']} experts, {self.tasks}: {state}>"

    def _ready(self) -> Board:
        if self._board is None:
            raise DeviceError("this accelerator is closed: make a new Accelerator")
        return self._board

    def _check_hardware(self) -> None:
        text = "the bitstream holds another machine; package it with the project that it is of"
        if not self._ready().has_registers:  # then by what it computes
            if any(check.wrong for check in self._check_logits(1)):
                raise DeviceError(f"the hardware computes wrong logits: {text}")
            return
        for name, wanted in self.manifest["hardware"].items():
            if (found := self._get(name)) != wanted:
                raise DeviceError(
                    f"the hardware's {name} is 0x{found:x}, the package's 0x{wanted:x}: {text}"
                )

    def _get(self, name: str) -> int:
        register = self.manifest["registers"][name]
        words = range(register["offset"], register["offset"] + register["bits"] // 8, 4)
        return sum(self._ready().read(at) << 32 * i for i, at in enumerate(words))

    def _room(self, name: str, size: int) -> Buffer:
        if name not in self._buffers or self._buffers[name].nbytes < size:
            self._buffers[name] = self._ready().allocate(name, size)
        return self._buffers[name]

    def _run(self, which: str, images: Floats, tasks: list[int], timeout: float | None) -> Ints:
        """One run of the machine -> int16 [n, values of a result]; a fresh array."""
        board, count = self._ready(), len(images)
        if not board.idle():
            raise DeviceError("the machine is still busy with a run that was given up: close it")
        program = self._program = self.manifest["programs"][which]
        records = image_records(self.manifest["image"], images, tasks, program["image_bytes"])
        used = count * program["result_bytes"]
        inputs, results = self._room("images", records.size), self._room("results", used)
        inputs[: records.size] = records.reshape(-1)
        results[:] = UNWRITTEN
        inputs.sync_to_device()
        results.sync_to_device()
        arguments = self._buffers | {"program": self._buffers[program["part"]]}
        patience, problem = self.timeout if timeout is None else timeout, None
        if not board.run(arguments, count, patience):
            problem = f"no image finished within {patience:g} s of a run of {count}"
        elif board.has_registers and self._get("error_code"):
            problem = f"the machine gave up a run of {count} images"
        if problem:
            told = board.no_registers
            if board.has_registers:
                told = diagnosis(self._get, self.manifest, program)
            raise DeviceError(f"{problem}: {told}")
        results.sync_from_device()
        found = np.array(results[:used]).reshape(count, -1)
        lost = np.flatnonzero((found[:, :8] == UNWRITTEN).all(1))  # a beat is 8 bytes or more
        if lost.size:
            raise DeviceError(f"the results of image {lost[0]} of the run never came to the host")
        return found.view("<i2")

    def _check_logits(self, most: int | None, timeout: float | None = None) -> tuple[Check, ...]:
        golden, count = self.golden(), len(self.tasks)
        images = np.repeat(golden["images"][:most], count, 0)
        tasks = [image % count for image in range(len(images))]
        logits = self.predict(images, tasks, timeout)
        checks = []
        for task, name in enumerate(self.tasks):
            expected = golden[f"task{task}/logits"][:most]
            found = logits[task::count, : expected.shape[1]]
            checks.append(Check.of(f"{name}: logits", expected, found))
        return tuple(checks)

    def _speed(self) -> str:
        board = self._ready()
        if not board.has_registers:
            return board.no_registers
        cycles, images = self._get("cycles"), self._get("images_done")
        milliseconds = cycles / self.manifest["clock_mhz"] / 1000
        return f"{images} images in {cycles:,} cycles, {milliseconds:.3f} ms at the package's clock"
