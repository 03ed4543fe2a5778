"""Two int8 products in one DSP48E2: the cascades against their twin and against Python integers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import hwmoe
from hwmoe.errors import HwmoeError
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.streams import StreamCase
from hwmoe.sim.verilator import lint

pytestmark = pytest.mark.xdist_group("dsp_cascade")  # with --dist loadgroup: one build for all

RTL = Path(hwmoe.__file__).parent / "templates" / "rtl"
SOURCES = [*sorted((RTL / "dsp").glob("*.sv")), RTL / "lib" / "hwmoe_adder_tree.sv"]
TAPS = (1, 2, 7, 8, 15, 16, 35)  # 35: chains of 12, 12 and 11
WIDEST = max(TAPS)
SP = 19
WEIGHT, X_LOW, X_HIGH = 127, -128, 127  # |weight| <= WEIGHT


def chains(t_in: int) -> int:
    return -(-t_in // 16)


def depth(t_in: int) -> int:
    """K: taps of the longest chain."""
    return -(-t_in // chains(t_in))


def latency(t_in: int) -> int:
    return depth(t_in) + 4 + (chains(t_in) - 1).bit_length()


# --- the bench: instances of several sizes, primitives beside twin, all fed by one stream ---------

INSTANCE = """
  wire [{sum_w}-1:0] p{name}_0, p{name}_1, q{name}_0, q{name}_1;
  wire on{name} = s_axis_c_TVALID && s_axis_c_TDATA[8+{index}];
  wire [2*8*{t}-1:0] rows{name} = {{row_1[8*{t}-1:0], row_0[8*{t}-1:0]}};
  hwmoe_dot_pairs{fault} #(.T_IN({t}), .T_OUT(2), .SLOTS(2), .PRIMITIVE(1)) i_dsp{name} (
      .clk(ap_clk), .load(load & {{2{{on{name}}}}}), .rows(rows{name}), .swap(swap && on{name}),
      .x(x[8*{t}-1:0]), .y({{p{name}_1, p{name}_0}}));
  hwmoe_dot_pairs #(.T_IN({t}), .T_OUT(2), .SLOTS(2), .PRIMITIVE(0)) i_twin{name} (
      .clk(ap_clk), .load(load & {{2{{on{name}}}}}), .rows(rows{name}), .swap(swap && on{name}),
      .x(x[8*{t}-1:0]), .y({{q{name}_1, q{name}_0}}));
  reg [{latency}-1:0] valids{name};
  always @(posedge ap_clk)
    if (!ap_rst_n) valids{name} <= 0;
    else valids{name} <= {latency}'({{valids{name}, on{name}}});
  assign m_axis_y{name}_TVALID = valids{name}[{latency}-1];
  assign m_axis_y{name}_TDATA = {{32'($signed(q{name}_1)), 32'($signed(q{name}_0)),
                                  32'($signed(p{name}_1)), 32'($signed(p{name}_0))}};
"""

Instance = tuple[int, str]  # T_IN, and the fault of its cascade ("" for none)


def port(instance: Instance) -> str:
    return f"m_axis_y{instance[0]}{instance[1]}"


def bench(instances: Sequence[Instance]) -> str:
    ports = "".join(
        f",\n    output [127:0] {port(one)}_TDATA, output {port(one)}_TVALID,"
        f" input {port(one)}_TREADY"
        for one in instances
    )
    bodies = "".join(
        INSTANCE.format(
            name=f"{t}{fault}",
            t=t,
            fault=fault,
            index=index,
            latency=latency(t),
            sum_w=16 + (t - 1).bit_length(),
        )
        for index, (t, fault) in enumerate(instances)
    )
    width = 8 * WIDEST
    return f"""module dsp_bench (
    input ap_clk, input ap_rst_n,
    input [{16 + 3 * width}-1:0] s_axis_c_TDATA, input s_axis_c_TVALID, output s_axis_c_TREADY
    {ports});
  wire [1:0] load = s_axis_c_TDATA[1:0];
  wire swap = s_axis_c_TDATA[2];
  wire [{width}-1:0] x = s_axis_c_TDATA[16+:{width}];
  wire [{width}-1:0] row_0 = s_axis_c_TDATA[{16 + width}+:{width}];
  wire [{width}-1:0] row_1 = s_axis_c_TDATA[{16 + 2 * width}+:{width}];
  assign s_axis_c_TREADY = 1;
{bodies}
endmodule
"""


@dataclass
class Bench:
    instances: Sequence[Instance]
    kernel: CompiledKernel

    def run(self, script: Script, chosen: Sequence[Instance]) -> list[np.ndarray]:
        """int32 [cycles, (cascade, twin), channel] of each; holds them to their latency."""
        beats = script.beats(sum(1 << self.instances.index(one) for one in chosen))
        outputs = {port(one): len(beats) for one in chosen}
        result = self.kernel.run(StreamCase("dsp", {"s_axis_c": beats}, outputs))
        for one in chosen:
            late = result.stamps[port(one)] - result.stamps["s_axis_c"]
            assert (late == latency(one[0])).all()
        return [result.outputs[port(one)].view("<i4").reshape(-1, 2, 2) for one in chosen]

    def check(self, script: Script, taps: Sequence[int] = TAPS) -> None:
        for t, got in zip(taps, self.run(script, [(t, "") for t in taps]), strict=True):
            want = script.expected(t)
            assert (got[:, 0] == want).all(), f"{t} inputs: the cascade is wrong"
            assert (got[:, 1] == want).all(), f"{t} inputs: the twin is wrong"

    def error(self, script: Script, instance: Instance) -> np.ndarray:
        """Cascade minus truth [cycles, channel] of a faulty one; the twin is right."""
        (got,), want = self.run(script, [instance]), script.expected(instance[0])
        assert (got[:, 1] == want).all()
        return got[:, 0] - want


@dataclass
class Script:
    """What is driven, a row a cycle: x [n, WIDEST], rows [n, 2, WIDEST], load [n, 2], swap [n]."""

    x: np.ndarray
    rows: np.ndarray
    load: np.ndarray
    swap: np.ndarray

    @classmethod
    def idle(cls, cycles: int) -> Script:
        return cls(
            np.zeros((cycles, WIDEST), np.int8),
            np.zeros((cycles, 2, WIDEST), np.int8),
            np.zeros((cycles, 2), bool),
            np.zeros(cycles, bool),
        )

    @classmethod
    def blocks(cls, weights: np.ndarray, x: np.ndarray) -> Script:
        """Every pair of rows in weights [s, 2, t] with every one of x [s, n >= 17, t]."""
        count, length, width = x.shape
        script = cls.idle(1 + count * length)
        starts = 1 + length * np.arange(count)
        script.x[1:, :width] = x.reshape(-1, width)
        script.swap[starts] = True
        loads = np.concatenate([[0], starts[:-1] + 16])  # while the block before is computed
        script.load[loads] = True
        script.rows[loads, :, :width] = weights
        return script

    def beats(self, mask: int) -> np.ndarray:
        n = len(self.x)
        head = np.zeros((n, 2), np.uint8)
        head[:, 0] = self.load[:, 0] | self.load[:, 1] << 1 | self.swap << 2
        head[:, 1] = mask
        body = (self.x.view(np.uint8), self.rows.reshape(n, -1).view(np.uint8))
        return np.ascontiguousarray(np.concatenate([head, *body], axis=1))

    def expected(self, t_in: int) -> np.ndarray:
        """y [n, 2] of the first `t_in` inputs, from the definition alone."""
        x, rows = self.x[:, :t_in].astype(np.int64), self.rows[:, :, :t_in].astype(np.int64)
        y = np.zeros((len(x), 2), np.int64)
        shadow, active = np.zeros((2, t_in), np.int64), np.zeros((2, t_in), np.int64)
        events = np.flatnonzero(self.load.any(axis=1) | self.swap)
        for n, after in zip(events, [*events[1:], len(x)], strict=True):
            if self.swap[n]:
                active = shadow.copy()
            shadow[self.load[n]] = rows[n][self.load[n]]
            y[n:after] = x[n:after] @ active.T
        return y


def variant(folder: Path, name: str, changes: Mapping[str, str]) -> list[Path]:
    """A faulty hwmoe_dot_cascade, and a hwmoe_dot_pairs{name} on top of it."""
    cascade = (RTL / "dsp" / "hwmoe_dot_cascade.sv").read_text()
    for old, new in changes.items():
        assert cascade.count(old) == 1, old
        cascade = cascade.replace(old, new)
    pairs = (RTL / "dsp" / "hwmoe_dot_pairs.sv").read_text()
    paths = []
    for text, module in ((cascade, "hwmoe_dot_cascade"), (pairs, "hwmoe_dot_pairs")):
        for known in ("hwmoe_dot_cascade", "hwmoe_dot_pairs"):
            text = re.sub(rf"\b{known}\b", known + name, text)
        paths.append(folder / f"{module}{name}.sv")
        paths[-1].write_text(text)
    return paths


def build(folder: Path, instances: Sequence[Instance], extra: Sequence[Path] = ()) -> Bench:
    top = folder / "dsp_bench.sv"
    top.write_text(bench(instances))
    kernel = CompiledKernel(
        "dsp_bench",
        [top, *SOURCES, *extra],
        {"s_axis_c": 2 + 3 * WIDEST},
        {port(one): 16 for one in instances},
        folder / "build",
        optimize="-O0",
    )
    return Bench(instances, kernel)


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
    x = np.concatenate([x, np.tile(one, (max(0, 17 - len(x)), 1))]).astype(np.int8)
    return Script.blocks(
        (WEIGHT * weights).astype(np.int8), np.tile(x, (len(weights), 1, 1)).reshape(-1, *x.shape)
    )


def draw(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Any values; in every third row only the limits."""
    values = rng.integers(low, high + 1, shape)
    limits = np.where(rng.random(shape) < 0.5, low, high)
    return np.where(rng.random((shape[0], *[1] * (len(shape) - 1))) < 1 / 3, limits, values)


def random_swaps(t_in: int, cycles: int, seed: int) -> Script:
    """Loads of one row or both and swaps at any moment that the rule allows, x in every cycle."""
    rng = np.random.default_rng([seed, t_in])
    script = Script.idle(cycles)
    script.x[:] = draw(rng, X_LOW, X_HIGH, script.x.shape)
    script.rows[:] = draw(rng, -WEIGHT, WEIGHT, script.rows.shape)
    script.load[0] = script.swap[1] = True
    closed, swap_rate, load_rate = 1 + depth(t_in), 0.1, 0.3
    for n in range(2, cycles):
        if n % 64 == 0:  # long computing, busy swapping
            swap_rate, load_rate = rng.choice([0.01, 0.1, 0.6]), rng.choice([0.1, 0.5, 1.0])
        if n >= closed and rng.random() < load_rate:
            script.load[n] = [(True, False), (False, True), (True, True)][rng.integers(3)]
        elif rng.random() < swap_rate:
            script.swap[n] = True
            closed = n + depth(t_in)
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
def test_swaps_at_any_moment(whole: Bench, t_in: int) -> None:
    for seed in range(3):
        script = random_swaps(t_in, 4000, seed)
        loads, swaps = np.flatnonzero(script.load.any(axis=1)), np.flatnonzero(script.swap)
        assert np.isin(swaps + depth(t_in), loads).any()  # as early as allowed
        assert np.isin(loads + 1, swaps).any()  # as late as allowed
        assert (np.diff(swaps) == 1).any()
        whole.check(script, [t_in])


@pytest.mark.parametrize("t_in", [1, 16, 35])
def test_load_too_early_is_reported(whole: Bench, t_in: int) -> None:
    for gap in range(depth(t_in) + 1):
        script = random_swaps(t_in, 60, 0)
        script.load[2:], script.swap[2:] = False, False
        script.swap[30] = script.load[30 + gap, 1] = True
        if gap == depth(t_in):
            whole.check(script, [t_in])
        else:
            with pytest.raises(HwmoeError, match="hwmoe_dot_pairs"):
                whole.run(script, [(t_in, "")])


def test_forbidden_weight_is_reported(whole: Bench) -> None:
    script = random_swaps(16, 60, 0)
    script.rows[0, 1, 15] = -128
    with pytest.raises(HwmoeError, match="hwmoe_dot_pairs"):
        whole.run(script, [(16, "")])


def test_odd_channels_and_shared_slots(tmp_path: Path) -> None:
    """Only lint: the generate branches that the bench does not take."""
    for t_in, t_out, slots in ((35, 5, 4), (1, 1, 1), (16, 4, 1)):
        for primitive in (0, 1):
            top = tmp_path / f"top_{t_in}_{primitive}.sv"
            top.write_text(
                f"module {top.stem} (input logic clk, input logic [{t_out}-1:0] load,"
                f" input logic [{8 * t_in * slots}-1:0] rows, input logic swap,"
                f" input logic [{8 * t_in}-1:0] x,"
                f" output logic [{t_out * (16 + (t_in - 1).bit_length())}-1:0] y);\n"
                f"  hwmoe_dot_pairs #(.T_IN({t_in}), .T_OUT({t_out}), .SLOTS({slots}),"
                f" .PRIMITIVE({primitive})) i_dut (.clk, .load, .rows, .swap, .x, .y);\n"
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
}
FAULTY_TAPS = {"_rnd": (2, 16), "_sp18": (8, 16), "_swap": (1, 2)}


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


def test_swap_without_skew(faulty: Bench) -> None:
    assert not faulty.error(random_swaps(1, 1000, 0), (1, "_swap")).any()
    assert faulty.error(random_swaps(2, 1000, 0), (2, "_swap")).any()
