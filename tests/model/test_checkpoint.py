"""Checkpoints: the round trip, and a clear message for every file that is not one."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.checkpoint import load_checkpoint, save_checkpoint
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import seeded_model

CONFIG = ModelConfig.parse(
    {
        "name": "small",
        "image": (4, 4),
        "patch": (2, 2),
        "channels": 1,
        "dim": 8,
        "heads": 2,
        "depth": 2,
        "dense_hidden": 6,
        "moe_layers": (1,),
        "experts": 3,
        "top_k": 2,
        "expert_hidden": 4,
        "tasks": [{"name": "a", "classes": 3}],
        "pixel_std": (0.5,),
    },
    "test",
)
METADATA = {"hwmoe.format": "1", "hwmoe.config": CONFIG.model_dump_json()}


@pytest.fixture
def model() -> MoEViT:
    return seeded_model(CONFIG, seed=1)


def fails(path: Path) -> str:
    with pytest.raises(HwmoeError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def edited(path: Path, model: MoEViT, edit: Callable[[dict[str, Tensor]], None]) -> Path:
    """A checkpoint whose tensors were changed in place by ``edit``."""
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    edit(tensors)
    save_file(tensors, path, metadata=METADATA)
    return path


def test_round_trip(tmp_path: Path, model: MoEViT) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model)
    loaded = load_checkpoint(str(path))
    assert loaded.config == CONFIG
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(loaded(x), model(x))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert all(p.requires_grad for p in loaded.parameters())


def test_bytes_are_the_same_every_time(tmp_path: Path, model: MoEViT) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_checkpoint(first, model)
    save_checkpoint(second, load_checkpoint(first))
    assert first.read_bytes() == second.read_bytes()
    header = json.loads(first.read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    assert list(header["__metadata__"]) == ["hwmoe.config", "hwmoe.format"]
    assert set(load_file(first)) == set(model.state_dict())


def test_half_precision_is_read_as_float32(tmp_path: Path, model: MoEViT) -> None:
    def halve(tensors: dict[str, Tensor]) -> None:
        tensors.update({k: v.half() for k, v in tensors.items()})

    loaded = load_checkpoint(edited(tmp_path / "m.safetensors", model, halve))
    assert {v.dtype for v in loaded.state_dict().values()} == {torch.float32}


def test_a_failed_write_leaves_nothing(tmp_path: Path, model: MoEViT) -> None:
    with pytest.raises(HwmoeError, match="cannot be written"):
        save_checkpoint(tmp_path / "nowhere" / "m.safetensors", model)
    (tmp_path / "folder").mkdir()
    with pytest.raises(HwmoeError, match="cannot be written"):
        save_checkpoint(tmp_path / "folder", model)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "does not exist" in fails(tmp_path / "none.safetensors")
    assert "is a folder" in fails(tmp_path)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert "is empty" in fails(empty)


class Trap:
    """Unpickling this would end the test run."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.exit, ("the checkpoint was unpickled",))


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_recognised(tmp_path: Path, model: MoEViT, zipped: bool) -> None:
    path = tmp_path / "m.safetensors"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert "save_checkpoint" in fails(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_never_loaded(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps(Trap(), protocol))
    assert "pickled PyTorch file" in fails(path)


@pytest.mark.parametrize(
    "content", [b"x", b"hello, this is text" * 9, b"\x10" + b"\0" * 7 + b"{]" * 8, b"\xff" * 64]
)
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert "not a sound safetensors file" in fails(path)


def test_every_truncation_is_refused(tmp_path: Path, model: MoEViT) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model)
    whole = path.read_bytes()
    for size in [*range(1, 40), 1000, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert "not a sound safetensors file" in fails(path)


def test_foreign_safetensors_and_wrong_metadata(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    weights = {"w": torch.zeros(2)}
    save_file(weights, path)
    assert "without a hwmoe configuration" in fails(path)
    save_file(weights, path, metadata=METADATA | {"hwmoe.format": "2"})
    assert "format '2'" in fails(path)
    save_file(weights, path, metadata=METADATA | {"hwmoe.config": "{"})
    assert "is not JSON" in fails(path)
    for text in ("[]", "null", '{"name": "x"}'):
        save_file(weights, path, metadata=METADATA | {"hwmoe.config": text})
        assert "is not valid" in fails(path)


def test_all_tensor_problems_at_once(tmp_path: Path, model: MoEViT) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        del tensors["norm.bias"], tensors["blocks.1.moe.gate"]
        tensors["cls_token"] = torch.zeros(9)
        tensors["head.weight"] = torch.zeros(3, 8)
        tensors["pos_embed"] = torch.zeros(5, 8, dtype=torch.int8)
        tensors["norm.weight"][3] = torch.nan
        tensors["norm.weight"][5] = torch.inf
        tensors["blocks.1.moe.fc1.weight"][2, 1, 4] = -torch.inf

    message = fails(edited(tmp_path / "m.safetensors", model, spoil))
    for line in (
        "norm.bias: missing, must be [8]",
        "blocks.1.moe.gate: missing, must be [1, 3, 8]",
        "cls_token: shape [9], must be [8]",
        "head.weight: not part of this model; remove it",
        "pos_embed: dtype int8, must be a float (use float32)",
        "norm.weight: 2 of 8 values are NaN or infinite, the first at [3]",
        "blocks.1.moe.fc1.weight: 1 of 96 values are NaN or infinite, the first at [2, 1, 4]",
    ):
        assert re.search(rf"^  {re.escape(line)}$", message, re.MULTILINE), line
    assert len(message.splitlines()) == 8


def test_double_beyond_float32_is_refused(tmp_path: Path, model: MoEViT) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["cls_token"] = torch.full((8,), 1e300, dtype=torch.float64)

    assert "cls_token: 8 of 8" in fails(edited(tmp_path / "m.safetensors", model, spoil))
