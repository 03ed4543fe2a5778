"""What a file of weights does not say, and the user must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hwmoe.model.config import GateScores


@dataclass(frozen=True)
class ImportOptions:
    """Everything here is also an option of `hwmoe import`. None or empty: not given.

    ``image`` and ``patch`` are (height, width) in pixels. ``classes`` are those of each task, for
    a source without classifiers, which then get untrained ones. ``gate_scores`` (that of a
    `ModelConfig`) overrules what is known of the gates of the source. ``ignore`` are patterns
    (``decoders.*``) of keys to leave out; ``entry`` and ``prefix`` choose one of several models in
    a file.
    """

    name: str | None = None
    heads: int | None = None
    image: tuple[int, int] | None = None
    patch: tuple[int, int] | None = None
    top_k: int | None = None
    gate_scores: GateScores | None = None
    tasks: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    norm_eps: float | None = None
    pixel_mean: tuple[float, ...] = ()
    pixel_std: tuple[float, ...] = ()
    ignore: tuple[str, ...] = ()
    entry: str | None = None
    prefix: str | None = None
    # Per layer, attention's scale times sqrt(head channels), where a module says it is not 1.
    query_scale: Mapping[int, float] = field(default_factory=dict)


NOTHING_SAID = ImportOptions()
