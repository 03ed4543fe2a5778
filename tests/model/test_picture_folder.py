"""Folders of pictures: sizes and crops as timm's, class numbers, and files of strangers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.data import images_for
from hwmoe.model.folder import open_folder
from hwmoe.model.pictures import crop_box, fitted, read_picture, scaled_size

BASE = {
    "name": "net",
    "image": (8, 8),
    "patch": (4, 4),
    "channels": 3,
    "dim": 8,
    "heads": 2,
    "depth": 1,
    "dense_hidden": 8,
    "tasks": [{"name": "kind", "classes": 2}],
}


def config(**changes: Any) -> ModelConfig:
    return ModelConfig.parse(BASE | changes, "test")


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, two pictures each, told apart by their colour."""
    for i in range(2):
        picture(tmp_path / "cat" / f"{i}.png", (250, 10 * i, 0))
        picture(tmp_path / "dog" / f"{i}.png", (0, 10 * i, 250))
    (tmp_path / "dog" / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("size", "target", "pct", "scaled", "box"),
    [
        # ImageNet's usual 500 x 375 with DeiT's 0.9: floor(224 / 0.9) = 248, int(248 * 500 / 375).
        ((375, 500), (224, 224), 0.9, (248, 330), (53, 12, 277, 236)),
        ((500, 375), (224, 224), 0.875, (341, 256), (16, 58, 240, 282)),
        ((224, 224), (224, 224), 1.0, (224, 224), (0, 0, 224, 224)),
        # Not square: the side that is relatively shorter fills its goal of 128 / 0.875 = 146.
        ((300, 900), (128, 256), 0.875, (146, 438), (91, 9, 347, 137)),
        ((300, 300), (128, 256), 0.875, (292, 292), (18, 82, 274, 210)),
    ],
)
def test_sizes_and_crops(
    size: tuple[int, int],
    target: tuple[int, int],
    pct: float,
    scaled: tuple[int, int],
    box: tuple[int, int, int, int],
) -> None:
    assert scaled_size(size, target, pct) == scaled
    assert crop_box(scaled, target) == box
    assert fitted(Image.new("RGB", size[::-1]), target, pct).size == target[::-1]


def test_the_pixels_are_those_of_pillow_bicubic(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", 3, (16, 16), 1.0)
    whole = Image.fromarray(noise).resize((21, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(whole)[:, 2:18])
    grey = read_picture(tmp_path / "a.png", 1, (16, 16), 1.0)
    assert grey.shape == (1, 16, 16)


def test_class_folders(folder: Path) -> None:
    found = images_for(config(), str(folder))
    assert found.test.shape == found.calibration.shape == (4, 3, 8, 8)
    assert found.test.dtype == np.float32
    assert found.labels is not None
    assert found.labels["kind"].tolist() == [0, 0, 1, 1]
    assert np.allclose(found.test[:, 0].mean((1, 2)), np.array([250, 250, 0, 0]) / 255)
    few = images_for(config(), str(folder), limit=2)
    assert few.labels is not None
    assert few.labels["kind"].tolist() == [0, 1]


def test_train_and_val(folder: Path) -> None:
    whole = folder / "whole"
    for part, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            for i in range(count):
                picture(whole / part / name / f"{i}.jpg", (0, 0, 0))
    train, test = open_folder(whole, config())
    assert (len(train), len(test)) == (6, 2)
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1]


def test_a_class_map_and_a_task(folder: Path) -> None:
    two = config(tasks=[{"name": "kind", "classes": 3}, {"name": "mood", "classes": 2}])
    found = images_for(two, str(folder))
    assert found.labels is None
    assert "labels unknown" in found.source
    (folder / "images.toml").write_text('classes = ["dog", "cow", "cat"]\ntask = "kind"')
    found = images_for(two, str(folder))
    assert found.labels is not None
    assert found.labels["kind"].tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('classes = ["dog"]', r"(?s)folder 'cat' is not among.*1 classes, but task 'kind' has 2"),
        ('task = "mood"', "no task 'mood'; the model has kind"),
        ("crop_pct = 3", "crop_pct: .*less than or equal to 1"),
        ("crop = 3", "crop: Extra inputs"),
        ("=", "not valid TOML"),
    ],
)
def test_a_wrong_class_map_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "images.toml").write_text(text)
    with pytest.raises(HwmoeError, match=message):
        images_for(config(), str(folder))


def test_what_leaves_the_classes_open_is_refused(folder: Path) -> None:
    with pytest.raises(HwmoeError, match=r"2 classes, but task 'kind' has 3.*images\.toml"):
        images_for(config(tasks=[{"name": "kind", "classes": 3}]), str(folder))
    picture(folder / "cat10" / "a.png", (0, 0, 0))
    picture(folder / "cat9" / "a.png", (0, 0, 0))
    with pytest.raises(HwmoeError, match="torchvision and timm number these classes differently"):
        images_for(config(tasks=[{"name": "kind", "classes": 4}]), str(folder))
    with pytest.raises(HwmoeError, match="pictures have 1 or 3 channels"):
        images_for(config(channels=2), str(folder))
    (folder / "empty").mkdir()
    with pytest.raises(HwmoeError, match="holds no pictures"):
        images_for(config(), str(folder / "empty"))


def bomb(path: Path, side: int) -> None:
    """A PNG of a few bytes that claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_files_of_strangers_are_named_in_one_report(folder: Path) -> None:
    bomb(folder / "cat" / "bomb.png", 60_000)
    bomb(folder / "cat" / "large.png", 10_000)  # Pillow only warns of this one
    bomb(folder / "dog" / "short.png", 30)
    (folder / "dog" / "text.jpg").write_text("no picture at all")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(folder / "dog" / "deep.png")
    Image.new("RGB", (1, 40_000)).save(folder / "dog" / "strip.png")
    Image.new("RGB", (9, 9)).save(folder / "dog" / "disguise.png", format="GIF")
    wide = config(image=(256, 256), patch=(16, 16))
    with pytest.raises(HwmoeError) as error:
        images_for(wide, str(folder))
    lines = {line.split(":")[0].strip(): line for line in str(error.value).splitlines()[1:]}
    assert set(lines) == {
        "cat/bomb.png",
        "cat/large.png",
        "dog/short.png",
        "dog/text.jpg",
        "dog/deep.png",
        "dog/strip.png",
        "dog/disguise.png",
    }
    assert "may be an attack" in lines["cat/bomb.png"]
    assert "may be an attack" in lines["cat/large.png"]
    assert "cannot be decoded" in lines["dog/short.png"]
    assert "not a picture of a kind" in lines["dog/text.jpg"]
    assert "more than 8 bits" in lines["dog/deep.png"]
    assert "are no picture" in lines["dog/strip.png"]
    assert "not a picture of a kind" in lines["dog/disguise.png"]


def test_more_than_memory_holds_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwmoe.model.folder_pixels.MAX_BYTES", 2000)
    with pytest.raises(HwmoeError, match=r"4 pictures of 768 bytes.*at most 2 with --count"):
        images_for(config(), str(folder))
    assert len(images_for(config(), str(folder), limit=2).test) == 2
