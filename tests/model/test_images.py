"""Image sources: the digits split, synthetic fields and users' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.data import (
    digits_images,
    digits_train,
    images_for,
    load_images,
    synthetic_images,
)

DIGITS = {
    "name": "digits",
    "image": (8, 8),
    "patch": (2, 2),
    "channels": 1,
    "dim": 8,
    "heads": 2,
    "depth": 1,
    "dense_hidden": 8,
    "tasks": [{"name": "digit", "classes": 10}, {"name": "parity", "classes": 2}],
}


def config(**changes: Any) -> ModelConfig:
    return ModelConfig.parse(DIGITS | changes, "test")


def test_digits_split() -> None:
    images = digits_images()
    train, labels = digits_train()
    assert train.shape == images.calibration.shape == (1437, 1, 8, 8)
    assert images.test.shape == (360, 1, 8, 8)
    assert train.dtype == images.test.dtype == np.float32
    assert images.test.min() == 0
    assert images.test.max() == 1
    assert images.labels is not None
    assert set(images.labels) == set(labels) == {"digit", "parity"}
    assert np.array_equal(images.labels["parity"], images.labels["digit"] % 2)
    assert np.bincount(images.labels["digit"]).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert images.labels["digit"].dtype == np.int64
    seen = {image.tobytes() for image in train}
    assert not any(image.tobytes() in seen for image in images.test)


def test_digits_cannot_be_changed_by_a_caller() -> None:
    digits_images().test[:] = 5
    assert digits_images().test.max() == 1


@pytest.mark.parametrize(
    ("shape", "patch"), [((1, 8, 8), (2, 2)), ((3, 128, 256), (16, 16)), ((2, 1, 5), (1, 1))]
)
def test_synthetic_images(shape: tuple[int, int, int], patch: tuple[int, int]) -> None:
    c = config(name="x", channels=shape[0], image=shape[1:], patch=patch)
    images = synthetic_images(c, 4, seed=3)
    assert images.shape == (4, *shape)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.array_equal(images, synthetic_images(c, 4, seed=3))
    assert not np.array_equal(images, synthetic_images(c, 4, seed=4))
    assert not np.array_equal(images[0], images[1])


def test_synthetic_images_are_smooth_but_not_flat() -> None:
    c = config(name="x", channels=3, image=(64, 128), patch=(16, 16))
    images = synthetic_images(c, 4, seed=0)
    assert images.std(axis=(1, 2, 3)).min() > 0.05
    step = np.abs(np.diff(images, axis=3)).mean()
    far = np.abs(images[..., 40:] - images[..., :-40]).mean()
    assert step < far / 4
    assert step > 0.002
    same = np.corrcoef(images[:, 0].ravel(), images[:, 1].ravel())[0, 1]
    assert 0.5 < same < 0.999


def test_images_for_picks_a_source(tmp_path: Path) -> None:
    assert images_for(config()).source == "scikit-learn digits"
    only = images_for(config(tasks=[{"name": "parity", "classes": 2}]))
    assert only.labels is not None
    assert set(only.labels) == {"parity"}
    fields = images_for(config(name="other"), calibration=3, test=2, seed=1)
    assert (len(fields.calibration), len(fields.test), fields.labels) == (3, 2, None)
    assert images_for(config(image=(16, 16))).test.shape[1:] == (1, 16, 16)
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((5, 1, 8, 8), np.uint8))
    assert images_for(config(), str(path)).source == str(path)


def test_user_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    pixels = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    calibration = np.full((4, 3, 4, 5), 0.5, np.float32)
    np.savez(path, images=pixels, calibration=calibration, labels_a=np.array([1, 0], np.uint8))
    images = load_images(path)
    assert images.test.dtype == np.float32
    assert np.allclose(images.test, pixels / 255)
    assert np.array_equal(images.calibration, calibration)
    assert images.labels is not None
    assert images.labels["a"].tolist() == [1, 0]
    assert images.labels["a"].dtype == np.int64
    np.savez_compressed(path, images=pixels)
    images = load_images(str(path))
    assert images.labels is None
    assert np.array_equal(images.calibration, images.test)


GOOD = np.zeros((2, 1, 8, 8), np.float32)
NAN = np.where(np.arange(128).reshape(2, 1, 8, 8) == 77, np.nan, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": GOOD}, r"no array 'images' .* holds: pixels"),
        ({}, "holds: nothing"),
        ({"images": GOOD.astype(np.float64)}, "images: dtype float64"),
        ({"images": GOOD[0]}, r"images: shape \[1, 8, 8\]"),
        ({"images": GOOD[:0]}, r"images: shape \[0, 1, 8, 8\]"),
        ({"images": NAN}, r"images: 1 values are NaN or infinite, the first at \[1, 0, 1, 5\]"),
        ({"images": np.array([{}, {}])}, "Object arrays cannot be loaded"),
        ({"images": GOOD, "label": GOOD}, r"unknown arrays \['label'\]"),
        ({"images": GOOD, "labels_digit": np.zeros(3, int)}, "3 labels for 2 images"),
        ({"images": GOOD, "labels_digit": np.zeros(2)}, "labels_digit: float64"),
        ({"images": GOOD, "labels_digit": np.array([0, -1])}, "negative label"),
        ({"images": GOOD, "calibration": GOOD[..., :4]}, r"images are \[1, 8, 4\]"),
        ({"images": GOOD[..., :4]}, r"images are \[1, 8, 4\], the model takes \[1, 8, 8\]"),
        ({"images": GOOD, "labels_x": np.zeros(2, int)}, "no such task; .* digit, parity"),
        ({"images": GOOD, "labels_parity": np.array([0, 2])}, r"label 2, .* 2 classes \(0 to 1\)"),
    ],
)
def test_wrong_user_files(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    with pytest.raises(HwmoeError, match=message) as caught:
        images_for(config(), str(path))
    assert "x.npz" in str(caught.value)


def test_several_problems_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=NAN, calibration=GOOD[0], labels_digit=np.zeros(5, int))
    with pytest.raises(HwmoeError) as caught:
        load_images(path)
    assert len(str(caught.value).splitlines()) == 4


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(HwmoeError, match="does not exist"):
        load_images(path)
    with pytest.raises(HwmoeError, match="is a folder"):
        load_images(tmp_path)
    for content in (b"", b"text", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(HwmoeError, match=r"not an \.npz file"):
            load_images(path)


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    noise = np.random.default_rng(0).integers(0, 255, (4, 1, 8, 8)).astype(np.uint8)
    np.savez_compressed(path, images=noise)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            load_images(path)
        except HwmoeError:
            continue
