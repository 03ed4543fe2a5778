"""The whole model on the HLS C++ under g++, held to the integer reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hwmoe.plan.packing import Ints, tile_major
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import Run, run_reference
from hwmoe.sim.csim import ALL_IMAGES, NO_IMAGE, CSim, CSimResult, TraceRecord
from hwmoe.sim.divergence import Divergence, SimulationFault, first_divergence

Progress = Callable[[str, int, int], None]
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


def image_words(program: Program, patches: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """int8 patches [N, patches, K] -> the images as the machine loads them [N, words, t_in]."""
    lanes = program.accelerator.linear.t_in
    return np.stack([tile_major(image, lanes).reshape(-1, lanes) for image in patches])


def run_hls(
    program: Program,
    csim: CSim,
    patches: npt.NDArray[np.int8],
    task: int,
    trace: int = NO_IMAGE,
) -> CSimResult:
    """One call: int8 patches [N, patches, K] of one task."""
    return csim.run(
        program.encode(),
        program.params,
        program.weights,
        image_words(program, patches),
        program.entries[task],
        trace,
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

    Stops at the first difference. One in the logits or counts of an image that was not traced
    is looked for again with a trace, so that it is named by the first wrong tensor.
    """
    check = _Check(program, model, csim)
    try:
        check.run.divergence = check.all(patches, list(tasks), progress, traced)
    except SimulationFault as fault:
        check.run.divergence = fault
    return check.run


@dataclass
class _Check:
    """One comparison under way; its methods return the first difference."""

    program: Program
    model: QuantizedModel
    csim: CSim
    run: HlsRun = field(default_factory=HlsRun)

    def all(
        self, patches: npt.NDArray[np.int8], tasks: list[int], progress: Progress, traced: int
    ) -> Divergence | None:
        chunk = max(1, CHUNK_MACS // self.model.config.macs)
        for task in tasks:
            for start in range(0, len(patches), chunk):
                found = self.logits(patches[start : start + chunk], task, start)
                if found:
                    return found
                progress("simulating HLS", self.run.images, len(tasks) * len(patches))
            found = self.tensors(patches[:traced], task, 0)
            if found:
                return found
        return None

    def what(self, task: int) -> str:
        return f"HLS {self.model.config.name}/{self.model.config.tasks[task].name}"

    def logits(self, patches: npt.NDArray[np.int8], task: int, start: int) -> Divergence | None:
        """Logits and saturation counts; if they differ, the first tensor that explains it."""
        result = run_hls(self.program, self.csim, patches, task)
        self.run.seconds += result.seconds
        self.run.images += len(patches)
        reference = run_reference(self.model, patches, task)
        found = first_divergence(self.what(task), "logits", reference.logits, result.logits)
        found = found or self.saturations(reference, result, task)
        return found and (self.tensors(patches, task, start) or found)

    def saturations(self, reference: Run, result: CSimResult, task: int) -> Divergence | None:
        """Clipped values, site by site."""
        counts: dict[str, int] = {}
        for index, step in self.program.of_task(task):
            counts[step.site] = counts.get(step.site, 0) + int(result.saturations[index])
        for site, count in counts.items():
            expected = np.array([reference.saturations.get(site, 0)])
            name = f"{site} saturations"
            found = first_divergence(self.what(task), name, expected, np.array([count]))
            if found:
                return found
        return None

    def tensors(self, patches: npt.NDArray[np.int8], task: int, start: int) -> Divergence | None:
        """Every step of every image; the first of them is image `start`."""
        for image in range(len(patches)):
            one = patches[image : image + 1]
            result = run_hls(self.program, self.csim, one, task, ALL_IMAGES)
            reference = run_reference(self.model, one, task, trace=True)
            assert reference.trace is not None
            what = f"{self.what(task)} image {start + image}"
            for name, expected, got in _pairs(self.program, task, reference.trace, result.trace):
                if expected.shape != got.shape:  # another routing; other shapes are given
                    name, expected, got = f"{name} length", *_lengths(expected, got)
                found = first_divergence(what, name, expected, got)
                if found:
                    return found
                self.run.tensors += 1
                self.run.values += got.size
        return None


def traced_tensors(
    program: Program, task: int, records: Iterable[TraceRecord]
) -> Iterable[tuple[str, Ints]]:
    """(name, int [rows, channels]) of each step of one image that leaves a tensor."""
    lanes = program.accelerator.linear.t_in
    steps = dict(program.of_task(task))
    lengths: list[int] = []
    for record in records:
        step = steps[record.step]
        if record.space == "lists":
            lengths = [len(rows) for rows, _ in record.lists]
            for expert, (rows, _) in enumerate(record.lists):
                yield f"{step.name.removesuffix('topk')}experts.{expert}.rows", rows
        elif step.result.space != "none":
            result = step.result
            named = step.result.expert is not None
            rows_ = lengths[result.expert] if named and result.expert is not None else result.rows
            tiles = record.values.reshape(-1, rows_, lanes)
            flat = tiles.transpose(1, 0, 2).reshape(rows_, -1)
            yield step.name, result.plain(flat, lanes)


def _pairs(
    program: Program, task: int, reference: Mapping[str, Ints], records: Iterable[TraceRecord]
) -> Iterable[tuple[str, Ints, Ints]]:
    """(name, expected, got); of a residual that is added to several times, the last."""
    steps = list(traced_tensors(program, task, records))
    last = {name: index for index, (name, _) in enumerate(steps)}
    for index, (name, got) in enumerate(steps):
        if name in reference and last[name] == index:
            expected = reference[name]
            if expected.size == got.size:
                expected = expected.reshape(got.shape)
            yield name, expected, got


def _lengths(*tensors: Ints) -> tuple[Ints, ...]:
    return tuple(np.array([len(tensor)]) for tensor in tensors)
