"""A PyTorch module: its weights, and what a file of weights does not say."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hwmoe.model.loaders.convert import convert
from hwmoe.model.loaders.imported import Imported, ImportFailed, ImportProblem, Note
from hwmoe.model.loaders.options import NOTHING_SAID, ImportOptions
from hwmoe.model.loaders.source import tensors_source
from hwmoe.model.vit import MoEViT

ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Hardswish, nn.ReLU6)
EXACT = ("GELU", "GELUActivation")  # torch's and timm's, and that of transformers
PROBES = 2
# Of the largest logit, in float64: what folding in float32 may differ, and nothing more.
SAME = 1e-5


def import_module(module: nn.Module, options: ImportOptions = NOTHING_SAID) -> Imported:
    """Convert a module of a family that `hwmoe import` knows; a `MoEViT` comes back as it is.

    Heads, LayerNorm's eps, image and patch are read from the module where it has them and
    ``options`` do not say them. The result is compared with the module on random images, since
    keys do not show all that a module computes. Raises `ImportFailed`.
    """
    if isinstance(module, MoEViT):
        state = {name: value.detach().float() for name, value in module.state_dict().items()}
        return Imported(module.config, state, [], "hwmoe MoEViT", {name: name for name in state})
    what = type(module).__name__
    problems = list(_unlike(module))
    said = _said(module, options, problems)
    try:
        imported = convert(tensors_source(what, module.state_dict()), said, what)
    except ImportFailed as error:
        raise ImportFailed(what, [*problems, *error.problems]) from None
    if problems:
        raise ImportFailed(what, problems)
    imported.notes.append(_compared(what, module, imported))
    return imported


def _said(
    module: nn.Module, options: ImportOptions, problems: list[ImportProblem]
) -> ImportOptions:
    """``options`` with what the module knows of itself."""
    found: dict[str, Any] = {
        "heads": _one("heads", _values(module, "num_heads", "num_attention_heads"), problems),
        "norm_eps": _one(
            "LayerNorm's eps",
            {name: m.eps for name, m in module.named_modules() if isinstance(m, nn.LayerNorm)},
            problems,
        ),
        "image": _pair(getattr(getattr(module, "patch_embed", None), "img_size", None)),
    }
    said = {name: value for name, value in found.items() if getattr(options, name) is None}
    scales = {
        int(name.split(".")[1]): float(m.scale) * (m.qkv.in_features / m.num_heads) ** 0.5
        for name, m in module.named_modules()
        if name.startswith("blocks.") and name.endswith(".attn") and hasattr(m, "scale")
    }
    odd = {layer: factor for layer, factor in scales.items() if abs(factor - 1) > 1e-6}
    return replace(options, **said, query_scale=odd)


def _values(module: nn.Module, *attributes: str) -> dict[str, Any]:
    return {
        name: getattr(part, attribute)
        for name, part in module.named_modules()
        for attribute in attributes
        if hasattr(part, attribute)
    }


def _one(what: str, values: dict[str, Any], problems: list[ImportProblem]) -> Any:
    """The value all agree in, None if nobody has one."""
    if len(set(values.values())) > 1:
        first: dict[Any, str] = {}
        for name, value in values.items():
            first.setdefault(value, name)
        text = ", ".join(f"{value} in {name or 'the model'}" for value, name in first.items())
        problems.append(ImportProblem(what, "option", (), text, "one value for all layers"))
    return next(iter(values.values()), None)


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else None


def _unlike(module: nn.Module) -> Iterator[ImportProblem]:
    """Parts without weights that compute something else than ours."""
    for name, part in module.named_modules():
        kind = type(part).__name__
        if isinstance(part, nn.GELU) and part.approximate != "none":
            text = f"GELU approximated by {part.approximate}"
            yield ImportProblem(
                name, "GELU", (), text, "nn.GELU(), the exact one; fine-tune with it"
            )
        elif isinstance(part, ACTIVATIONS) or ("gelu" in kind.lower() and kind not in EXACT):
            yield ImportProblem(name, kind, (), "another activation", "nn.GELU()")
        elif isinstance(part, nn.Conv2d) and (
            part.kernel_size != part.stride or part.groups != 1 or part.padding not in ((0, 0), 0)
        ):
            text = f"kernel {part.kernel_size}, stride {part.stride}, padding {part.padding}"
            yield ImportProblem(name, "Conv2d", (), text, "a stride that is the kernel, no padding")
    pool = getattr(module, "global_pool", "token")
    if pool not in ("token", ""):
        yield ImportProblem("global_pool", "option", (), f"is {pool!r}", "global_pool='token'")


def _compared(what: str, module: nn.Module, imported: Imported) -> Note:
    """The module and our model on random images; `ImportFailed` if they differ."""
    config = imported.config
    random = torch.Generator().manual_seed(0)
    images = torch.rand((PROBES, config.channels, *config.image), generator=random)
    mean, std = (
        torch.tensor(values or (default,)).view(-1, 1, 1)
        for values, default in ((config.pixel_mean, 0.0), (config.pixel_std, 1.0))
    )
    images, mean, std = images.double(), mean.double(), std.double()
    try:
        with torch.no_grad():
            theirs = deepcopy(module).cpu().double().eval()((images - mean) / std)
    except Exception as error:  # a foreign forward may want arguments we do not know
        return Note(what, f"NOT compared with ours on images: its forward says {error}")
    with torch.no_grad():
        ours = deepcopy(imported.model()).double()(images)
    if not isinstance(theirs, Tensor):
        theirs = getattr(theirs, "logits", None)
    if not isinstance(theirs, Tensor) or theirs.shape != ours.shape:
        return Note(what, "NOT compared with ours on images: it does not return logits alone")
    apart = float((theirs - ours).abs().max() / theirs.abs().max().clamp_min(1e-9))
    if not apart <= SAME:
        text = f"logits of random images differ by {apart:.2g} of the largest"
        hint = "it computes what its keys do not show (post-norm blocks? another activation?)"
        raise ImportFailed(what, [ImportProblem("forward", "module", (), text, hint)])
    return Note(what, f"same logits as ours on {PROBES} random images, to {apart:.1g}")
