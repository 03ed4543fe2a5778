"""The grid of machines from which the default is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hwmoe.dse.bounds import Bounds, Product, bounds_of
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.board import Board
from hwmoe.plan.packing import ceil_div, log2_ceil
from hwmoe.quant.quantized import QuantizedModel

T_IN = (8, 16, 32)
T_OUT = (8, 16, 24, 32, 48, 64, 96, 128)
T_TOK = (1, 2)
MIN_ROWS, MAX_ROWS = 2, 33  # query rows of the attention kernel
NORM_LANES = (8, 16, 32)
PORT_BITS = {"zynq-7000": 64, "zynq-ultrascale-plus": 128}
WIDEST_PORT = 512
WEIGHT_PORTS = 8


def candidates(
    model: QuantizedModel, board: Board, products: Mapping[Product, int]
) -> Iterator[tuple[AcceleratorConfig, Bounds]]:
    """Machines, with what an image asks of their engines."""
    for ports, linear in _linears(board):
        lanes = min(16, linear.t_in)
        for norm_lanes in NORM_LANES:
            for rows in row_choices(model.config.tokens):
                if norm_lanes <= linear.t_in:
                    acc = AcceleratorConfig(
                        linear=linear,
                        attention=AttentionConfig(rows=rows, dim_lanes=lanes),
                        layernorm=LayerNormConfig(lanes=norm_lanes, max_tiles=1),
                        ports=ports,
                    )
                    yield acc, bounds_of(acc, model, products, board.bytes_per_cycle)


def _linears(board: Board) -> Iterator[tuple[PortsConfig, LinearConfig]]:
    """Linear kernels with the ports that feed them."""
    bits = PORT_BITS.get(
        board.family, min(WIDEST_PORT, 1 << (board.axi.width_bits.bit_length() - 1))
    )
    most_ports = min(WEIGHT_PORTS, board.axi.ports - 1)
    most = (1 << (most_ports.bit_length() - 1)) * bits // 8  # bytes a cycle, a power of two
    wanted = min(most, 1 << log2_ceil(int(board.bytes_per_cycle)))
    for t_in in T_IN:
        for t_out in T_OUT:
            w_rows = 1
            while 2 * w_rows * t_in <= wanted and t_out % (8 * w_rows) == 0:
                w_rows *= 2
            beat = 8 * t_in * w_rows
            port = min(bits, beat)
            t_epi = min(t_in, t_out & -t_out)
            if t_out % (4 * w_rows) or 64 * t_epi < port or beat > 8 * most:
                continue
            ports = PortsConfig(port_bits=port, w_ports=beat // port)
            for t_tok in T_TOK:
                sizes = {"t_in": t_in, "t_out": t_out, "t_tok": t_tok, "w_rows": w_rows}
                yield ports, LinearConfig(**sizes, t_epi=t_epi)


def row_choices(tokens: int) -> list[int]:
    """Query rows, without those that leave the last group of tokens nearly empty."""
    even = {ceil_div(tokens, groups) for groups in range(1, tokens + 1)}
    return sorted(rows for rows in even if MIN_ROWS <= rows <= MAX_ROWS) or [MIN_ROWS]
