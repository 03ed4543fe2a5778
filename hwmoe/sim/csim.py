"""The HLS C++ under g++: build it once, run programs and single kernel commands from Python.

A library keeps its memories in static arrays, as the hardware does: one CSim serves one thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmoe.codegen.hls import CSIM_SOURCES, trace_spaces
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.image import IMAGE_HEADER
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import Beats, pad_to
from hwmoe.process import run_tool
from hwmoe.quant.numerics import IntArray
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.kernel_cases import (
    SHORT,
    AttentionOp,
    LinearOp,
    attention_case,
    linear_case,
    widths_of,
)
from hwmoe.sim.streams import StreamCase, StreamResult

NO_IMAGE, ALL_IMAGES = -1, -2
_FLAGS = (
    "-std=c++14", "-O3", "-march=native", "-shared", "-fPIC", "-DHWMOE_CSIM",
    # Loops over lanes have to stay whole until they are vectorized; g++ would unroll them first.
    "--param=max-completely-peel-times=3", "-mprefer-vector-width=512", "-fno-loop-interchange",
    "-fno-loop-unroll-and-jam",
)  # fmt: skip
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wno-unknown-pragmas")
_MESSAGE_BYTES = 500

ExpertLists = list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]
"""(rows, scores) of every expert."""


@dataclass(frozen=True, eq=False)
class TraceRecord:
    """What one instruction wrote for one image.

    `space` is a memory ("act8", "heads", "res", "y"): `values` int32 [words, t_in] from word
    `base` on. Or "lists", after a gate: `lists` holds rows and scores of every expert in table
    `base`.
    """

    image: int
    step: int
    space: str
    base: int
    values: npt.NDArray[np.int32]
    lists: ExpertLists = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class CSimResult:
    """logits int16 [images, values], with zeros after those of the image's task; saturations
    uint32 [steps], summed over all images."""

    logits: npt.NDArray[np.int16]
    saturations: npt.NDArray[np.uint32]
    trace: list[TraceRecord]
    seconds: float


def build(
    files: Mapping[str, str], build_dir: Path, flags: Sequence[str] = (), timeout: float = 300.0
) -> Path:
    """Compile a rendered project into a shared library, or find it built already."""
    command = ["g++", *_FLAGS, *WARNINGS, *flags, "-Icsim", "-I."]
    compiler = run_tool(["g++", "-march=native", "-Q", "--help=target", "--version"], timeout=60)
    parts = [compiler, *command, *(part for item in sorted(files.items()) for part in item)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = build_dir.resolve() / f"csim-{digest}"
    library = folder / "hwmoe_csim.so"
    if not library.exists():
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        beside = folder / f"hwmoe_csim.{os.getpid()}.tmp"
        compile_ = [*command, "-fmax-errors=5", *CSIM_SOURCES, "-o", str(beside)]
        try:
            run_tool(compile_, cwd=folder, timeout=timeout)
            beside.replace(library)
        finally:
            beside.unlink(missing_ok=True)
    return library


class CSim:
    """One accelerator's HLS, compiled with g++ (`files` as made by `codegen.hls.hls_files`)."""

    def __init__(
        self,
        files: Mapping[str, str] | Path,
        acc: AcceleratorConfig,
        build_dir: Path,
        flags: Sequence[str] = (),
    ) -> None:
        self.acc = acc
        texts = _read_project(files) if isinstance(files, Path) else files
        self.library = build(texts, build_dir, flags)
        self._lib = ctypes.CDLL(str(self.library))
        self._lib.hwmoe_csim_trace.restype = ctypes.c_int64

    def run(
        self,
        program: IntArray,
        params: IntArray,
        weights: Beats,
        images: IntArray,
        tasks: Sequence[int],
        trace: int = NO_IMAGE,
        seed: int = 0,
    ) -> CSimResult:
        """Run int32 [1 + steps, 16] instructions on int8 images [n, words, t_in] and their tasks.

        params int32, weights uint8 [beats, bytes]. `trace` is the image whose results are
        recorded after every instruction, or ALL_IMAGES. Engines that are ready are served in
        the order of their numbers, or with another `seed` in a random one.
        """
        rows = _array(program, np.int32)
        loop = self._check(rows, weights, images)
        values = pad_to(_array(params, np.int32), 0, IMAGE_HEADER // 4)
        records = _records(_array(images, np.int8), tasks, loop["image_bytes"])
        results = np.zeros((len(images), loop["logit_bytes"] // 2), np.int16)
        saturations = np.full(len(rows) - 1, 0xDEAD, np.uint32)  # the machine clears them
        ports = self._ports(_array(weights, np.uint8))
        start = time.perf_counter()
        self._call(
            "hwmoe_csim_run",
            _pointer(rows), _pointer(values), ctypes.c_int64(values.size),
            _pointer(ports), ctypes.c_int64(len(weights)),
            _pointer(records), ctypes.c_int64(records.nbytes), ctypes.c_int32(len(images)),
            _pointer(results), ctypes.c_int64(results.nbytes),
            _pointer(saturations), ctypes.c_int32(trace), ctypes.c_uint32(seed),
        )  # fmt: skip
        seconds = time.perf_counter() - start
        return CSimResult(results, saturations, list(self._trace()), seconds)

    def _ports(self, weights: Beats) -> Beats:
        """[beats, bytes] -> [ports, beats, bytes]: what lies behind each of the weight ports."""
        count = self.acc.ports.w_ports
        split = weights.reshape(len(weights), count, weights.shape[1] // count)
        return np.ascontiguousarray(split.transpose(1, 0, 2))

    def linear(self, ops: Sequence[LinearOp]) -> list[tuple[IntArray, int]]:
        """Commands back to back on the linear kernel: int16 [n_list, N] and clipped values."""
        cfg = self.acc.linear
        return self._ops("linear", cfg, linear_case(cfg, "csim", list(ops)), ops)

    def attention(self, ops: Sequence[AttentionOp]) -> list[tuple[IntArray, int]]:
        """Commands on the attention kernel: int8 [heads, T, head_dim] and clipped values."""
        cfg = self.acc.attention
        return self._ops("attention", cfg, attention_case(cfg, "csim", list(ops)), ops)

    def _ops(
        self, kernel: str, cfg: Any, case: StreamCase, ops: Sequence[Any]
    ) -> list[tuple[IntArray, int]]:
        outputs = self.streams(kernel, case).outputs
        beats, status = outputs[f"m_axis_{SHORT[kernel]}"], outputs["m_axis_status"]
        ends = np.cumsum([op.output_beats(cfg) for op in ops])[:-1]
        results = [
            op.decode(cfg, np.ascontiguousarray(part))
            for op, part in zip(ops, np.split(beats, ends), strict=True)
        ]
        return list(zip(results, status.view("<u4").reshape(-1).tolist(), strict=True))

    def streams(self, kernel: str, case: StreamCase) -> StreamResult:
        """One case of the RTL benches on the HLS kernel, "linear" or "attention"; no cycles."""
        inputs, outputs = widths_of(kernel, self.acc)
        beats = [_array(case.inputs[f"s_axis_{port}"], np.uint8) for port in inputs]
        results = {
            f"m_axis_{port}": np.zeros((case.outputs[f"m_axis_{port}"], width), np.uint8)
            for port, width in outputs.items()
        }
        everything = [*beats, *results.values()]
        pointers = (ctypes.c_void_p * len(everything))(*(a.ctypes.data for a in everything))
        counts = (ctypes.c_int64 * len(everything))(*(len(a) for a in everything))
        start = time.perf_counter()
        self._call(f"hwmoe_csim_{kernel}", pointers, counts)
        return StreamResult(results, {}, 0, time.perf_counter() - start)

    def _call(self, function: str, *arguments: object) -> None:
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        code = self._lib[function](*arguments, message, ctypes.c_int32(_MESSAGE_BYTES))
        if code != 0:
            text = message.value.decode(errors="replace")
            raise SimulationFault(f"C simulation of the HLS: {text}")

    def _check(self, program: IntArray, weights: Beats, images: IntArray) -> dict[str, int]:
        """Shapes fit the program; the fields of its `loop`."""
        isa, cfg = instruction_set(), self.acc.linear
        if program.ndim != 2 or program.shape[1] != isa.words:
            raise HwmoeError(f"a program is int32 [n, {isa.words}], not {list(program.shape)}")
        if weights.ndim != 2 or weights.shape[1] != cfg.t_in * cfg.w_rows:
            raise HwmoeError(f"weights come in beats of {cfg.t_in * cfg.w_rows} bytes")
        op, loop = isa.decode(program[0]) if len(program) else ("", {})
        if op != "loop" or loop["steps"] != len(program) - 1:
            raise HwmoeError("a program starts with `loop` and the number of its other steps")
        if images.ndim != 3 or images.shape[2] != cfg.t_in:
            raise HwmoeError(f"images come in words of {cfg.t_in} values")
        room = loop["image_bytes"] - IMAGE_HEADER
        size = images.shape[1] * images.shape[2]
        if size > room:
            raise HwmoeError(f"images of {size} bytes do not fit the program's {room}")
        return loop

    def _trace(self) -> Iterator[TraceRecord]:
        """Parse the records of the last run."""
        start = ctypes.POINTER(ctypes.c_int32)()
        size = self._lib.hwmoe_csim_trace(ctypes.byref(start))
        if not size:
            return
        data = np.ctypeslib.as_array(start, (size,)).copy()
        at, lanes = 0, self.acc.linear.t_in
        names = {number: name for name, number in trace_spaces().items()}
        while at < size:
            image, step, space, base, words = data[at : at + 5].tolist()
            at += 5
            name = names[space]
            size_ = words if name == "lists" else words * lanes
            values = data[at : at + size_]
            at += size_
            if name == "lists":
                yield TraceRecord(image, step, name, base, values, _lists(values))
            else:
                yield TraceRecord(image, step, name, base, values.reshape(words, lanes))


def _records(
    images: npt.NDArray[np.int8], tasks: Sequence[int], record: int
) -> npt.NDArray[np.uint8]:
    """Images as they lie in memory: uint8 [n, record], the task in front."""
    records = np.zeros((len(images), record), np.uint8)
    records[:, :4] = np.array(tasks, "<i4").reshape(len(images), 1).view(np.uint8)
    flat = images.reshape(len(images), -1).view(np.uint8)
    records[:, IMAGE_HEADER : IMAGE_HEADER + flat.shape[1]] = flat
    return records


def _lists(values: npt.NDArray[np.int32]) -> ExpertLists:
    lists: ExpertLists = []
    at = 0
    while at < len(values):
        n = int(values[at])
        lists.append((values[at + 1 : at + 1 + n], values[at + 1 + n : at + 1 + 2 * n]))
        at += 1 + 2 * n
    return lists


def _read_project(folder: Path) -> dict[str, str]:
    """The files of a project on disk, by name below it."""
    if not folder.is_dir():
        raise HwmoeError(f"{folder} is no folder: give the folder of the rendered HLS project")
    found = [p for p in sorted(folder.rglob("*")) if p.suffix in {".h", ".hpp", ".cpp"}]
    return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in found}


def _array(values: npt.NDArray[Any], dtype: type[np.integer[Any]]) -> npt.NDArray[Any]:
    """Contiguous, with the exact type; a value that does not fit is an error."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.dtype != values.dtype and not np.array_equal(array, values):
        raise HwmoeError(f"values of {values.dtype} do not fit {np.dtype(dtype)}")
    return array


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
