"""Hostile ONNX is refused by name and reason, with bounded memory and time, and reads nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_onnx
import pytest

SAID = {
    "cycle": "the graph has a cycle through n_a, n_y",
    "loose": "nothing computes 'nothing'",
    "twice": "two nodes compute 'y'",
    "parent": "lie in '../secret.bin', outside the model's folder",
    "absolute": "lie in '/etc/hostname', outside the model's folder",
    "link": "lie in 'link.bin', outside the model's folder",
    "folder": "lie in '.', outside the model's folder",
    "attribute": "lie in '../secret.bin', outside the model's folder",
    "far": "w needs 16 bytes at 4,611,686,018,427,387,904 of 'near.bin', which has 64",
    "negative": "w needs 16 bytes at -8 of 'near.bin'",
    "words": "w has an offset that is no number",
    "overflow": "by their shapes, over 2,147,483,647",
    "claims": "w of shape [268435456] needs 1,073,741,824 bytes and has 4",
    "sparse": "the weights have 3,221,225,472 bytes by their shapes",
    "minus": "w: a type or shape that hwmoe does not read",
    "fill": "n_y (ConstantOfShape): would make 3,298,534,883,328 values",
    "expand": "n_y (Expand): would make 422,212,465,065,984 values",
    "tile": "n_y (Tile): would make 422,212,465,065,984 values",
    "range": "n_y (Range): would make 4,611,686,018,427,387,904 values",
    "still": "n_y (Range): does not run on [], [], []: float division by zero",
    "onehot": "n_y (OneHot): would make 422,212,465,065,984 values",
    "pads": "n_y (Conv): would make",
    "outer": "n_y (MatMul): would make 1,099,511,627,776 values",
    "einsum": "n_y (Einsum): would make 21,743,271,936 values",
    "doubling": "(Concat): would make 100,663,296 values",
    "chain": "0 LayerNorms lead to it",
    "nodes": "has 30,002 nodes; the limit is 20,000",
    "image": "images of [0, 3, 1048576, 1048576] are too large",
    "batch": "images of [1099511627776, 3, 8, 8] are too large",
    "free": "hwmoe needs images [N, C, H, W] with C, H and W fixed",
    "flat": "the input 'images' is ['N', 3]",
    "loop": "l (Loop [2, 3, 8, 8]): this operation is not supported; nearest: plain operations",
    "text": "n_y (Cast): does not run on [2, 3, 8, 8]",
    "long": "(Evil [2, 3, 8, 8]): this operation is not supported",
    "deep": "is not an ONNX file",
    "noise": "is not an ONNX file",
    "zip": "is not an ONNX file",
    "words.txt": "is not an ONNX file",
    "cut": "is not an ONNX file",
    "empty": "is not an ONNX model: it states no version of ONNX",
    "directory": "is not a file",
    "giant": "has 8,589,934,592 bytes; an ONNX file has at most 2,147,483,647",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with little memory and time said of each file."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile_onnx.write(folder)
    command = [sys.executable, str(Path(hostile_onnx.__file__)), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=5 * hostile_onnx.SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_file_is_tried(said: dict[str, Any]) -> None:
    assert said.keys() == SAID.keys()
    assert sum(seconds for _, seconds in said.values()) < hostile_onnx.SECONDS


@pytest.mark.parametrize("name", sorted(SAID))
def test_refused(said: dict[str, Any], name: str) -> None:
    text, _ = said[name]
    assert SAID[name] in text
    assert len(text) < 2000
