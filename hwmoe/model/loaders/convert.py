"""A state dict in other people's names as an `Imported` model of ours."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.loaders.geometry import Geometry
from hwmoe.model.loaders.imported import Imported, ImportFailed, ImportProblem, Note
from hwmoe.model.loaders.matching import Match, Matched, match_keys
from hwmoe.model.loaders.missing import generic, missing
from hwmoe.model.loaders.options import NOTHING_SAID, ImportOptions
from hwmoe.model.loaders.sizes import mismatches, shape_of, solve
from hwmoe.model.loaders.source import MAX_VALUES, Source
from hwmoe.model.vit import MoEViT

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HEAD_SEED = 0


def convert(source: Source, options: ImportOptions = NOTHING_SAID, name: str = "") -> Imported:
    """Recognize, check and convert ``source``.

    ``name`` is that of the configuration. Raises `ImportFailed` with everything in the way:
    unknown and missing keys, shapes, values, and what an option must say.
    """
    problems: list[ImportProblem] = []
    notes = list(source.notes)
    match = match_keys(source, options, problems, notes)
    given = dict(zip("hw", options.patch, strict=True)) if options.patch else {}
    equations = [matched.equation(source) for matched in match.found]
    sizes = solve(equations, given)
    bad_shapes = mismatches(equations, sizes)
    problems += bad_shapes
    geometry = Geometry(match, sizes, options, problems, notes)
    config = geometry.config(name or match.family.name)
    tasks = max(match.tasks, sizes.get("N", 0), len(options.classes), 1)
    problems += missing(match, tasks, "S" in sizes)
    values = sum(prod(source.shapes[m.key]) for m in match.found)
    if values > MAX_VALUES:
        text = f"{values:,} values, over the limit of {MAX_VALUES:,}"
        problems.append(ImportProblem("weights", "geometry", (), text))
        raise ImportFailed(source.what, problems)
    skip = {problem.name for problem in bad_shapes}
    tensors = dict(_read(source, [m.key for m in match.found if m.key not in skip], problems))
    if problems or config is None:
        raise ImportFailed(source.what, problems)
    build = _Build(match, config, _shapes(config), sizes, tensors, notes)
    state = build.state(options)
    origins = {target: ", ".join(m.key for m in made) for target, made in match.targets().items()}
    return Imported(config, state, notes, match.family.title, origins)


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in MoEViT(config).state_dict().items()}


def _read(
    source: Source, keys: Iterable[str], problems: list[ImportProblem]
) -> Iterable[tuple[str, Tensor]]:
    """The tensors as float32; what is no finite float goes to ``problems``."""
    for key in keys:
        try:
            tensor = source.read(key)
        except HwmoeError as error:
            problems.append(ImportProblem(key, "weight", source.shapes[key], str(error)))
            continue
        shape = tuple(tensor.shape)
        if tensor.dtype not in FLOATS or tensor.layout is not torch.strided:
            kind = f"is {tensor.dtype}, {tensor.layout}".replace("torch.", "")
            problems.append(ImportProblem(key, "weight", shape, kind, "use float32, strided"))
            continue
        value = tensor.detach().cpu().float().contiguous()
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            text = f"{bad} of {value.numel()} values are NaN or infinite in float32"
            problems.append(ImportProblem(key, "weight", shape, text))
            continue
        yield key, value


class _Build:
    """Puts our tensors together."""

    def __init__(
        self,
        match: Match,
        config: ModelConfig,
        wanted: dict[str, tuple[int, ...]],
        sizes: dict[str, int],
        tensors: dict[str, Tensor],
        notes: list[Note],
    ) -> None:
        self.match, self.config, self.wanted = match, config, wanted
        self.sizes, self.tensors, self.notes = sizes, tensors, notes

    def state(self, options: ImportOptions) -> dict[str, Tensor]:
        """All parameters, float32 and contiguous; folds are done last."""
        made = self.match.targets()
        state = {
            name: self._tensor(name, made[name]) if name in made else self._absent(name)
            for name in self.wanted
        }
        self._say_zeros(made)
        for matched in self.match.scales():
            self._scale(state, matched)
        for layer, factor in options.query_scale.items():
            for kind in ("weight", "bias"):
                state[f"blocks.{layer}.qkv.{kind}"][: self.config.dim] *= factor
        return {name: tensor.contiguous() for name, tensor in state.items()}

    def _tensor(self, name: str, made: list[Matched]) -> Tensor:
        shape = self.wanted[name]
        values = [self._one(matched) for matched in self._ordered(made)]
        if name.endswith("moe.gate") and made[0].entry.shape[0] != ("N",):
            gates = torch.stack(values)
            if len(values) < shape[0]:
                self.notes.append(Note(made[0].key, f"one gate for all {shape[0]} tasks"))
                gates = gates.expand(shape)
            return gates.clone()
        value = torch.cat(values) if len(values) > 1 else values[0]
        if made[0].entry.row and value.shape[-2] == shape[0] - 1:
            text = "no row for the class token: a row of zeros added, which is exact"
            self.notes.append(Note(made[0].key, text))
            value = torch.cat([torch.zeros(1, shape[1]), value.reshape(-1, shape[1])])
        return value.reshape(shape).clone()

    def _one(self, matched: Matched) -> Tensor:
        value = self.tensors[matched.key].reshape(shape_of(matched.shape, self.sizes))
        return value.mT if matched.entry.transpose else value

    def _ordered(self, made: list[Matched]) -> list[Matched]:
        return sorted(made, key=lambda m: (m.task or 0, m.entry.part[0]))

    def _absent(self, name: str) -> Tensor:
        """Zeros for what a package leaves out, or an untrained classifier if asked for."""
        shape = self.wanted[name]
        if name.startswith("heads.") and name.endswith("weight"):
            task = int(name.split(".")[1])
            random = torch.Generator().manual_seed(HEAD_SEED + task)
            text = f"UNTRAINED classifier of {shape[0]} classes, as asked: its answers say nothing"
            self.notes.append(Note(name, text))
            return torch.randn(shape, generator=random).mul_(float(shape[1]) ** -0.5)
        if name == "norm.weight":
            self.notes.append(Note("norm", "no final LayerNorm: one of weight 1 and bias 0 added"))
            return torch.ones(shape)
        return torch.zeros(shape)

    def _say_zeros(self, made: dict[str, list[Matched]]) -> None:
        absent = {generic(name) for name in self.wanted if name not in made}
        for entry in self.match.family.entries:
            if entry.zeros and entry.to in absent:
                text = f"absent ({entry.zeros}): zeros, which is exact"
                self.notes.append(Note(self.match.prefix + entry.pattern, text))

    def _scale(self, state: dict[str, Tensor], matched: Matched) -> None:
        """Fold a LayerScale into the linear operation before it: g * (W x + b) = (g W) x + g b."""
        kind = "moe" if matched.layer in self.match.moe_layers else "mlp"
        targets = [matched.target.replace("{ffn}", kind)]
        if kind == "moe" and "{ffn}" in matched.entry.scales and self.config.shared_hidden:
            targets.append(f"blocks.{matched.layer}.moe.shared.fc2")
        gamma = self.tensors[matched.key]
        for target in targets:
            state[f"{target}.weight"] *= gamma.unsqueeze(-1)
            state[f"{target}.bias"] *= gamma
        text = f"LayerScale folded into {' and '.join(targets)}, which is exact"
        self.notes.append(Note(matched.key, text))
