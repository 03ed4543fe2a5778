"""The whole model on the HLS C++ under g++, held to the integer reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from hwmoe.plan.image import image_words
from hwmoe.plan.packing import Ints
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.csim import ALL_IMAGES, NO_IMAGE, CSim, CSimResult, TraceRecord
from hwmoe.sim.divergence import Divergence, SimulationFault, first_divergence

Progress = Callable[[str, int, int], None]
Pairs = npt.NDArray[np.int64]
"""[n, 2]: image and task."""
CHUNK_MACS = 100_000_000
"""MACs in one call of the library; between two calls it can be interrupted."""


@dataclass
class HlsRun:
    """Outcome of `simulate_hls`: what was compared, how fast, and the first difference if any.

    images: (image, task) pairs whose logits were compared; tensors and values: of the images
    that were traced step by step.
    """

    images: int = 0
    tensors: int = 0
    values: int = 0
    seconds: float = 0.0
    divergence: Divergence | SimulationFault | None = None

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0


def run_hls(
    program: Program,
    csim: CSim,
    patches: npt.NDArray[np.int8],
    tasks: int | Sequence[int],
    trace: int = NO_IMAGE,
    seed: int = 0,
) -> CSimResult:
    """One call: int8 patches [N, patches, K], each of its task or all of one.

    `trace` and `seed` as in `CSim.run`.
    """
    return csim.run(
        program.encode(),
        program.params,
        program.weights,
        image_words(program, patches),
        np.broadcast_to(tasks, len(patches)).tolist(),
        trace,
        seed,
    )


def simulate_hls(
    program: Program,
    model: QuantizedModel,
    csim: CSim,
    patches: npt.NDArray[np.int8],
    tasks: Iterable[int],
    progress: Progress,
    traced: int = 8,
) -> HlsRun:
    """All images for logits and saturation counts; every tensor of the first `traced` images.

    Tasks are mixed: an image's tasks follow one another. Engines are served in an order that
    is another in every call for logits, and the program's own in those for tensors. Stops at the
    first difference. One in the logits or counts of an image that was not traced is looked for
    again with a trace, so that it is named by the first wrong tensor.
    """
    pairs = np.array([(image, task) for image in range(len(patches)) for task in tasks])
    check = _Check(program, model, csim, patches)
    try:
        check.run.divergence = check.all(pairs, progress, traced)
    except SimulationFault as fault:
        check.run.divergence = fault
    return check.run


@dataclass
class _Check:
    """One comparison under way; its methods return the first difference."""

    program: Program
    model: QuantizedModel
    csim: CSim
    patches: npt.NDArray[np.int8]
    run: HlsRun = field(default_factory=HlsRun)
    calls: int = 0

    def all(self, pairs: Pairs, progress: Progress, traced: int) -> Divergence | None:
        chunk = max(2 * self.program.loop["stages"], CHUNK_MACS // self.model.config.macs)
        for start in range(0, len(pairs), chunk):
            found = self.logits(pairs[start : start + chunk])
            if found:
                return found
            progress("simulating HLS", self.run.images, len(pairs))
        few = pairs[pairs[:, 0] < traced]
        for start in range(0, len(few), chunk):
            found = self.tensors(few[start : start + chunk])
            if found:
                return found
        return None

    def what(self, image: int, task: int) -> str:
        config = self.model.config
        return f"HLS {config.name}/{config.tasks[task].name} image {image}"

    def call(self, pairs: Pairs, trace: int, seed: int) -> CSimResult:
        images, tasks = pairs.T
        return run_hls(self.program, self.csim, self.patches[images], tasks.tolist(), trace, seed)

    def logits(self, pairs: Pairs) -> Divergence | None:
        """Logits and saturation counts; if they differ, the first tensor that explains it."""
        self.calls += 1
        result = self.call(pairs, NO_IMAGE, seed=self.calls)
        self.run.seconds += result.seconds
        self.run.images += len(pairs)
        expected, clipped = np.zeros_like(result.logits), Counter[str]()
        for task in np.unique(pairs[:, 1]).tolist():
            chosen = pairs[:, 1] == task
            reference = run_reference(self.model, self.patches[pairs[chosen, 0]], task)
            expected[chosen, : self.program.outputs[task]] = reference.logits
            clipped.update(reference.saturations)
        found = first_divergence("", "logits", expected, result.logits)
        if found:
            pair, *place = found.index
            found = replace(found, what=self.what(*pairs[pair].tolist()), index=tuple(place))
        found = found or self.saturations(clipped, result)
        return found and (self.tensors(pairs) or found)

    def saturations(self, clipped: Mapping[str, int], result: CSimResult) -> Divergence | None:
        """Clipped values of all images and tasks, site by site."""
        counts = Counter[str]()
        for step, count in zip(self.program.steps, result.saturations.tolist(), strict=True):
            counts[step.site] += count
        what = f"HLS {self.model.config.name}"
        for site, count in counts.items():
            expected = np.array([clipped.get(site, 0)])
            found = first_divergence(what, f"{site} saturations", expected, np.array([count]))
            if found:
                return found
        return None

    def tensors(self, pairs: Pairs) -> Divergence | None:
        """Every step of every image."""
        records = self.call(pairs, ALL_IMAGES, seed=0).trace
        for place, (image, task) in enumerate(pairs.tolist()):
            reference = run_reference(self.model, self.patches[image : image + 1], task, trace=True)
            assert reference.trace is not None
            own = [record for record in records if record.image == place]
            for name, expected, got in _compared(self.program, reference.trace, own):
                if expected.shape != got.shape:  # another routing; other shapes are given
                    name, expected, got = f"{name} length", *_lengths(expected, got)
                found = first_divergence(self.what(image, task), name, expected, got)
                if found:
                    return found
                self.run.tensors += 1
                self.run.values += got.size
        return None


def traced_tensors(program: Program, records: Iterable[TraceRecord]) -> Iterable[tuple[str, Ints]]:
    """(name, int [rows, channels]) of each step that leaves a tensor, `records` of one image."""
    lanes = program.accelerator.linear.t_in
    lengths: list[int] = []
    for record in records:
        step = program.steps[record.step]
        if record.space == "lists":
            lengths = [len(rows) for rows, _ in record.lists]
            for expert, (rows, _) in enumerate(record.lists):
                yield f"{step.name.removesuffix('topk')}experts.{expert}.rows", rows
        elif step.result.space != "none":
            result = step.result
            rows_ = result.rows if result.expert is None else lengths[result.expert]
            width = result.width(lanes)
            tiles = record.values.reshape(width // lanes, rows_, lanes)
            flat = tiles.transpose(1, 0, 2).reshape(rows_, width)
            yield step.name, result.plain(flat, lanes)


def _compared(
    program: Program, reference: Mapping[str, Ints], records: Iterable[TraceRecord]
) -> Iterable[tuple[str, Ints, Ints]]:
    """(name, expected, got); of a residual that is added to several times, the last."""
    steps = list(traced_tensors(program, records))
    last = {name: index for index, (name, _) in enumerate(steps)}
    for index, (name, got) in enumerate(steps):
        if name in reference and last[name] == index:
            expected = reference[name]
            if expected.size == got.size:
                expected = expected.reshape(got.shape)
            yield name, expected, got


def _lengths(*tensors: Ints) -> tuple[Ints, ...]:
    return tuple(np.array([len(tensor)]) for tensor in tensors)
