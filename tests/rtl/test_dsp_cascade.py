"""Two int8 products in one DSP48E2: the cascades against their twin and against Python integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dsp_bench import SOURCES, TAPS, Bench, Script, build, depth, variant

from hwmoe.errors import HwmoeError
from hwmoe.sim.verilator import lint

pytestmark = pytest.mark.xdist_group("dsp_cascade")  # with --dist loadgroup: one build for all

WEIGHT, X_LOW, X_HIGH = 127, -128, 127  # |weight| <= WEIGHT


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return build(tmp_path_factory.mktemp("dsp"), [(t, "") for t in TAPS])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("faulty")
    extra = [path for name, changes in FAULTS.items() for path in variant(folder, name, changes)]
    return build(folder, [(t, name) for name in FAULTS for t in FAULTY_TAPS[name]], extra)


# --- what is driven -------------------------------------------------------------------------------


def every_product(t_in: int) -> Script:
    """All 255 x 256 products in each field while the other field is at either extreme.

    The product is that of tap 0; all other taps put +-127 * -128 into the other field. The first
    k taps are the same for a chain of k.
    """
    settings = [
        (field, own, other)
        for field in (0, 1)
        for other in (-WEIGHT, WEIGHT)
        for own in range(-WEIGHT, WEIGHT + 1)
    ]
    weights = np.zeros((len(settings), 2, t_in), np.int8)
    x = np.full((len(settings), 256, t_in), X_LOW, np.int8)
    for s, (field, own, other) in enumerate(settings):
        weights[s, 1 - field] = other
        weights[s, field, 0] = own
        x[s, :, 0] = np.arange(-128, 128)
    return Script.blocks(weights, x)


def corners(t_in: int) -> Script:
    """Sums at their limits: all equal, alternating, one hot; every combination of both fields."""
    sign = np.where(np.arange(t_in) % 2 == 0, 1, -1)
    hot = np.eye(t_in, dtype=np.int64)
    zero, one = np.zeros((1, t_in), np.int64), np.ones((1, t_in), np.int64)
    full = np.concatenate([zero, one, -one, sign[None], -sign[None]])
    pairs = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2)
    weights = np.concatenate(
        [full[pairs], np.stack([hot, -hot], axis=1), np.stack([-hot, hot[::-1]], axis=1)]
    )
    x_full = [zero, X_LOW * one, X_HIGH * one]
    x_full += [np.where(s * sign > 0, X_LOW, X_HIGH)[None] for s in (1, -1)]
    x = np.concatenate([*x_full, X_LOW * hot, X_HIGH * hot])
    return Script.blocks(
        (WEIGHT * weights).astype(np.int8),
        np.tile(x.astype(np.int8), (len(weights), 1, 1)).reshape(-1, *x.shape),
    )


def draw(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Any values; in every third row only the limits."""
    values = rng.integers(low, high + 1, shape)
    limits = np.where(rng.random(shape) < 0.5, low, high)
    return np.where(rng.random((shape[0], *[1] * (len(shape) - 1))) < 1 / 3, limits, values)


def random_swaps(t_in: int, cycles: int, seed: int) -> Script:
    """Loads of one row or both and swaps at any moment, x in every cycle."""
    rng = np.random.default_rng([seed, t_in])
    script = Script.idle(cycles)
    script.x[:] = draw(rng, X_LOW, X_HIGH, script.x.shape)
    script.rows[:] = draw(rng, -WEIGHT, WEIGHT, script.rows.shape)
    script.load[0] = script.swap[1] = True
    for n in range(2, cycles):
        if n % 64 == 2:  # long computing, busy swapping
            swap_rate, load_rate = rng.choice([0.01, 0.1, 0.6]), rng.choice([0.1, 0.5, 1.0])
        if rng.random() < load_rate:
            script.load[n] = [(True, False), (False, True), (True, True)][rng.integers(3)]
        script.swap[n] = rng.random() < swap_rate
    return script


# --- the hardware ---------------------------------------------------------------------------------


def test_every_product(whole: Bench) -> None:
    script = every_product(16)
    seen = np.unique(script.expected(1), axis=0)
    products = np.outer(np.arange(-WEIGHT, WEIGHT + 1), np.arange(X_LOW, X_HIGH + 1))
    assert np.isin(products, seen[:, 0]).all()
    assert np.isin(products, seen[:, 1]).all()
    whole.check(script, [t for t in TAPS if t <= 16])


@pytest.mark.parametrize("t_in", TAPS)
def test_corners(whole: Bench, t_in: int) -> None:
    script = corners(t_in)
    assert abs(script.expected(t_in)).max() == t_in * WEIGHT * -X_LOW
    whole.check(script)


@pytest.mark.parametrize("t_in", TAPS)
def test_loads_and_swaps_at_any_moment(whole: Bench, t_in: int) -> None:
    for seed in range(3):
        script = random_swaps(t_in, 4000, seed)
        loads, swaps = np.flatnonzero(script.load.any(axis=1)), np.flatnonzero(script.swap)
        for gap in range(-1, depth(t_in) + 2):  # from a swap to a load
            assert np.isin(swaps + gap, loads).any()
        assert (np.diff(swaps) == 1).any()
        whole.check(script, [t_in])


def test_forbidden_weight_is_reported(whole: Bench) -> None:
    for channel, tap in ((0, 0), (1, 15)):
        script = random_swaps(16, 200, 0)
        script.load[100] = True  # what the pipes hold at power-up is long gone
        script.rows[100, channel, tap] = -128
        for skip, name in ((1, "twin"), (2, "cascade")):
            script.skip = skip
            with pytest.raises(HwmoeError, match=f"hwmoe_dot_{name}"):
                whole.run(script, [(16, "")])


def test_shared_slots_and_loads(tmp_path: Path) -> None:
    """Only lint: the sizes that the bench does not have."""
    for t_in, t_out, slots, share in ((35, 6, 4, 1), (1, 2, 2, 2), (16, 12, 4, 4)):
        for primitive in (0, 1):
            top = tmp_path / f"top_{t_in}_{primitive}.sv"
            loads = t_out // share * (depth(t_in) if primitive else 1)
            top.write_text(
                f"module {top.stem} (input logic clk, input logic [{loads}-1:0] load,"
                f" input logic [{8 * t_in * slots}-1:0] rows, input logic swap,"
                f" input logic [{8 * t_in}-1:0] x,"
                f" output logic [{t_out * (16 + (t_in - 1).bit_length())}-1:0] y);\n"
                f"  hwmoe_dot_pairs #(.T_IN({t_in}), .T_OUT({t_out}), .SLOTS({slots}),"
                f" .SHARE({share}), .PRIMITIVE({primitive}))"
                " i_dut (.clk, .load, .rows, .swap, .x, .y);\n"
                "endmodule\n"
            )
            assert lint([top, *SOURCES], top.stem) == ""


def test_primitives_lint_without_warning() -> None:
    assert lint(SOURCES, "hwmoe_dot_cascade") == ""
    assert lint(SOURCES, "hwmoe_dot_pairs") == ""


# --- planted faults -------------------------------------------------------------------------------

FAULTS = {
    "_rnd": {".RND(48'd1 << (SP - 1))": ".RND(48'd0)"},
    "_sp18": {"SP = 19": "SP = 18"},
    "_swap": {"swap[DELAY]": "swap[0]"},
    "_load": {".CED(load[K+DELAY])": ".CED(load[K])"},
}
FAULTY_TAPS = {"_rnd": (2, 16), "_sp18": (8, 16), "_swap": (1, 2), "_load": (1, 2)}


def test_without_the_rounding_constant(faulty: Bench) -> None:
    for t_in in FAULTY_TAPS["_rnd"]:
        script = corners(t_in)
        error, low = faulty.error(script, (t_in, "_rnd")), script.expected(t_in)[:, 0]
        # The high field is short of the borrow. The low one shows only where it fills its field.
        assert (error[:, 1] == -(low < 0).astype(int)).all()
        assert error[:, 1].any()
        assert error[:, 0].any() == (t_in == 16)


def test_spacing_of_18_bits(faulty: Bench) -> None:
    for t_in in FAULTY_TAPS["_sp18"]:
        assert faulty.error(corners(t_in), (t_in, "_sp18")).any() == (t_in == 16)


@pytest.mark.parametrize("fault", ["_swap", "_load"])
def test_pulses_without_skew(faulty: Bench, fault: str) -> None:
    assert not faulty.error(random_swaps(1, 1000, 0), (1, fault)).any()
    assert faulty.error(random_swaps(2, 1000, 0), (2, fault)).any()
