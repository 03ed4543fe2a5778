"""`hwmoe export` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_command(
    source: Annotated[
        Path,
        typer.Argument(metavar="PROJECT|FILE", help="A project, or a file written by `quantize`."),
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write (.onnx).")],
    images: Annotated[
        str | None, typer.Option("--images", help=".npz of images to compare on.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Images to compare on; 64.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the quantized model as ONNX (QDQ), and compare it in onnxruntime with the integers."""
    from hwmoe.cli import finish
    from hwmoe.flow.export import export_file, show_export

    result = export_file(source, out, images, count)
    finish(result, as_json, lambda console: show_export(result, console))
