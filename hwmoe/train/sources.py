"""Where training images come from: the digits, a user's ``.npz``, or a folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.data import check_images, digits_images, digits_train, load_images
from hwmoe.model.folder import Pictures, open_folder, unusable
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.train.data import ArrayPixels, Labelled, held_out

HELD_OUT = 0.1


def training_data(
    config: ModelConfig,
    spec: str | None,
    validation: str | None,
    seed: int,
    progress: Progress = no_progress,
) -> tuple[Labelled, Labelled]:
    """Images to train on and images to measure on, with labels for every task of the model.

    ``spec`` None is the digits data, if the model is for it. ``validation`` None: the folder's own
    `val`, or a tenth of the images, held out by ``seed``. Raises `HwmoeError` for what does not
    fit.
    """
    test: Labelled | None
    if spec is None:
        if config.name != "digits" or (config.channels, *config.image) != (1, 8, 8):
            raise HwmoeError(
                f"model {config.name!r} has no data of its own: give --data a folder or an .npz"
            )
        train, test = _digits()
    elif os.path.isdir(spec):
        train, test = _folder(config, Path(spec), progress)
    else:
        train, test = _npz(config, spec), None
    if validation is not None:
        test = _measured(config, validation, progress)
    if test is None:
        train, test = held_out(train, HELD_OUT, seed)
    train.targets(config)
    test.targets(config)
    return train, test


def _digits() -> tuple[Labelled, Labelled]:
    images, labels = digits_train()
    test = digits_images()
    assert test.labels is not None
    train = Labelled(ArrayPixels(images), labels, f"{test.source}, training part")
    return train, Labelled(ArrayPixels(test.test), test.labels, f"{test.source}, test part")


def _npz(config: ModelConfig, spec: str) -> Labelled:
    """``images`` and ``labels_TASK`` of a file; its ``calibration`` has no labels to train with."""
    images = check_images(config, load_images(spec))
    return Labelled(ArrayPixels(images.test), images.labels or {}, spec)


def _folder(
    config: ModelConfig, path: Path, progress: Progress
) -> tuple[Labelled, Labelled | None]:
    train, test = open_folder(path, config)
    apart = test is not train
    problems = train.problems(progress) + (test.problems(progress) if apart else [])
    if problems:
        raise unusable(path, problems)
    return _labelled(train), _labelled(test) if apart else None


def _measured(config: ModelConfig, spec: str, progress: Progress) -> Labelled:
    if not os.path.isdir(spec):
        return _npz(config, spec)
    test = open_folder(Path(spec), config)[1]
    if problems := test.problems(progress):
        raise unusable(Path(spec), problems)
    return _labelled(test)


def _labelled(pictures: Pictures) -> Labelled:
    labels = {}
    if pictures.labels is not None and pictures.task is not None:
        labels[pictures.task] = pictures.labels
    return Labelled(pictures, labels, str(pictures.root))
