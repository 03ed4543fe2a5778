"""Every kernel through all its faces, on the tensors of real layers of the trained digits model.

The same commands, with the program's own weights, go to the integer reference, to the HLS kernel
under g++, to the SystemVerilog under cocotb with random stalls on every stream, and to the compiled
SystemVerilog. All of them give the same integers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwmoe.codegen.hls import hls_files
from hwmoe.codegen.rtl_attention import attention_rtl
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.program import Program
from hwmoe.quant.numerics import Saturations
from hwmoe.quant.quantize import quantize
from hwmoe.quant.reference import run_reference
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.csim import CSim
from hwmoe.sim.kernel_cases import SHORT, axis_ports, widths_of
from hwmoe.sim.model_cases import KernelStep, ModelCases, stream_case
from hwmoe.sim.streams import StreamCase, StreamResult

MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=16, t_out=16, t_tok=2, t_epi=8, w_rows=2),
    attention=AttentionConfig(rows=4, dim_lanes=8, head_units=2),
)
IMAGE, TASK = 5, 1


@pytest.fixture(scope="module", params=["int8", "ternary"])
def cases(request: pytest.FixtureRequest) -> tuple[Program, ModelCases, Saturations]:
    """One test image of the trained model: program, commands with tensors, saturation counts."""
    model = load_model("digits").eval()
    images = images_for(model.config)
    quantized = quantize(model, images.calibration[:64], request.param)
    program = compile_model(quantized, MACHINE)
    patches = quantized.quantize_images(images.test[IMAGE : IMAGE + 1])
    run = run_reference(quantized, patches, TASK, trace=True)
    assert run.trace is not None
    return program, ModelCases(program, TASK, {**run.trace, "image": patches}), run.saturations


def check(cases: ModelCases, steps: list[KernelStep], result: StreamResult, kernel: str) -> None:
    beats, at = result.outputs[f"m_axis_{SHORT[kernel]}"], 0
    for step in steps:
        got = cases.decode(step, beats[at : at + step.beats])
        np.testing.assert_array_equal(got, step.expected, err_msg=step.step.name)
        at += step.beats
    assert at == len(beats)


def rtl_case(kernel: str, program: Program, steps: list[KernelStep]) -> StreamCase:
    widths = widths_of(kernel, program.accelerator)[0]
    return stream_case(f"digits {kernel}", kernel, steps, widths)


def sources(kernel: str, program: Program, folder: Path) -> list[Path]:
    acc = program.accelerator
    files = linear_rtl(acc.linear) if kernel == "linear" else attention_rtl(acc.attention)
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in sorted(files)]


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by both precisions: the sources are the same, so each simulator is built once."""
    return tmp_path_factory.mktemp("conformance")


@pytest.mark.parametrize("kernel", ["linear", "attention"])
def test_rtl(kernel: str, cases: tuple[Program, ModelCases, Saturations], build_dir: Path) -> None:
    program, model_cases, saturations = cases
    steps = model_cases.linear() if kernel == "linear" else model_cases.attention()
    case = rtl_case(kernel, program, steps)
    files = sources(kernel, program, build_dir / kernel)
    stalled = run_cocotb(
        f"hwmoe_{kernel}", files, [case], build_dir / f"cocotb-{kernel}", stall=0.3, seed=3
    )[0]
    check(model_cases, steps, stalled, kernel)
    status = stalled.outputs["m_axis_status"].view("<u4").reshape(-1)
    assert [int(n) for n in status] == [saturations.get(s.step.site, 0) for s in steps]

    ports = axis_ports(widths_of(kernel, program.accelerator))
    compiled = CompiledKernel(f"hwmoe_{kernel}", files, *ports, build_dir / "compiled")
    fast = compiled.run(case, stall=0.3, seed=3)
    check(model_cases, steps, fast, kernel)
    for port, stamps in stalled.stamps.items():
        np.testing.assert_array_equal(fast.stamps[port], stamps, err_msg=port)


def test_hls(cases: tuple[Program, ModelCases, Saturations], build_dir: Path) -> None:
    program, model_cases, _ = cases
    files = hls_files(program.accelerator, program.sizes)
    csim = CSim(files, program.accelerator, build_dir)
    for kernel in ("linear", "attention"):
        steps = model_cases.linear() if kernel == "linear" else model_cases.attention()
        result = csim.streams(kernel, rtl_case(kernel, program, steps))
        check(model_cases, steps, result, kernel)
