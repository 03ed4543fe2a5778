"""The HLS kernels against the integer reference, on the operations the RTL benches use too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hls_cases import (
    CONFIGS,
    attention_op,
    attention_reference,
    linear_params,
    linear_reference,
    project,
)

from hwmoe.errors import HwmoeError
from hwmoe.plan.packing import ATTENTION_COMMAND, ceil_div, pack_fields
from hwmoe.sim.csim import CSim
from hwmoe.sim.kernel_cases import AttentionOp, LinearOp, attention_widths, join, linear_case

Make = Callable[[str], CSim]


def random_ops(name: str, seed: int, count: int) -> list[LinearOp]:
    """Every option in random combinations; sizes that fill no tile are the rule."""
    rng, cfg = np.random.default_rng(seed), CONFIGS[name].linear
    ops: list[LinearOp] = []
    for i in range(count):
        tokens, n_in, n_out = (int(rng.integers(1, top)) for top in (cfg.max_tokens + 1, 70, 50))
        x = rng.integers(-128, 128, (tokens, n_in)).astype(np.int8)
        extreme = i % 5 == 0
        if extreme:
            x = np.where(x < 0, -128, 127).astype(np.int8)
        wide, ternary, table = (bool(b) for b in rng.integers(0, 2, 3))
        params = linear_params(
            rng, n_out, n_in, extreme=extreme, ternary=ternary, wide=wide, table=table and not wide
        )
        length = int(rng.integers(0, cfg.max_tokens + 1))
        rows = rng.integers(0, tokens, length) if i % 3 == 0 else None
        n_list = int(rng.integers(0, tokens + 1)) if rows is None and i % 4 == 0 else None
        x_base = int(rng.integers(0, cfg.x_words - ceil_div(n_in, cfg.t_in) * tokens + 1))
        ops.append(LinearOp(x, params, rows, n_list, x_base=x_base))
    return ops


def assert_linear(csim: CSim, ops: Sequence[LinearOp]) -> int:
    """All ops as one case; the number of values clipped."""
    clipped = 0
    for op, (y, status) in zip(ops, csim.linear(ops), strict=True):
        expected, count = linear_reference(op)
        np.testing.assert_array_equal(y, expected)
        assert status == count
        clipped += count
    return clipped


def assert_attention(csim: CSim, ops: Sequence[AttentionOp]) -> int:
    clipped = 0
    for op, (o, status) in zip(ops, csim.attention(ops), strict=True):
        expected, count = attention_reference(op)
        np.testing.assert_array_equal(o, expected)
        assert status == count
        clipped += count
    return clipped


@pytest.mark.parametrize("name", CONFIGS)
def test_linear_operations(csim: Make, name: str) -> None:
    assert assert_linear(csim(name), random_ops(name, 1, 60)) > 100


@pytest.mark.parametrize("name", CONFIGS)
def test_one_token_and_no_token(csim: Make, name: str) -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (5, 20)).astype(np.int8)
    params = linear_params(rng, 13, 20, wide=True)
    none = np.zeros(0, np.int64)
    assert_linear(
        csim(name),
        [
            LinearOp(x[:1], params),
            LinearOp(x, params, n_list=0),
            LinearOp(x, params, rows=none),
            LinearOp(x, params, n_list=1, load_x=False),
            LinearOp(x, params, rows=np.array([4, 4, 4, 0]), load_x=False),
        ],
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_loaded_tensors_and_tables_are_used_again(csim: Make, name: str) -> None:
    """Two tensors side by side in the activation memory; the table stays for later commands."""
    rng, cfg = np.random.default_rng(3), CONFIGS[name].linear
    first, second = (rng.integers(-128, 128, (7, 25)).astype(np.int8) for _ in range(2))
    beside = ceil_div(25, cfg.t_in) * 7
    table = linear_params(rng, 9, 25, table=True)
    other = linear_params(rng, 17, 25, wide=True)
    ops = [
        LinearOp(first, table),
        LinearOp(second, other, x_base=beside),
        LinearOp(first, table, rows=np.array([6, 2]), load_x=False, load_table=False),
        LinearOp(second, other, rows=np.array([0, 5, 5]), load_x=False, x_base=beside),
    ]
    assert_linear(csim(name), ops)


@pytest.mark.parametrize("name", CONFIGS)
def test_attention_operations(csim: Make, name: str) -> None:
    rng, cfg = np.random.default_rng(4), CONFIGS[name].attention
    most = cfg.dim_lanes * cfg.max_dim_tiles
    shapes = [(1, 1, 1), (3, 17, 16), (4, 5, 9), (2, 64, most), (5, 33, 11)]
    ops = [attention_op(rng, *shape, extreme=i % 2 == 1) for i, shape in enumerate(shapes * 2)]
    assert assert_attention(csim(name), ops) > 0


def test_too_many_tokens_or_words_are_refused(csim: Make) -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (33, 8)).astype(np.int8)
    with pytest.raises(HwmoeError, match="max_tokens"):
        csim("plain").linear([LinearOp(x, linear_params(rng, 8, 8))])
    with pytest.raises(HwmoeError, match="x_words"):
        csim("plain").linear([LinearOp(x[:8], linear_params(rng, 8, 8), x_base=505)])
    with pytest.raises(HwmoeError, match="max_dim_tiles"):
        csim("plain").attention([attention_op(rng, 1, 2, 33)])


def test_attention_of_nothing_answers_at_once(csim: Make) -> None:
    """A size of 0 moves no beat and answers status 0, as the SystemVerilog does."""
    sim = csim("plain")
    whole = {"n_tok": 3, "dim_tiles": 1, "head_groups": 1, "out_shift": 8, "out_mult": 1 << 15}
    for empty in ("n_tok", "dim_tiles", "head_groups"):
        command = pack_fields(ATTENTION_COMMAND, {**whole, empty: 0})
        widths = attention_widths(sim.acc.attention)[0]
        case = join("attention", empty, [{"cmd": command}], widths, 0)
        status = sim.streams("attention", case).outputs["m_axis_status"]
        assert status.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("port", "beats", "message"),
    [("w", -1, "read from the empty stream s_axis_w"), ("x", 1, "1 beats in s_axis_x")],
)
def test_missing_and_surplus_beats_are_noticed(
    csim: Make, port: str, beats: int, message: str
) -> None:
    rng, sim = np.random.default_rng(6), csim("plain")
    x = rng.integers(-128, 128, (3, 8)).astype(np.int8)
    case = linear_case(sim.acc.linear, "case", [LinearOp(x, linear_params(rng, 8, 8))])
    data = case.inputs[f"s_axis_{port}"]
    changed = data[:beats] if beats < 0 else np.concatenate([data, data[:beats]])
    case.inputs[f"s_axis_{port}"] = changed  # type: ignore[index]
    with pytest.raises(HwmoeError, match=message):
        sim.streams("linear", case)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("hwmoe_numerics.hpp", "prod_t(1) << (shift - 1))) >> shift", "prod_t(0))) >> shift"),
        ("hwmoe_types.hpp", "127, 124, 122,", "127, 125, 122,"),
    ],
)
def test_a_planted_fault_is_caught(tmp_path: Path, file: str, old: str, new: str) -> None:
    files = project("odd")
    assert files[file].count(old) == 1
    files[file] = files[file].replace(old, new)
    faulty = CSim(files, CONFIGS["odd"], tmp_path, ["-O1"])
    rng = np.random.default_rng(7)

    def conformance() -> None:
        assert_linear(faulty, random_ops("odd", 7, 20))
        assert_attention(faulty, [attention_op(rng, 2, 17, 8) for _ in range(10)])

    with pytest.raises(AssertionError):
        conformance()


def test_exact_types_give_the_same_results(exact: CSim) -> None:
    """With ap_int every value has the bits of the hardware: none of them overflows."""
    assert_linear(exact, random_ops("narrow", 8, 30))
    rng = np.random.default_rng(8)
    assert_attention(exact, [attention_op(rng, 3, 9, 20, extreme=bool(i % 2)) for i in range(6)])
