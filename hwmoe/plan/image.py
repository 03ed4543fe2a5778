"""What lies in off-chip memory: program, parameters, weights a port, image records, results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.plan.packing import Ints, pack_activations
from hwmoe.plan.program import Program

IMAGE_HEADER = 64
"""Bytes in front of an image's words: its task in the first four."""

RESULT_ALIGN = 64
"""Tensors in the results start at a multiple of so many bytes, the widest beat of a memory port."""

Bytes = npt.NDArray[np.uint8]


def image_words(program: Program, patches: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """int8 patches [N, patches, K] -> [N, image_words, t_in], tile-major."""
    lanes = program.accelerator.linear.t_in
    words = [pack_activations(image, lanes).view(np.int8) for image in patches]
    return np.array(words, np.int8).reshape(len(patches), program.image_words, lanes)


def constant_parts(program: Program) -> dict[str, Bytes]:
    """Pointer register -> bytes: program, params and weights_p of every port."""
    width = program.accelerator.ports.port_bits // 8
    parts = {"program": _bytes(program.encode()), "params": _bytes(program.params)}
    for port in range(program.accelerator.ports.w_ports):
        stripe = program.weights[:, width * port : width * (port + 1)]
        parts[f"weights_{port}"] = _bytes(stripe)
    return parts


def image_records(program: Program, patches: npt.NDArray[np.int8], tasks: Sequence[int]) -> Bytes:
    """Records of int8 patches [N, patches, K], a task an image; `HwmoeError`: no such task."""
    if len(tasks) != len(patches):
        raise HwmoeError(f"{len(patches)} images need as many tasks, not {len(tasks)}")
    wrong = [task for task in tasks if not 0 <= task < len(program.outputs)]
    if wrong:
        raise HwmoeError(f"the model has tasks 0 to {len(program.outputs) - 1}, not {wrong[0]}")
    records = np.zeros((len(patches), program.loop["image_bytes"]), np.uint8)
    records[:, :4] = np.array(tasks, "<u4").reshape(-1, 1).view(np.uint8)
    size = program.image_words * program.accelerator.linear.t_in
    words = image_words(program, patches).reshape(len(patches), size).view(np.uint8)
    records[:, IMAGE_HEADER : IMAGE_HEADER + size] = words
    return records.reshape(-1)


def result_bytes(program: Program, images: int) -> int:
    """Room for the results of so many images."""
    return images * program.loop["logit_bytes"]


def read_logits(program: Program, results: Bytes, tasks: Sequence[int]) -> list[Ints]:
    """int16 logits of each image from the bytes of the results."""
    rows = results.reshape(len(tasks), program.loop["logit_bytes"])
    return [
        row[: 2 * program.outputs[task]].copy().view("<i2")
        for row, task in zip(rows, tasks, strict=True)
    ]


def _bytes(values: Ints) -> Bytes:
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.uint8)
