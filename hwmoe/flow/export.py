"""`hwmoe export`: a quantized model as ONNX, with onnxruntime as witness that it is the same."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from hwmoe.codegen.folder import MARKER
from hwmoe.codegen.project import QUANTIZED
from hwmoe.errors import HwmoeError
from hwmoe.model.data import images_for
from hwmoe.quant.onnx.export import save_onnx
from hwmoe.quant.onnx.witness import witness
from hwmoe.quant.quantized import QuantizedModel

Result = dict[str, Any]
IMAGES = 64


def export_file(source: Path, out: Path, images: str | None, count: int | None) -> Result:
    """Write the quantized model of a project, or of a file, and compare it with the integers."""
    if out.suffix != ".onnx" or out.is_dir():
        raise HwmoeError(f"{out}: give --out the name of an .onnx file")
    if not out.absolute().parent.is_dir():
        raise HwmoeError(f"{out}: the folder {out.parent} does not exist")
    if source.is_dir() and not (source / MARKER).is_file():
        raise HwmoeError(f"{source}: not a project of hwmoe; `hwmoe generate` makes one")
    model = QuantizedModel.load(source / QUANTIZED if source.is_dir() else source)
    found = images_for(model.config, images)
    save_onnx(model, out)
    compared = witness(model, out, found.test[: count or IMAGES])
    return {
        "file": str(out),
        "bytes": out.stat().st_size,
        "images": found.source,
        "tasks": [asdict(entry) for entry in compared],
    }


def show_export(result: Result, console: Console) -> None:
    console.print(f"{result['file']}: {result['bytes']:,} bytes", soft_wrap=True, markup=False)
    for row in result["tasks"]:
        console.print(
            f"{row['task']}: onnxruntime gives the integer reference's answer for "
            f"{row['same_answer']:.1%} of {row['images']} images ({result['images']}); "
            f"logits differ by {row['rms_error']:.2%} (RMS), at most {row['max_error']:.1%} of "
            "the largest",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
