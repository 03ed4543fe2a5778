"""Hardware that misbehaves is a finding, not a crash: it is reported like a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from flow_machines import MACHINES
from small_models import small

from hwmoe.plan.compiler import compile_model
from hwmoe.quant.calibrate import no_progress
from hwmoe.sim.csim import CSim
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.hls import simulate_hls
from hwmoe.sim.kernel_cases import linear_widths
from hwmoe.sim.rtl import simulate_rtl
from hwmoe.sim.streams import StreamCase, StreamResult, timeout_error


def test_a_deadlock_in_rtl_is_the_result_of_the_run() -> None:
    net = small()
    program = compile_model(net.quantized, MACHINES["plain"])

    def stuck(case: StreamCase, **options: object) -> StreamResult:
        raise timeout_error(case, 10, {})

    widths = {f"s_axis_{k}": v for k, v in linear_widths(program.accelerator.linear)[0].items()}
    kernel = SimpleNamespace(ports=SimpleNamespace(inputs=widths), run=stuck)
    patches = net.quantized.quantize_images(net.images[:1])
    kernels: dict[str, Any] = {"linear": kernel}
    run = simulate_rtl(program, net.quantized, patches, kernels, [0], no_progress)
    assert isinstance(run.divergence, SimulationFault)
    assert "deadlock" in str(run.divergence)
    assert run.images == 0


def test_a_failing_check_in_hls_is_the_result_of_the_run(csim: Callable[[str], CSim]) -> None:
    net, sim = small(), csim("plain")
    program = compile_model(net.quantized, MACHINES["plain"])
    # Steps now read beyond the weights: the C simulation notices and stops.
    program = replace(program, weights=program.weights[:1])
    patches = net.quantized.quantize_images(net.images[:1])
    run = simulate_hls(program, net.quantized, sim, patches, [0], no_progress)
    assert isinstance(run.divergence, SimulationFault)
    assert "weights" in str(run.divergence)
