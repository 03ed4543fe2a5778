"""Hostile files are refused by name and reason, with bounded memory and time, and run nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest

SAID = {
    "code.pt": "names posix.system, which is code and is not run",
    "eval.pt": "__builtin__.eval",
    "bytearray.pt": "bytearray",
    "bomb.pt": "archive/data.pkl is compressed",
    "liar.pt": "its members claim",
    "overflow.pt": "but its storage only 1 values",
    "broadcast.pt": "a view that repeats",
    "short.pt": "x needs 400 bytes, there are 4 bytes",
    "outside.pt": "but its storage only 1 values",
    "memo.pt": "holds no tensors",
    "hash.pt": "a key that is neither text nor number",
    "stack.pt": "holds a NoneType, not a state dict",
    "long.pt": "limit 2,097,152",
    "claim.pt": "its pickle is broken",
    "pickle4.pt": "its pickle uses STACK_GLOBAL",
    "half.pt": "is not a zip archive",
    "bare.pt": "is not a zip archive",
    "empty.pt": "is not a zip archive",
    "pipe.pt": "neither a file nor a folder",
    "header.safetensors": "declares a header of 4,611,686,018,427,387,904 bytes",
    "sparse.safetensors": "declares a header of 549,755,813,888 bytes",
    "deep.safetensors": "its header is not JSON",
    "overflow.safetensors": "is not a sound safetensors file",
    "pickle.safetensors": "declares a header",
    "depth.pt": "name 1000000000 layers, over the limit of 64",
    "digits.pt": "no part of a timm ViT/DeiT",
    "nan.pt": "blocks.0.norm1.weight (weight [24]): 24 of 24 values are NaN or infinite",
    "inf.pt": "head.bias (weight [7]): 1 of 7 values",
    "double.pt": "head.bias (weight [7]): 7 of 7 values are NaN or infinite in float32",
    "int.pt": "head.bias (weight [7]): is int64",
    "zero.pt": "which is empty",
    "cut": "l0_qkv_weight (weight [250]): must be [3*D, D] with D = 16, 768 values of 4 bytes; the "
    "file is truncated",
    "odd": "l0_qkv_weight.float32.bin: 1,001 bytes, no multiple of 4",
    "giant": "l0_qkv_weight.float32.bin: 1,099,511,627,776 bytes, over the limit",
    "large": "l0_qkv_weight (weight [536870912]): must be [3*D, D] with D = 16, 768 values of 4 "
    "bytes; the file is too long",
    "missing": "l{l}_qkv_weight (missing): missing; our blocks.0.qkv.weight is made of it",
    "fifo": "l0_qkv_weight.float32.bin: not a plain file",
    "nan": "l0_qkv_weight (weight [768]): 768 of 768 values are NaN",
    "nothing": "holds 0 files NAME.float32.bin",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process with little memory and time said of each file."""
    folder, marker = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("x") / "ran"
    hostile_files.make(folder, marker)
    program = [sys.executable, hostile_files.__file__, str(folder)]
    run = subprocess.run(program, capture_output=True, text=True, timeout=180, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert not marker.exists(), "code of a file was run"
    answers: dict[str, str] = json.loads(run.stdout)
    assert set(answers) == set(SAID)
    return answers


@pytest.mark.parametrize("name", SAID)
def test_refused(said: dict[str, str], name: str) -> None:
    assert SAID[name] in said[name]
    assert len(said[name]) < 4000


def test_the_files_would_do_harm(tmp_path: Path) -> None:
    """Python's own unpickler runs what ours only names: the test above can fail."""
    import pickle

    marker = tmp_path / "ran"
    content = hostile_files.pickled(hostile_files.Calls(Path.touch, marker))
    pickle.loads(content)  # a file of this test's own making
    assert marker.exists()
