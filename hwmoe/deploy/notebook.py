"""A Jupyter notebook from text with `# %%` between its cells."""

from __future__ import annotations

import json
import re
from typing import Any

_CELL = re.compile(r"^# %%(?P<markdown> \[markdown\])?$", re.MULTILINE)


def notebook(text: str) -> str:
    """nbformat 4.5 JSON. A cell `# %% [markdown]` has `# ` in front of each line."""
    marks = list(_CELL.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    cells = [
        _cell(number, text[mark.end() : end].strip("\n"), bool(mark["markdown"]))
        for number, (mark, end) in enumerate(zip(marks, ends, strict=True))
    ]
    data = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(data, indent=1) + "\n"


def _cell(number: int, text: str, markdown: bool) -> dict[str, Any]:
    lines = text.splitlines(keepends=True)
    if markdown:
        lines = [re.sub(r"^# ?", "", line) for line in lines]
    kind = "markdown" if markdown else "code"
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines}
    return cell if markdown else cell | {"execution_count": None, "outputs": []}
