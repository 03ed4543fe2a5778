"""The whole machine between third-party models of AXI4 and AXI4-Lite (cocotbext-axi).

One build and one simulation for all tests; planted faults stand in it behind switches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from small_models import small
from top_cocotb_sim import Fault, build, run

from hwmoe.codegen.rtl_machine import configuration_digest, machine_rtl
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.image import constant_parts, image_records, result_bytes
from hwmoe.plan.program import Program
from hwmoe.quant.numerics import FORMAT
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference

# The ports of top_cocotb.sv.
MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=4, w_rows=2),
    attention=AttentionConfig(dim_lanes=4, head_units=2),
    layernorm=LayerNormConfig(lanes=4),
    ports=PortsConfig(port_bits=64, w_ports=2),
    stages=2,
)
TASKS = (1, 0)
TESTS = ("full_speed", "pauses", "control", "interrupts", "nowhere", "broken")
FAULTS = {
    "an address does not wait": Fault(
        "hwmoe_axi_read_mux",
        "(m_arvalid & ~m_arready)",
        "(m_arvalid & ~m_arready & ~FAULT)",
        "pauses",
    ),
    "a second read of ap_done": Fault(
        "hwmoe_control_block",
        "finish | (done & ~rd_control)",
        "finish | (done & (~rd_control | FAULT))",
        "control",
    ),
    "errors of weights are not heard": Fault(
        "hwmoe_top",
        "{w_fault, gmem_fault[CHANNELS-1:0]} != '0",
        "{w_fault & {2{~FAULT}}, gmem_fault[CHANNELS-1:0]} != '0",
        "nowhere",
    ),
    "one response in four is an error": Fault(
        "hwmoe_axi_read",
        "arrived & rresp[1]",
        "arrived & rresp[1] & ~(rresp[0] & FAULT)",
        "broken",
    ),
    "an end without the weights": Fault(
        "hwmoe_top", "gmem_quiet & w_quiet", "gmem_quiet & (w_quiet | FAULT)", "broken"
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("top_cocotb")
    net = small("ternary")
    model, shape = net.quantized, (len(TASKS), *net.patches.shape[1:])
    # Noise: more of it clips than of any image.
    patches = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    program = compile_model(model, MACHINE)
    room = np.zeros(result_bytes(program, len(TASKS)), np.uint8)
    images = {"images": image_records(program, patches, TASKS), "results": room}
    np.savez(folder / "memory.npz", **constant_parts(program), **images)
    build(machine_rtl(program.accelerator, program.sizes), list(FAULTS.values()), folder)
    return run(job(program, model, patches), folder)


def job(program: Program, model: QuantizedModel, patches: npt.NDArray[np.int8]) -> dict[str, Any]:
    """What the bench must find, by the integer reference: bytes of the results with 0x55 where
    nothing is written, values clipped by site, the site and the engine of every step."""
    results, clipped = b"", dict[str, int]()
    for image, task in zip(patches, TASKS, strict=True):
        reference = run_reference(model, image[None], task)
        logits = reference.logits[0].astype("<i2").tobytes()
        logits = logits.ljust(-(-len(logits) // 8) * 8, b"\0")
        results += logits.ljust(program.loop["logit_bytes"], b"\x55")
        for site, count in reference.saturations.items():
            clipped[site] = clipped.get(site, 0) + count
    return {
        "images": len(TASKS),
        "rounds": len(TASKS) + MACHINE.stages - 1,
        "results": results.hex(),
        "clipped": {site: count for site, count in clipped.items() if count},
        "sites": [step.site for step in program.steps],
        "engines": [step.engine for step in program.steps],
        "identity": [FORMAT, configuration_digest(program.accelerator, program.sizes)],
        "faults": [fault.test for fault in FAULTS.values()],
    }


@pytest.mark.parametrize("name", TESTS)
def test_machine(name: str, results: dict[str, str]) -> None:
    assert results[name] == ""


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, results: dict[str, str]) -> None:
    assert results[f"fault_{list(FAULTS).index(fault) + 1}"]


def test_all_are_named(results: dict[str, str]) -> None:
    faults = [f"fault_{number}" for number in range(1, len(FAULTS) + 1)]
    assert sorted(results) == sorted([*TESTS, *faults])
