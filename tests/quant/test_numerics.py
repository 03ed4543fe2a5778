"""The arithmetic of docs/numerics.md against plain Python integers, value by value."""

from __future__ import annotations

import math

import integer_oracle as oracle
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmoe.errors import HwmoeError
from hwmoe.quant import numerics
from hwmoe.quant.numerics import INT8, INT16, Saturations

ACC = st.integers(-(2**26) + 1, 2**26 - 1)
MULT = st.integers(0, 2**17 - 1)
SHIFT = st.sampled_from(numerics.SHIFTS)
FAST = settings(max_examples=60, deadline=None)


def array(values: object) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


# ---- rescaling ----------------------------------------------------------------------------------


@given(st.lists(ACC, min_size=1, max_size=8), MULT, SHIFT)
@FAST
def test_rescale_is_exact(acc: list[int], m: int, s: int) -> None:
    got = numerics.rescale(array(acc), m, s)
    assert got.tolist() == [oracle.rescale(a, m, s) for a in acc]


def test_halves_round_up_also_below_zero() -> None:
    halves = array([-3, -1, 1, 3])  # of 2: -1.5, -0.5, 0.5, 1.5
    assert numerics.rescale(halves, 1 << 8, 9).tolist() == [-1, 0, 1, 2]


def test_rescale_at_the_ends_of_27_by_18_bits() -> None:
    ends = np.array([2**26 - 1, -(2**26)], np.int32)
    assert numerics.rescale(ends, 2**17 - 1, 9).tolist() == [
        ((2**26 - 1) * (2**17 - 1) + 256) // 512,
        (-(2**26) * (2**17 - 1) + 256) // 512,
    ]


@given(st.floats(1e-12, 250.0))
@FAST
def test_choose_shift_is_the_largest_that_fits(ratio: float) -> None:
    shift = numerics.choose_shift([ratio / 3, ratio], "op")
    multiplier = round(ratio * 2**shift)
    assert multiplier < 2**17
    if shift < 24:
        assert round(ratio * 2 ** (shift + 5)) >= 2**17
        assert multiplier.bit_length() >= 12


def test_choose_shift_limits() -> None:
    assert numerics.choose_shift([], "op") == 24
    assert numerics.choose_shift([0.0], "op") == 24
    assert numerics.choose_shift([-255.9], "op") == 9  # a magnitude counts
    assert numerics.choose_shift([(2**17 - 1) / 2**24], "op") == 24
    assert numerics.choose_shift([(2**17 - 0.5) / 2**24], "op") == 19  # would round to 2^17
    with pytest.raises(HwmoeError, match=r"blocks\.3\.qkv: a scale ratio of 256 needs more"):
        numerics.choose_shift([1.0, 256.0], "blocks.3.qkv")


@pytest.mark.parametrize(("limits", "kind"), [(INT8, np.int8), (INT16, np.int16)])
def test_saturate_counts_what_it_changes(limits: tuple[int, int], kind: type) -> None:
    low, high = limits
    sat = Saturations()
    values = array([low - 1, low, 0, high, high + 1, 10**9])
    got = numerics.saturate(values, limits, "site", sat)
    assert got.dtype == kind
    assert got.tolist() == [low, low, 0, high, high, high]
    numerics.saturate(array([low, high]), limits, "quiet", sat)
    numerics.saturate(array([high + 5]), limits, "site", sat)
    assert sat == {"site": 4, "quiet": 0}
    assert sat.total == 4


# ---- bits, roots, tables ------------------------------------------------------------------------


def test_bit_length() -> None:
    values = [0, 1, *(2**k + d for k in range(1, 62) for d in (-1, 0, 1))]
    assert numerics.bit_length(array(values)).tolist() == [v.bit_length() for v in values]


def test_isqrt32_around_every_perfect_square() -> None:
    roots = np.arange(1, 2**16, dtype=np.int64)
    for step in (-1, 0, 1):
        found = numerics.isqrt32(roots * roots + step)
        assert (found == roots - (step < 0)).all()
    assert numerics.isqrt32(array([0, 2**32 - 1])).tolist() == [0, 2**16 - 1]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
@FAST
def test_isqrt32_random(values: list[int]) -> None:
    assert numerics.isqrt32(array(values)).tolist() == [math.isqrt(v) for v in values]


@pytest.mark.parametrize(("s_in", "s_out"), [(0.03, 0.02), (0.5, 0.1), (1e-3, 1e-3), (2.0, 0.01)])
def test_gelu_table(s_in: float, s_out: float) -> None:
    table = numerics.gelu_table(s_in, s_out)
    assert table.shape == (256,)
    assert table.dtype == np.int8
    for code in range(-128, 128):
        x = code * s_in
        exact = 0.5 * x * math.erfc(-x / math.sqrt(2)) / s_out
        got = int(table[code & 255])
        assert abs(got - min(max(exact, -128), 127)) <= 0.5 + 1e-9, code
    assert table[0] == 0


def test_exponential_tables_are_those_of_the_contract() -> None:
    assert numerics.EXP7.tolist() == oracle.EXP7
    assert numerics.EXP15.tolist() == oracle.EXP15
    assert (numerics.EXP7[0], numerics.EXP7[255]) == (127, 0)
    assert round(127 * math.exp(-255 / 47)) > 0  # 46 is the finest grid that ends in 0
    assert (np.diff(numerics.EXP7) <= 0).all()
    assert (np.diff(numerics.EXP15) <= 0).all()
    assert numerics.EXP7.max() < 2**7
    assert numerics.EXP15.max() < 2**15


# ---- LayerNorm ----------------------------------------------------------------------------------


def rows_of(dim: int) -> npt.NDArray[np.int16]:
    """Extreme rows: constant, all but one at an end, alternating ends, tiny and random ones."""
    rng = np.random.default_rng(dim)
    spike = np.full(dim, -32768)
    spike[dim // 2] = 32767
    bump = np.zeros(dim)
    bump[-1] = 1
    rows = [
        np.zeros(dim),
        np.full(dim, 32767),
        np.full(dim, -32768),
        spike,
        -1 - spike,
        bump,
        np.where(np.arange(dim) % 2, 32767, -32768),
        rng.integers(-3, 4, dim),
        rng.integers(-32768, 32768, dim),
        rng.normal(0, 3000, dim).clip(-32768, 32767).round(),
    ]
    return np.array(rows).astype(np.int16)


@pytest.mark.parametrize("dim", [1, 2, 3, 31, 192, 1024])
@pytest.mark.parametrize("eps", [1, 12345, 2**40])
@pytest.mark.parametrize("shift", numerics.SHIFTS)
def test_layernorm_equals_the_oracle(dim: int, eps: int, shift: int) -> None:
    rng = np.random.default_rng([dim, shift])
    gain = rng.integers(-(2**17) + 1, 2**17, dim)
    bias = rng.integers(-(2**31), 2**31, dim)
    x = rows_of(dim)
    got = numerics.layernorm(x, gain.astype(np.int32), bias.astype(np.int32), eps, shift)
    want = [oracle.layernorm(row, gain.tolist(), bias.tolist(), eps, shift) for row in x.tolist()]
    assert got.tolist() == want


@pytest.mark.parametrize("dim", [1, 2, 17, 768, 1024])
@pytest.mark.parametrize("eps", [1, 10**6])
def test_layernorm_is_a_layernorm(dim: int, eps: int) -> None:
    """z is off by half a step of 2^-10 and a relative 2^-14 of root and reciprocal at most."""
    x = rows_of(dim)
    gain = np.full(dim, 50_000, np.int32)
    shift = 14
    y = numerics.layernorm(x, gain, np.full(dim, 3 << shift, np.int32), eps, shift)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    z = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps / dim**2)
    per_z = 50_000 * 1024 / 2**shift
    allowed = 0.5 + per_z * (0.5 / 1024 + np.abs(z) * 2**-14)
    assert (np.abs(y - (z * per_z + 3)) <= allowed + 1e-6).all()


# ---- attention ----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=40),
    st.integers(0, 2**17 - 1),
    SHIFT,
)
@FAST
def test_attention_probabilities(scores: list[int], m: int, s: int) -> None:
    p, total = numerics.attention_probabilities(array([scores]), m, s)
    assert p[0].tolist() == oracle.probabilities(scores, m, s)
    assert total.tolist() == [[sum(p[0].tolist())]]
    assert total[0, 0] >= 127


@given(
    st.lists(st.integers(-(2**26) + 1, 2**26 - 1), min_size=1, max_size=8),
    st.integers(127, 127 * 1024),
    st.integers(2**15, 2**16 - 1),
    st.integers(8, 24),
)
@FAST
def test_normalize_rows(acc: list[int], total: int, c: int, f: int) -> None:
    got = numerics.normalize_rows(array([acc]), array([[total]]), c, f)
    assert got[0].tolist() == oracle.normalized(acc, total, c, f)


@pytest.mark.parametrize("total", [127, 128, 255, 256, 127 * 1024])
def test_normalize_rows_at_powers_of_two(total: int) -> None:
    acc = [-128 * total, 0, 127 * total]
    got = numerics.normalize_rows(array([acc]), array([[total]]), 1 << 15, 15)
    assert got[0].tolist() == oracle.normalized(acc, total, 1 << 15, 15)
    assert np.abs(got[0] - array([-128, 0, 127])).max() <= 1


# ---- gate ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12), st.data())
@FAST
def test_top_k_gives_ties_to_the_lower_index(logits: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(logits)))
    found = numerics.top_k(np.array([logits], np.int16), k)
    assert found[0].tolist() == oracle.route(logits, k)


def test_top_k_at_the_ends_of_int16() -> None:
    logits = np.array([-32768, 32767, -32768, 32767], np.int16)
    assert numerics.top_k(logits, 4).tolist() == [1, 3, 0, 2]


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=8), st.integers(0, 2**17 - 1), SHIFT
)
@FAST
def test_gate_scores(logits: list[int], m: int, s: int) -> None:
    chosen = sorted(logits, reverse=True)
    got = numerics.gate_scores(np.array([chosen], np.int16), m, s)[0].tolist()
    assert got == oracle.scores(chosen, m, s)
    assert abs(sum(got) - 2**15) <= len(got) / 2
    assert got == sorted(got, reverse=True)


def test_a_lone_expert_has_score_one() -> None:
    assert numerics.gate_scores(np.array([[-5]], np.int16), 77, 9).tolist() == [[2**15]]


LOGITS = st.lists(st.integers(-32768, 32767), min_size=1, max_size=64)


@given(LOGITS, st.integers(1, 8), st.integers(0, 2**17 - 1), SHIFT)
@FAST
def test_gate_scores_over_all(logits: list[int], k: int, m: int, s: int) -> None:
    over, k = np.array([logits], np.int16), min(k, len(logits))
    chosen = np.take_along_axis(over, numerics.top_k(over, k), -1)
    got = numerics.gate_scores(chosen, m, s, over)[0].tolist()
    assert got == oracle.scores(chosen[0].tolist(), m, s, logits)
    assert got == sorted(got, reverse=True)
    assert sum(got) <= 2**15 + k / 2
    own = numerics.gate_scores(chosen, m, s)[0].tolist()
    assert got == own if k == len(logits) else all(a <= b for a, b in zip(got, own, strict=True))


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=64), st.integers(1, 8))
@FAST
def test_gate_scores_over_all_are_those_of_a_float_softmax(values: list[float], k: int) -> None:
    """Within half a step of the grid (1/64 of a score), the table's floor and the rounding."""
    scale = 8 / 32767
    logits = np.round(np.array([values]) / scale).astype(np.int16)
    chosen = np.take_along_axis(logits, numerics.top_k(logits, min(k, len(values))), -1)
    shift = numerics.choose_shift([scale * 32], "gate")
    found = numerics.gate_scores(chosen, round(scale * 32 * 2**shift), shift, logits)
    real = np.exp(scale * logits.astype(np.float64))
    exact = np.exp(scale * chosen.astype(np.float64)) / real.sum()
    floor = (len(values) - 1) * numerics.EXP15[-1] / 32767
    error = np.abs(found / numerics.SCORE_ONE - exact)
    assert (error <= exact * (2 / 64 + floor + 1e-3) + floor * exact.max() + 2**-15).all()


def test_a_lone_choice_of_equals_has_its_share() -> None:
    """k = 1 does not mean a score of 1: ten equal logits are a tenth each."""
    logits = np.full((1, 10), 7, np.int16)
    assert numerics.gate_scores(logits[:, :1], 77, 9, logits).tolist() == [[round(2**15 / 10)]]


@given(st.integers(-32768, 32767), st.integers(0, 2**15))
@FAST
def test_apply_score(y: int, u: int) -> None:
    got = numerics.apply_score(np.array([[y]], np.int16), array([[u]]))
    assert got.tolist() == [[oracle.shifted(y * u, 15)]]
    assert u < 2**15 or got[0, 0] == y


# ---- no float anywhere --------------------------------------------------------------------------


class Integers(np.ndarray):  # type: ignore[type-arg]
    """An array that no float may meet, and that makes all results such arrays."""

    def __array_finalize__(self, other: object) -> None:
        assert self.dtype.kind in "biu", f"an array became {self.dtype}"

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):  # type: ignore[no-untyped-def]
        assert ufunc not in (np.divide, np.sqrt, np.exp)
        for value in inputs:
            assert np.asarray(value).dtype.kind in "biu", f"{ufunc} met {value!r}"
        return integers(getattr(ufunc, method)(*map(_plain, inputs), **kwargs))

    def __array_function__(self, func, types, args, kwargs):  # type: ignore[no-untyped-def]
        return integers(func(*map(_plain, args), **kwargs))


def _plain(value: object) -> object:
    return value.view(np.ndarray) if isinstance(value, Integers) else value


def integers(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(integers, value))
    return np.asarray(value).view(Integers)


@pytest.fixture
def integer_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "EXP7", integers(numerics.EXP7))
    monkeypatch.setattr(numerics, "EXP15", integers(numerics.EXP15))


def test_the_check_for_floats_can_fail() -> None:
    value = integers([1, 2])
    with pytest.raises(AssertionError):
        value * 0.5  # type: ignore[operator]
    with pytest.raises(AssertionError):
        value.astype(np.float64)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError):
        np.mean(value)  # type: ignore[call-overload]


@pytest.mark.usefixtures("integer_tables")
def test_no_float_in_the_arithmetic() -> None:
    x = integers(rows_of(8))
    assert isinstance(x, Integers)
    ones = integers(np.ones(8, np.int64))
    results = [
        numerics.rescale(x, 3, 9),
        numerics.bit_length(abs(x)),
        numerics.isqrt32(abs(x)),
        numerics.layernorm(x, ones, ones, 1, 9),
        *numerics.attention_probabilities(x, 3, 9),
        numerics.normalize_rows(x, integers([[127]]), 1 << 15, 8),
        numerics.top_k(x, 3),
        numerics.gate_scores(integers([[7, 7, -9]]), 3, 9),
        numerics.gate_scores(integers([[7, 7]]), 3, 9, integers([[7, -9, 7]])),
        numerics.apply_score(x, integers([[5]])),
        numerics.saturate(x, INT8, "site", Saturations()),
    ]
    assert all(isinstance(result, Integers) for result in results)
