"""Parameters of ours that no key of a source makes."""

from __future__ import annotations

from collections.abc import Iterator

from hwmoe.model.loaders.families import families
from hwmoe.model.loaders.imported import ImportProblem
from hwmoe.model.loaders.matching import Match, Matched, grouped

NO_NORM_BIAS = "an RMSNorm has none and is not supported; a LayerNorm without bias has zeros"
NO_CLASS_TOKEN = "a model that averages its tokens is not supported; ours reads the class token"


def parameters(match: Match, tasks: int, shared: bool) -> Iterator[str]:
    """The names of all parameters of a `MoEViT` with the layers of ``match``."""
    ours = next(family for family in families() if family.name == "hwmoe")
    for entry in ours.entries:
        if "{t}" in entry.to:
            yield from (entry.to.replace("{t}", str(task)) for task in range(tasks))
        elif "{l}" not in entry.to:
            yield entry.to
        elif ".shared." not in entry.to or shared:
            for layer in range(match.depth):
                other = ".mlp." if layer in match.moe_layers else ".moe."
                if other not in entry.to:
                    yield entry.to.replace("{l}", str(layer))


def generic(name: str) -> str:
    """``blocks.3.norm1.weight`` as ``blocks.{l}.norm1.weight``, as families.toml has it."""
    parts = name.split(".")
    if parts[0] == "blocks":
        parts[1] = "{l}"
    return ".".join(parts)


def missing(match: Match, tasks: int, shared: bool) -> Iterator[ImportProblem]:
    """What is missing and may not be made up.

    Zeros may stand for what a package leaves out of all layers. A source without any classifier
    is asked for their classes instead, and may lack the final LayerNorm too.
    """
    made = match.targets()
    zeros = {entry.to for entry in match.family.entries if entry.zeros}
    zeros -= {generic(name) for name in made}
    free = set()
    if not any(name.startswith("heads.") for name in made):
        free = {name for name in parameters(match, tasks, shared) if name.startswith("heads.")}
        if not {"norm.weight", "norm.bias"} & set(made):
            free |= {"norm.weight", "norm.bias"}
    lost = [
        name
        for name in parameters(match, tasks, shared)
        if generic(name) not in zeros
        and name not in free
        and (name not in made or not _whole(made[name]))
    ]
    theirs = {e.to: match.prefix + e.pattern for e in reversed(match.family.entries) if e.to}
    for name, members in grouped(lost).items():
        kind = generic(members[0])
        nearest = NO_CLASS_TOKEN if kind == "cls_token" else ""
        if kind.endswith(("norm.bias", "norm1.bias", "norm2.bias")):
            nearest = NO_NORM_BIAS
        text = f"missing; our {name} is made of it"
        yield ImportProblem(theirs.get(kind, name), "missing", (), text, nearest)


def _whole(made: list[Matched]) -> bool:
    return len({matched.entry.part[0] for matched in made}) == made[0].entry.part[1]
