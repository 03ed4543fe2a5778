"""Hardware that misbehaves is a finding, not a crash: it is reported like a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flow_machines import MACHINES
from small_models import small

from hwmoe.plan.compiler import compile_model
from hwmoe.quant.calibrate import no_progress
from hwmoe.sim.csim import CSim
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.hls import simulate_hls


def test_a_failing_check_in_hls_is_the_result_of_the_run(csim: Callable[[str], CSim]) -> None:
    net, sim = small(), csim("plain")
    program = compile_model(net.quantized, MACHINES["plain"])
    # Steps now read beyond the weights: the C simulation notices and stops.
    program = replace(program, weights=program.weights[:1])
    patches = net.quantized.quantize_images(net.images[:1])
    run = simulate_hls(program, net.quantized, sim, patches, [0], no_progress)
    assert isinstance(run.divergence, SimulationFault)
    assert "weights" in str(run.divergence)
