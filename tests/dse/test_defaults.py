"""The default machine of a board, and what a machine costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dse_cases import network, staged

from hwmoe.codegen.rtl_machine import TOP, machine_rtl
from hwmoe.dse.defaults import BRAM_SHARE, DSP_SHARE, LUT_SHARE, default_accelerator
from hwmoe.dse.resources import block_rams, cost_of, multipliers_of
from hwmoe.errors import HwmoeError
from hwmoe.model.zoo import load_model
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.board import board_names, load_board
from hwmoe.plan.compiler import schedule_only
from hwmoe.plan.program import MachineSizes
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.synth.yosys import synthesize


@pytest.fixture(scope="module")
def digits() -> QuantizedModel:
    images = np.random.default_rng(0).random((8, 1, 8, 8), np.float32)
    return quantize(load_model("digits").eval(), images, "ternary")


@pytest.mark.parametrize("name", board_names())
def test_the_machine_fits_and_can_be_made(name: str, digits: QuantizedModel) -> None:
    board = load_board(name)
    acc = default_accelerator(digits, board)
    program = schedule_only(digits, acc)
    cost, own = cost_of(program.accelerator, program.sizes), board.resources
    assert cost.dsp <= DSP_SHARE * own.dsp
    assert cost.bram36 <= BRAM_SHARE * own.bram36
    assert cost.lut <= LUT_SHARE * own.lut
    assert machine_rtl(program.accelerator, program.sizes)
    ports = program.accelerator.ports
    assert ports.w_ports < board.axi.ports
    assert ports.port_bits <= board.axi.width_bits


def test_a_small_model_gets_a_modest_machine(digits: QuantizedModel) -> None:
    """Its simulator is to be built in the demo."""
    board = load_board("zcu102")
    acc = default_accelerator(digits, board)
    assert acc.linear.macs_per_cycle <= 16 * 32
    assert acc.attention.rows <= 16
    assert acc == default_accelerator(digits, board)


def test_a_board_that_is_too_small() -> None:
    board = load_board("zcu102")
    few = board.model_copy(
        update={"name": "few", "resources": board.resources.model_copy(update={"dsp": 60})}
    )
    with pytest.raises(HwmoeError, match="few has too few DSPs, block RAMs or LUTs for small"):
        default_accelerator(network(0).quantized, few)


def test_more_lanes_cost_more() -> None:
    program = schedule_only(network(4).quantized, staged("two ports", 2))
    acc, sizes = program.accelerator, program.sizes
    wider = acc.model_copy(update={"linear": acc.linear.model_copy(update={"t_out": 64})})
    assert multipliers_of(wider) == multipliers_of(acc) + 16 * 16
    deeper = MachineSizes(**{**vars(sizes), "y_words": 4 * sizes.y_words})
    assert block_rams(acc, deeper) > block_rams(acc, sizes)


SMALLEST = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=8, w_rows=1, max_tokens=17, x_words=300),
    attention=AttentionConfig(rows=2, dim_lanes=4, max_tokens=17, max_dim_tiles=4),
    layernorm=LayerNormConfig(lanes=8, max_tiles=16),
    gate=GateConfig(max_experts=4, max_k=2),
    ports=PortsConfig(port_bits=64, w_ports=1),
)
UNEVEN = AcceleratorConfig(
    linear=LinearConfig(t_in=16, t_out=24, t_tok=2, t_epi=8, w_rows=2, max_tokens=65, x_words=2600),
    attention=AttentionConfig(rows=5, dim_lanes=8, head_units=2, max_tokens=65, max_dim_tiles=4),
    layernorm=LayerNormConfig(lanes=8, max_tiles=20),
    gate=GateConfig(max_experts=16, max_k=4),
    ports=PortsConfig(port_bits=128, w_ports=2),
    stages=2,
)
SYNTHESIZED = [
    (SMALLEST, MachineSizes(500, 400, 150, 300, 1, 4, 17, 100)),
    (UNEVEN, MachineSizes(3000, 1500, 700, 1100, 2, 16, 65, 256)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("acc", "sizes"), SYNTHESIZED, ids=["smallest", "uneven"])
def test_multipliers_and_memories_are_those_of_yosys(
    acc: AcceleratorConfig, sizes: MachineSizes, tmp_path: Path
) -> None:
    paths = []
    for name, text in machine_rtl(acc, sizes).items():
        (tmp_path / name).write_text(text)
        paths += [tmp_path / name] if name.endswith(".sv") else []
    total = synthesize(paths, TOP, tmp_path / "work", luts=False).total
    print(f"BRAM36: {block_rams(acc, sizes)}, Yosys {total.bram36}")
    assert total.dsp == multipliers_of(acc)
    assert block_rams(acc, sizes) == pytest.approx(total.bram36, rel=0.05)
