"""The five verbs from Python: write, compile, predict, trace, compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwmoe.codegen.folder import KEPT, staged
from hwmoe.codegen.project import Project, make_project
from hwmoe.dse.defaults import default_accelerator
from hwmoe.dse.machine_cycles import MachinePrediction
from hwmoe.errors import HwmoeError
from hwmoe.flow.rtl import (
    AS_THE_BOARD,
    RtlCheck,
    RtlOptions,
    board_memory,
    check_machine,
    predict_even,
)
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import load_model
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.board import Board, load_board
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.packing import Ints
from hwmoe.quant.calibrate import Progress, check_images, no_progress
from hwmoe.quant.compare import Evaluation, evaluate
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.quant.ranges import Calibration
from hwmoe.sim.csim import ALL_IMAGES, CSim
from hwmoe.sim.hls import HlsRun, run_hls, simulate_hls, traced_tensors
from hwmoe.vendor.files import with_vendor_files

Images = npt.NDArray[np.float32]


def convert(
    model: MoEViT | str,
    images: Images,
    board: Board | str = "zcu102",
    experts: Experts = "int8",
    accelerator: AcceleratorConfig | None = None,
    progress: Progress = no_progress,
    calibration: Calibration = "minmax",
) -> HardwareModel:
    """Quantize `model` (or what a zoo name or path means) and plan it for a board.

    images: raw pixels float32 [N, C, H, W] for calibration. Without `accelerator` a sound one is
    chosen. Raises `HwmoeError` for anything that cannot be used.
    """
    source = model if isinstance(model, str) else model.config.name
    network = load_model(model) if isinstance(model, str) else model
    target = load_board(board) if isinstance(board, str) else board
    quantized = quantize(
        network.eval(), images, experts, progress=progress, calibration=calibration
    )
    return generate(quantized, target, source, accelerator)


def generate(
    quantized: QuantizedModel,
    board: Board,
    source: str,
    accelerator: AcceleratorConfig | None = None,
) -> HardwareModel:
    """Plan a quantized model for a board and render its sources, in memory."""
    chosen = accelerator or default_accelerator(quantized, board)
    program = compile_model(quantized, chosen)
    project = make_project(quantized, program, board, source)
    return HardwareModel(with_vendor_files(project))


class HardwareModel:
    """One model on one accelerator: its sources, its simulators and their results.

    `compile` and what follows need the sources on disk: `write` first.
    """

    def __init__(self, project: Project, folder: Path | None = None) -> None:
        self.project = project
        self.folder = folder
        self._csim: CSim | None = None

    @classmethod
    def load(cls, folder: Path | str) -> HardwareModel:
        """A project that was written before; its sources are taken as they are on disk."""
        return cls(Project.load(Path(folder)), Path(folder))

    @property
    def quantized(self) -> QuantizedModel:
        return self.project.model

    def write(self, folder: Path | str) -> Path:
        """Write sources, weights and program; the folder is complete or absent."""
        with staged(Path(folder)) as stage:
            self.project.write(stage)
        self.folder = Path(folder)
        return self.folder

    def compile(self) -> CSim:
        """Build the HLS C simulation from the sources on disk (once)."""
        if self._csim is None:
            folder = self.written()
            files = {
                name.removeprefix("hls/"): (folder / name).read_text(encoding="utf-8")
                for name in self.project.files
                if name.startswith("hls/")
            }
            self._csim = CSim(files, self.project.program.accelerator, folder / KEPT)
        return self._csim

    def written(self) -> Path:
        """The folder of the sources; `HwmoeError` if there is none yet."""
        if self.folder is None:
            raise HwmoeError("nothing is written yet: call write(folder) first")
        return self.folder

    def predict(self, images: Images, task: int = 0) -> npt.NDArray[np.float32]:
        """Logits [N, classes] of the HLS C simulation, in the float model's units."""
        patches = self._patches(images)
        result = run_hls(self.project.program, self.compile(), patches, task)
        scale = np.asarray(self.quantized.scales[f"head.{task}"])
        own = result.logits[:, : self.project.program.outputs[task]]
        logits: npt.NDArray[np.float32] = (own * scale).astype(np.float32)
        return logits

    def trace(self, images: Images, task: int = 0) -> list[dict[str, Ints]]:
        """For each image, every step's tensor of the HLS C simulation by name, as integers."""
        program, patches = self.project.program, self._patches(images)
        result = run_hls(program, self.compile(), patches, task, ALL_IMAGES)
        return [
            dict(traced_tensors(program, [r for r in result.trace if r.image == image]))
            for image in range(len(images))
        ]

    def compare(
        self,
        model: MoEViT,
        images: Images,
        labels: Mapping[str, npt.NDArray[np.int64]] | None = None,
        progress: Progress = no_progress,
    ) -> list[Evaluation]:
        """Float PyTorch against the integers, an entry a task."""
        if model.config != self.quantized.config:
            raise HwmoeError("this is not the model the project was made from: the shapes differ")
        return [
            evaluate(model, self.quantized, images, (labels or {}).get(task.name), index, progress)
            for index, task in enumerate(self.quantized.config.tasks)
        ]

    def check_hls(self, images: Images, progress: Progress = no_progress) -> HlsRun:
        """HLS C simulation against the integer reference, bit by bit, all tasks."""
        patches, program = self._patches(images), self.project.program
        csim = self.compile()
        return simulate_hls(program, self.quantized, csim, patches, self._tasks(), progress)

    def check_rtl(
        self,
        images: Images,
        progress: Progress = no_progress,
        options: RtlOptions = AS_THE_BOARD,
    ) -> RtlCheck:
        """The whole machine in SystemVerilog against the integer reference, all tasks."""
        folder, patches = self.written(), self._patches(images)
        return check_machine(self.project, folder, folder / KEPT, patches, options, progress)

    def predict_cycles(self, options: RtlOptions = AS_THE_BOARD) -> MachinePrediction:
        """Of a run of images whose tokens spread evenly over the experts; nothing is simulated."""
        return predict_even(self.project, board_memory(self.project.board, options))

    def _tasks(self) -> Iterable[int]:
        return range(len(self.quantized.config.tasks))

    def _patches(self, images: Images) -> npt.NDArray[np.int8]:
        check_images(self.quantized.config, images)
        return self.quantized.quantize_images(images)
