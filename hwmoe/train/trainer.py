"""The trainer: straight-through ternary experts, distillation, balance; stopped and resumed."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hwmoe.errors import HwmoeError
from hwmoe.model.vit import MoEViT
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.train.augment import CHANGES
from hwmoe.train.data import Labelled
from hwmoe.train.forms import FORMS, measure
from hwmoe.train.losses import Balance, Features, distillation, feature_distance
from hwmoe.train.optimizer import optimizer_for, schedule_for
from hwmoe.train.settings import TrainSettings
from hwmoe.train.state import load_state, save_state, weights_digest

SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class Keep:
    """Where the state of the run is kept, how often, and whether to go on from it."""

    path: Path
    resume: bool = False
    seconds: float = SAVE_SECONDS


@dataclass(frozen=True)
class Trained:
    """The averaged weights, in evaluation mode, and what was measured after each epoch."""

    model: MoEViT
    history: list[dict[str, Any]]


def train(
    model: MoEViT,
    data: Labelled,
    test: Labelled,
    settings: TrainSettings,
    teacher: MoEViT | None = None,
    keep: Keep | None = None,
    progress: Progress = no_progress,
) -> Trained:
    """Train a copy of ``model`` on ``data``; ``test`` is measured on, never chosen by.

    The same settings, data, thread count and version of torch give the same weights, however
    often the run is stopped and resumed. Raises `HwmoeError` for data that does not fit, a
    teacher of another shape, or a loss that is not finite.
    """
    with deterministic():
        run = _Run(model, data, test, settings, teacher, keep)
        return run.train(progress)


@contextmanager
def deterministic() -> Iterator[None]:
    """Only algorithms that give the same bits every time."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class _Run:
    def __init__(
        self,
        model: MoEViT,
        data: Labelled,
        test: Labelled,
        settings: TrainSettings,
        teacher: MoEViT | None,
        keep: Keep | None,
    ) -> None:
        self.settings, self.data, self.test, self.keep = settings, data, test, keep
        self.teacher = self._checked_teacher(model, teacher)
        self.run = {
            **settings.model_dump(),
            "model": weights_digest(model),
            "teacher": weights_digest(self.teacher) if self.teacher else None,
            "data": data.digest(),
            "threads": torch.get_num_threads(),
        }
        self.model = copy.deepcopy(model).train()
        # Scales that came with the weights are no longer those of the trained ones.
        self.model.given_scales = {}
        self._freeze()
        self.labels = data.targets(model.config)
        test.targets(model.config)
        self.average = copy.deepcopy(self.model).eval()
        self.optimizer = optimizer_for(self.model, settings)
        self.batch = min(settings.batch, len(data))
        self.each = len(data) // self.batch  # steps an epoch; what is left waits for the next
        self.schedule = schedule_for(self.optimizer, settings, settings.epochs * self.each)
        self.random = torch.Generator().manual_seed(settings.seed)
        self.epoch, self.step = 0, 0
        self.order = torch.empty(0, dtype=torch.int64)
        self.sums: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        if keep and keep.resume:
            self._restore(load_state(keep.path, self.run))

    def _checked_teacher(self, model: MoEViT, teacher: MoEViT | None) -> MoEViT | None:
        if not self.settings.needs_teacher:
            return None
        if teacher is None:
            raise HwmoeError("distillation needs a teacher; give one, or set its weights to 0")
        ours, theirs = model.config, teacher.config
        names = ["image", "channels", "tasks"]
        if self.settings.features:
            names += ["depth", "dim", "patch"]
        wrong = [name for name in names if getattr(ours, name) != getattr(theirs, name)]
        if wrong:
            raise HwmoeError(
                f"teacher {theirs.name!r} differs from {ours.name!r} in {', '.join(wrong)}; "
                "distillation compares the same outputs of both"
            )
        return copy.deepcopy(teacher).eval()

    def _freeze(self) -> None:
        if not self.settings.only_experts:
            return
        if not self.model.config.moe_layers:
            raise HwmoeError(
                f"model {self.model.config.name!r} has no experts to train alone; "
                "give it some with `hwmoe upcycle`"
            )
        for name, value in self.model.named_parameters():
            value.requires_grad_(".moe." in name and ".shared." not in name)

    def train(self, progress: Progress) -> Trained:
        settings, said = self.settings, time.monotonic()
        total = settings.epochs * self.each
        with Balance(self.model) as balance, Features(self.model) as features:
            while self.epoch < settings.epochs:
                if self.step == 0:
                    self.order = torch.randperm(len(self.data), generator=self.random)
                    self.sums = {"loss": 0.0, "balance": 0.0}
                while self.step < self.each:
                    self._one_step(balance, features)
                    self.step += 1
                    progress("training", self.epoch * self.each + self.step, total)
                    if self.keep and time.monotonic() - said >= self.keep.seconds:
                        self._save(self.keep.path)
                        said = time.monotonic()
                self._end_epoch()
        if self.keep:
            self._save(self.keep.path)
        self.average.requires_grad_(True)
        return Trained(self.average, self.history)

    def _one_step(self, balance: Balance, features: Features) -> None:
        pick = self.order[self.step * self.batch : (self.step + 1) * self.batch]
        images = CHANGES[self.settings.augment](self.data.batch(pick), self.random)
        loss, load = self._loss(images, [y[pick] for y in self.labels], balance, features)
        if not torch.isfinite(loss):
            raise HwmoeError(
                f"the loss is {loss.item()} in epoch {self.epoch + 1}; lower --rate "
                f"(now {self.settings.rate:g})"
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, self.settings.clip)
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - self.settings.ema)
        self.sums["loss"] += loss.item()
        self.sums["balance"] += load.item()

    def _loss(
        self, images: Tensor, labels: list[Tensor], balance: Balance, features: Features
    ) -> tuple[Tensor, Tensor]:
        """Of one batch: the sum over tasks and forms of the experts, and the balance alone."""
        s = self.settings
        total = torch.zeros(())
        taught = [self._ask_teacher(images, task) for task in range(len(labels))]
        for transform in FORMS[s.experts].values():
            self.model.expert_transform = transform
            for task, target in enumerate(labels):
                logits = self.model(images, task)
                own = F.cross_entropy(logits, target, label_smoothing=s.smoothing)
                blocks = features.take()
                if (answer := taught[task]) is not None:
                    own = (1 - s.distill) * own
                    own = own + s.distill * distillation(logits, answer[0], s.temperature)
                    if s.features:
                        own = own + s.features * feature_distance(blocks, answer[1])
                total = total + own
        self.model.expert_transform = None
        load = balance.take()
        return total + s.balance * len(labels) * load, load.detach()

    @torch.no_grad()
    def _ask_teacher(self, images: Tensor, task: int) -> tuple[Tensor, list[Tensor]] | None:
        if self.teacher is None:
            return None
        with Features(self.teacher) as features:
            logits = self.teacher(images, task)
            return logits, features.take()

    def _end_epoch(self) -> None:
        entry: dict[str, Any] = {name: value / self.each for name, value in self.sums.items()}
        entry["rate"] = float(self.optimizer.param_groups[0]["lr"])
        entry |= measure(self.average, self.test, self.settings.experts)
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append({"epoch": self.epoch, **entry})

    def _save(self, path: Path) -> None:
        state = {
            "run": self.run,
            "weights": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": self.random.get_state(),
            "place": [self.epoch, self.step],
            "order": self.order,
            "sums": self.sums,
            "history": self.history,
        }
        save_state(path, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.random.set_state(state["random"])
        self.epoch, self.step = state["place"]
        self.order, self.sums, self.history = state["order"], state["sums"], state["history"]
