"""A network small enough for a test of the whole machine, and its program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from axi_model import Store

from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import (
    LINEAR_FLAGS,
    ceil_div,
    pack_norm_params,
    pack_params,
    pack_weights,
    tile_major,
)
from hwmoe.plan.tokens import pack_counters
from hwmoe.quant.kernels import LinearParams, NormParams, linear, norm
from hwmoe.quant.numerics import INT16, SHIFTS, IntArray, Saturations, saturate

LANES = 8
SMALL = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=4, w_rows=2, max_tokens=20, x_words=128),
    attention=AttentionConfig(rows=2, dim_lanes=4, max_tokens=20, max_dim_tiles=4),
    layernorm=LayerNormConfig(lanes=4, max_tiles=8),
    gate=GateConfig(max_experts=8, max_k=2),
    ports=PortsConfig(port_bits=64, w_ports=2),
    stages=2,
)
PROGRAM, PARAMS, IMAGES, RESULTS = 0x1_0000_1000, 0x2_0000_0000, 0x3_FFFF_F000, 0x5_0000_3000
PORT = SMALL.ports.port_bits // 8  # bytes of a beat
WEIGHTS = tuple(0x6_0000_2000 + (port << 33) for port in range(SMALL.ports.w_ports))
IMAGE_BYTES, LOGIT_BYTES = 128, 64
TOKENS, PATCH, DIM = 3, 16, 12
N_OUT = (10, 5)  # logits by task
BEFORE = b"\x55"  # in the results
N_IMAGES = 0x40 + 12 * len(WEIGHTS)
LOAD, LINEAR, _, VECTOR, STORE = (1 << engine for engine in range(5))


def random_linear(rng: np.random.Generator, n_out: int, n_in: int) -> LinearParams:
    """int16 results that clip now and then."""
    return LinearParams(
        rng.integers(-127, 128, (n_out, n_in)).astype(np.int8),
        rng.integers(-9000, 9000, n_out).astype(np.int32),
        rng.integers(200, 700, n_out).astype(np.int32),
        SHIFTS[0],
        wide=True,
    )


@dataclass
class Network:
    """Patches through a linear layer, plus constants, LayerNorm of row 0, logits of the task."""

    seed: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.embed = random_linear(rng, DIM, PATCH)
        self.heads = [random_linear(rng, n_out, DIM) for n_out in N_OUT]
        self.places = rng.integers(-20000, 20000, (TOKENS, DIM)).astype(np.int16)
        gain, bias = rng.integers(1000, 90000, DIM), rng.integers(-5000, 5000, DIM)
        self.norm = NormParams(gain.astype(np.int32), bias.astype(np.int32), 12345, SHIFTS[1])

    def run(self, patches: IntArray, task: int, sat: Saturations) -> IntArray:
        """int8 [TOKENS, PATCH] -> logits; counts what is clipped by the step of `steps`."""
        y = linear(patches, self.embed, "embed", sat)[1]
        x = saturate(y.astype(np.int64) + self.places, INT16, "add", sat)
        row = norm(x[:1], self.norm, "norm", sat)
        logits: IntArray = linear(row, self.heads[task], f"head{task}", sat)[1][0]
        return logits


class Layout:
    """The network's constants in memory: where each begins, in the units of the fields."""

    def __init__(self, network: Network, store: Store) -> None:
        self.store, self.params, self.beats = store, 0, 0
        cfg = SMALL.linear
        places = tile_major(network.places, LANES).astype("<i2")
        self.places = self.put(places.tobytes())
        self.norm = self.put(
            pack_norm_params(network.norm.gain, network.norm.bias, LANES).tobytes()
        )
        self.linear = []
        for params in (network.embed, *network.heads):
            packed = pack_params(cfg, params.bias, params.multiplier).tobytes()
            beats = pack_weights(cfg, params.weight, ternary=False)
            self.linear.append((self.put(packed), self.beats))
            for beat in beats:
                for port, base in enumerate(WEIGHTS):
                    part = beat[PORT * port : PORT * (port + 1)].tobytes()
                    store.write(base + PORT * self.beats, part)
                self.beats += 1

    def put(self, data: bytes) -> int:
        """Among the parameters, at the next 64 bytes."""
        at = self.params
        self.store.write(PARAMS + 4 * at, data)
        self.params += -(-len(data) // 64) * 16
        return at


Step = tuple[str, str, dict[str, int]]
"""What it does, its instruction, its fields."""


def steps(network: Network, layout: Layout, stages: int) -> list[Step]:
    """The program. With two stages logits of an image are made while the next one is embedded:
    that part comes first in the body and is an image behind."""
    every, task = {"tasks": 0xFFFF}, ({"tasks": 1}, {"tasks": 2})
    last = {"stage": stages - 1}

    def matrix(index: int, params: LinearParams, src: int, dst: int, rows: int) -> dict[str, int]:
        n_out, n_in = params.weight.shape
        return {
            "src": src,
            "dst": dst,
            "weights": layout.linear[index][1],
            "params": layout.linear[index][0],
            "n_tok": rows,
            "n_list": rows,
            "in_tiles": ceil_div(n_in, SMALL.linear.t_in),
            "out_tiles": ceil_div(n_out, SMALL.linear.t_out),
            "chunks": ceil_div(n_out, SMALL.linear.t_epi),
            "flags": sum(1 << LINEAR_FLAGS.index(flag) for flag in ("load_x", "wide")),
            "shift": SHIFTS.index(params.shift),
            "space": instruction_set().spaces["y"],
        }

    n = network.norm
    first: list[Step] = [
        (
            "places",
            "load_const",
            every | {"wait": VECTOR, "dst": 0, "words": 2 * TOKENS, "params": layout.places},
        ),
        (
            "image",
            "load_image",
            every | {"wait": LINEAR, "signal": LINEAR, "dst": 5, "words": 2 * TOKENS},
        ),
        (
            "embed",
            "linear",
            every
            | {"wait": LOAD, "signal": LOAD | VECTOR}
            | matrix(0, network.embed, 5, 1, TOKENS),
        ),
        (
            "add",
            "add",
            every
            | {"wait": LINEAR, "dst": 20, "base": 0, "src": 1, "n_tok": TOKENS, "tiles": 2}
            | {"count": TOKENS},
        ),
        (
            "norm",
            "layernorm",
            every
            | {"signal": LINEAR | LOAD, "src": 20, "dst": 40, "params": layout.norm}
            | {"n_tok": TOKENS, "count": 1, "dim": DIM, "eps_low": n.eps}
            | {"shift": SHIFTS.index(n.shift)},
        ),
    ]
    logits = {"src": 30, "space": instruction_set().spaces["y"], "last": 1}
    second: list[Step] = [
        (
            "head0",
            "linear",
            task[0] | last | {"wait": VECTOR | STORE} | matrix(1, network.heads[0], 40, 30, 1),
        ),
        (
            "head1",
            "linear",
            task[1] | last | {"signal": STORE} | matrix(2, network.heads[1], 40, 30, 1),
        ),
        ("store0", "store", task[0] | last | logits | {"wait": LINEAR, "n_out": N_OUT[0]}),
        ("store1", "store", task[1] | last | logits | {"signal": LINEAR, "n_out": N_OUT[1]}),
    ]
    return first + second if stages == 1 else second + first


def encode(op: str, given: dict[str, int]) -> bytes:
    isa = instruction_set()
    row = isa.encode(op, dict.fromkeys(isa.formats[op].fields, 0) | given)
    return np.array(row, "<i4").tobytes()


def program(body: list[Step], stages: int) -> bytes:
    engines = len(SMALL.engines)
    counts = [0] * engines**2
    counts[engines * 1 + 0] = counts[engines * 3 + 0] = counts[engines * 4 + 1] = 1
    counts[engines * 3 + 1] = stages - 1  # the first iteration has no row 0 of an image before it
    loop = {
        "steps": len(body),
        "stages": stages,
        "spare": 0,
        "image_bytes": IMAGE_BYTES,
        "logit_bytes": LOGIT_BYTES,
    }
    return encode("loop", loop | pack_counters(counts)) + b"".join(
        encode(op, given) for _, op, given in body
    )
