"""The configuration of a recognized model: from its shapes, and what the user says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from pydantic import ValidationError

from hwmoe.model.config import GateScores, ModelConfig
from hwmoe.model.loaders.imported import ImportProblem, Note
from hwmoe.model.loaders.matching import Match
from hwmoe.model.loaders.options import ImportOptions

SCORES: dict[GateScores, str] = {
    "topk": "a softmax over the chosen experts",
    "all": "a softmax over all experts, of which the chosen keep their scores",
}


@dataclass
class Geometry:
    """Collects the fields of a `ModelConfig`, with every question and remark on the way."""

    match: Match
    sizes: Mapping[str, int]
    options: ImportOptions
    problems: list[ImportProblem]
    notes: list[Note]

    def config(self, name: str) -> ModelConfig | None:
        """The configuration, or None if ``problems`` got the reason."""
        before = len(self.problems)
        options, sizes = self.options, self.sizes
        patch = self._patch()
        fields: dict[str, Any] = {
            "name": options.name or name,
            "patch": patch,
            "image": self._image(patch),
            "channels": self._size("C", "image channels") if patch else None,
            "dim": self._size("D", "channels"),
            "heads": self._heads(),
            "depth": self.match.depth,
            # A model of MoE layers only has no dense one; then any width will do.
            "dense_hidden": sizes.get("F", sizes.get("H")),
            "moe_layers": self.match.moe_layers,
            "tasks": self._tasks(),
            "norm_eps": self._norm_eps(),
            "pixel_mean": options.pixel_mean,
            "pixel_std": options.pixel_std,
        }
        if self.match.moe_layers:
            fields |= {
                "experts": self._size("E", "experts"),
                "expert_hidden": self._size("H", "hidden channels of an expert"),
                "shared_hidden": sizes.get("S", 0),
                "top_k": self._top_k(),
                "gate_scores": self._gate_scores(),
            }
        self._remarks()
        if len(self.problems) > before:
            return None
        try:
            return ModelConfig.model_validate(fields)
        except ValidationError as error:
            for problem in error.errors():
                place = ".".join(map(str, problem["loc"])) or "configuration"
                text = problem["msg"].removeprefix("Value error, ")
                self.problems.append(ImportProblem(place, "geometry", (), text))
            return None

    def _ask(self, name: str, text: str, nearest: str) -> None:
        self.problems.append(ImportProblem(name, "option", (), text, nearest))

    def _size(self, symbol: str, what: str) -> int | None:
        if symbol not in self.sizes:
            text = f"no tensor says how many {what} there are"
            self.problems.append(ImportProblem(what, "geometry", (), text))
        return self.sizes.get(symbol)

    def _patch(self) -> tuple[int, int] | None:
        if "h" in self.sizes and "w" in self.sizes:
            return self.sizes["h"], self.sizes["w"]
        self._ask("patch", "the weights do not say how large a patch is", "give --patch, as in 16")
        return None

    def _image(self, patch: tuple[int, int] | None) -> tuple[int, int] | None:
        rows = self.sizes.get("T")
        if rows is None:
            return None  # the missing position table is a problem already
        if self.options.image is not None:
            if patch is not None:
                self._fits(self.options.image, patch, rows)
            return self.options.image
        side = isqrt(rows - 1)
        if side and side * side == rows - 1:
            if patch is None:
                return None  # asked for already
            image = (side * patch[0], side * patch[1])
            text = f"{side} by {side} patches taken for granted: {image[0]}x{image[1]} pixels"
            self.notes.append(Note("image", f"{text} (--image if it is not so)"))
            return image
        text = f"{rows} rows of the position table are no square of patches and a class token"
        side, hint = isqrt(rows), ""
        if patch is not None and side * side == rows and self._may_lack_row():
            hint = f"; {side * patch[0]}x{side * patch[1]} if none is for the class token"
        self._ask("image", text, f"give --image, as in 128x256{hint}")
        return None

    def _fits(self, image: tuple[int, int], patch: tuple[int, int], rows: int) -> None:
        patches = (image[0] // patch[0]) * (image[1] // patch[1])
        if rows != patches + 1 and not (rows == patches and self._may_lack_row()):
            says = f"{image[0]}x{image[1]} in patches of {patch[0]}x{patch[1]} is {patches}"
            text = f"the position table has {rows} rows, but {says} and the class token"
            self.problems.append(ImportProblem("image", "geometry", (rows,), text))

    def _may_lack_row(self) -> bool:
        return any(matched.entry.row for matched in self.match.found)

    def _heads(self) -> int | None:
        if self.options.heads is None:
            hint = self.match.family.heads
            dim = self.sizes.get("D", 0)
            count = f", which would be --heads {dim // 64}" if dim and dim % 64 == 0 else ""
            text = "the weights do not say how many heads attention has"
            self._ask("heads", text, f"give --heads; {hint}{count}")
        return self.options.heads

    def _top_k(self) -> int | None:
        if self.options.top_k is None:
            text = "the weights do not say how many experts a token goes to"
            self._ask("top-k", text, "give --top-k; Edge-MoE has 2")
        return self.options.top_k

    def _gate_scores(self) -> GateScores:
        own, title = self.match.scores, self.match.family.title
        chosen = self.options.gate_scores or own
        text = f"{SCORES[chosen]}, as in {title} (--gate-scores if it is not so)"
        if chosen != own:
            text = f"{SCORES[chosen]}, as you say; {title} itself: {SCORES[own]}"
        self.notes.append(Note("gate-scores", text))
        return chosen

    def _tasks(self) -> list[dict[str, Any]]:
        options = self.options
        count = max(self.match.tasks, self.sizes.get("N", 0), len(options.classes))
        known = {t: self.sizes[f"K{t}"] for t in range(count) if f"K{t}" in self.sizes}
        if not count or (len(known) < count and not options.classes):
            text = f"classifiers for {len(known)} of {max(count, 1)} tasks"
            self._ask("classes", text, "give --classes, one number a task, for untrained ones")
        if options.classes and (len(options.classes) != count or known):
            differ = [t for t, k in known.items() if options.classes[t : t + 1] != (k,)]
            if differ or len(options.classes) != count:
                text = f"--classes {list(options.classes)}, but the weights have {count} tasks"
                has = f" with {known} classes" if known else ""
                self._ask("classes", text + has, "give as many, or leave it out")
        names = options.tasks or tuple(f"task{t}" for t in range(count))
        if len(names) != count:
            text = f"{len(names)} names for {count} tasks"
            self._ask("tasks", text, "give --tasks with one name a task")
        return [
            {"name": name, "classes": known.get(t, (*options.classes, *[1] * count)[t])}
            for t, name in enumerate(names[:count])
        ]

    def _norm_eps(self) -> float:
        if self.options.norm_eps is not None:
            return self.options.norm_eps
        eps = self.match.family.norm_eps
        text = f"{eps:g}, as {self.match.family.title} has it; the file does not say (--norm-eps)"
        self.notes.append(Note("norm-eps", text))
        return eps

    def _remarks(self) -> None:
        self.notes.append(Note("assumed", self.match.family.assumed))
        if not self.options.pixel_mean and not self.options.pixel_std:
            text = (
                "pixels go in as they are, without mean and deviation (--pixel-mean, --pixel-std)"
            )
            self.notes.append(Note("pixels", text))
