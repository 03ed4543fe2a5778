"""What the machine must make of some images: the integer reference, kept with the package."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.plan.trace import TraceProgram
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference

Arrays = dict[str, npt.NDArray[np.generic]]
WHEN = (1980, 1, 1, 0, 0, 0)  # of files in archives, so that equal content is equal bytes


def golden_arrays(
    model: QuantizedModel, trace: TraceProgram, images: npt.NDArray[np.float32]
) -> Arrays:
    """`images` float32 [n, C, H, W]; for each task t `task<t>/logits` int16 [n, outputs] and, of
    image 0, `task<t>/<tensor>` int16 [rows, channels] of every traced tensor."""
    patches = model.quantize_images(images)
    arrays: Arrays = {"images": images.astype(np.float32)}
    for task, taps in trace.tensors.items():
        arrays[f"task{task}/logits"] = run_reference(model, patches, task).logits
        tensors = run_reference(model, patches[:1], task, trace=True).trace
        assert tensors is not None
        for tap in taps:
            found = tensors[tap.name].reshape(-1, tensors[tap.name].shape[-1])
            if found.shape != (tap.rows, tap.channels):
                raise HwmoeError(
                    f"{tap.name}: traced as {tap.rows} x {tap.channels}, the model has "
                    f"{found.shape[0]} x {found.shape[1]}; the project is of another model"
                )
            arrays[f"task{task}/{tap.name}"] = found.astype(np.int16)
    return arrays


def npz_bytes(arrays: Arrays) -> bytes:
    """What `numpy.load` reads, compressed; the same bytes for the same arrays."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            data = io.BytesIO()
            np.save(data, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", WHEN), data.getvalue())
    return out.getvalue()
