"""The vector engine against the integer reference: results, tables, clipped values, cycles."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from vector_programs import Programs
from vector_script import ANSWER, COMMAND, WORDS, Script, Tables

from hwmoe.codegen.rtl_vector_engine import TOP, vector_engine_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.streams import StreamCase
from hwmoe.sim.verilator import lint

BENCH = Path(__file__).with_name("vector_bench.sv")


def machine(
    lanes: int,
    part: int,
    port: int,
    tables: Tables,
    max_k: int,
    t_epi: int,
    all_scores: bool = False,
) -> tuple[AcceleratorConfig, Tables]:
    acc = AcceleratorConfig(
        linear=LinearConfig(t_in=lanes, t_out=4 * lanes, t_epi=t_epi),
        attention=AttentionConfig(dim_lanes=t_epi),
        layernorm=LayerNormConfig(lanes=part, max_tiles=24),
        gate=GateConfig(max_experts=tables.max_experts, max_k=max_k, all_scores=all_scores),
        ports=PortsConfig(port_bits=port),
    )
    return acc, tables


CONFIGS = {
    # a beat a word; four beats of parameters for each
    "join": machine(8, 8, 128, Tables(3, 16, 37), max_k=4, t_epi=4, all_scores=True),
    # six beats a word, two from a beat of parameters; lanes are no power of two
    "split": machine(12, 2, 256, Tables(1, 5, 12), max_k=5, t_epi=2),
}
LINTED = CONFIGS | {
    "equal": machine(16, 4, 256, Tables(2, 8, 64), max_k=2, t_epi=4),
    "smallest": machine(4, 4, 256, Tables(1, 1, 1), max_k=1, t_epi=1),
    "wide": machine(128, 8, 512, Tables(16, 256, 256), max_k=8, t_epi=8),
}
# Each: file, where in it, the right expression, and the wrong one.
FAULTS = {
    "ties go to the higher expert": (
        "hwmoe_gate_top.sv",
        "~filled[j] | {};",
        "($signed(logit) > $signed(values[16*j+:16]))",
        "$signed(logit) >= $signed(values[16*j+:16])",
    ),
    "a score is not of its row": (
        "hwmoe_router.sv",
        "score_1 <= {};",
        "put_score",
        "put ? score_1 : put_score",
    ),
    "a beat is lost on its way to a kernel": (
        "hwmoe_vector_feed.sv",
        "m_valid <= {};",
        "word_valid",
        "word_valid & ~part_last",
    ),
    "a result is not written": (
        "hwmoe_vector_pack.sv",
        "w_valid <= {};",
        "take_last",
        "take_last & ~addr[2]",
    ),
    "a list forgets an entry put just before": (
        "hwmoe_router_len.sv",
        "put_index = {} ?",
        "(put_2 & (entry_2 == entry_1))",
        "1'b0",
    ),
    "lengths are not cleared": ("hwmoe_router_len.sv", "= {} | put_1;", "clearing", "1'b0"),
    "a sum wraps": ("hwmoe_vector_add_lane.sv", "= {};", "sum_4[16] == sum_4[15]", "1'b1"),
    "half is not added": ("hwmoe_vector_add_lane.sv", "+ {};", "32'sd16384", "32'sd0"),
    "a listed add takes rows in order": (
        "hwmoe_vector_add_seq.sv",
        "? {} : row_1;",
        "list_row",
        "row_1",
    ),
    "words of a row are read side by side": (
        "hwmoe_vector_walk.sv",
        "addr + {};",
        "stride",
        "16'd1",
    ),
    "the last clipped lanes are not counted": (
        "hwmoe_vector_add.sv",
        "clipped + {};",
        "32'(ones_sum)",
        "(w_valid ? 32'(ones_sum) : 0)",
    ),
}


class Bench:
    """The compiled bench of one configuration."""

    def __init__(
        self, config: tuple[AcceleratorConfig, Tables], folder: Path, faulty: bool = False
    ):
        acc = config[0]
        files = vector_engine_rtl(*config)
        if faulty:
            plant(files)
        widths = {
            "L = 8": acc.linear.t_in,
            "PORT_BITS = 128": acc.ports.port_bits,
            "GRAIN = 4": acc.act8_grain,
            "WORDS = 256": WORDS,
        }
        text = BENCH.read_text()
        for default, value in widths.items():
            assert text.count(f"int {default}") == 1
            text = text.replace(f"int {default}", f"int {default.split()[0]} = {value}")
        files["vector_bench.sv"] = text
        sources = write(files, folder / "rtl")
        inputs = {"s_axis_c": COMMAND, "s_axis_p": acc.ports.port_bits // 8}
        outputs = {"m_axis_r": ANSWER}
        self.kernel = CompiledKernel(
            "vector_bench", sources, inputs, outputs, folder / "build", optimize="-O0"
        )

    def run(self, script: Script, stall: float, seed: int) -> tuple[list[str], np.ndarray]:
        """What is wrong, in words; and all answers."""
        inputs = {"s_axis_c": np.frombuffer(b"".join(script.commands), np.uint8)}
        inputs["s_axis_c"] = inputs["s_axis_c"].reshape(-1, COMMAND)
        if script.params:
            inputs["s_axis_p"] = np.concatenate(script.params)
        case = StreamCase("script", inputs, {"m_axis_r": len(script.wanted)})
        answers = self.kernel.run(case, stall, seed, timeout_cycles=200_000).outputs["m_axis_r"]
        pairs = zip(script.wanted, answers, strict=True)
        wrong = [what for (what, want), got in pairs if got[: len(want)].tobytes() != want]
        return wrong, answers


def plant(files: dict[str, str]) -> None:
    """All faults, each of them at work only while the bench is set to its number."""
    for number, (name, place, right, wrong) in enumerate(FAULTS.values(), start=1):
        assert files[name].count(place.format(right)) == 1, (name, right)
        chosen = f"((vector_bench.fault == 8'd{number}) ? ({wrong}) : ({right}))"
        files[name] = files[name].replace(place.format(right), place.format(chosen))


def write(files: dict[str, str], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


FAULTY = "split"


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """All configurations; FAULTY with the faults in it, none at work."""
    folder = build_folder(tmp_path_factory)
    return {name: Bench(config, folder / name, name == FAULTY) for name, config in CONFIGS.items()}


def build_folder(factory: pytest.TempPathFactory) -> Path:
    """HWMOE_TEST_BUILDS names a folder that keeps builds."""
    kept = os.environ.get("HWMOE_TEST_BUILDS")
    return Path(kept) / "vector_engine" if kept else factory.mktemp("vector_engine")


def program(name: str, seed: int, refused: float, fault: int = 0, length: int = 40) -> Script:
    made = Programs(CONFIGS[name], seed)
    made.script.settings(seed, refused, fault)
    return made.everything(length)


@pytest.mark.parametrize("name", LINTED)
def test_lint(name: str, tmp_path: Path) -> None:
    assert lint(write(vector_engine_rtl(*LINTED[name]), tmp_path), TOP) == ""


@pytest.mark.parametrize(("stall", "refused"), [(0.3, 0.3), (0.8, 0.7), (0.8, 0.0)])
@pytest.mark.parametrize("name", CONFIGS)
def test_exact_with_refused_grants(
    name: str, stall: float, refused: float, benches: dict[str, Bench]
) -> None:
    script = program(name, int(100 * (stall + refused)), refused)
    wrong, _ = benches[name].run(script, stall, seed=4)
    assert wrong == []
    assert script.clipped  # saturation did happen


def test_stalled_only_while_parameters_are_late(benches: dict[str, Bench]) -> None:
    script = program("join", seed=5, refused=0.2)
    _, answers = benches["join"].run(script, stall=0.8, seed=1)
    stalled: dict[bool, int] = {True: 0, False: 0}
    for index, (kind, _) in script.limits.items():
        stalled[kind.startswith("layernorm")] += int(answers[index, 8:12].view("<u4")[0])
    assert stalled[True] > 0
    assert stalled[False] == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_exact_and_cycles_at_full_speed(name: str, benches: dict[str, Bench]) -> None:
    script = program(name, seed=8, refused=0.0, length=80)
    wrong, answers = benches[name].run(script, stall=0.0, seed=0)
    assert wrong == []
    spare = defaultdict(list)
    for index, (kind, most) in script.limits.items():
        cycles, stalled = (int(v) for v in answers[index, 4:12].view("<u4"))
        assert cycles <= most, (kind, cycles, most)
        assert stalled == 0, kind
        spare[kind.split(" [")[0]].append(most - cycles)
    for kind, left in spare.items():
        print(f"{name}, {kind}: {min(left)} to {max(left)} cycles below the limit, {len(left)}")


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, benches: dict[str, Bench]) -> None:
    number = list(FAULTS).index(fault) + 1
    script = program(FAULTY, seed=8, refused=0.0, fault=number, length=30)
    try:
        wrong, _ = benches[FAULTY].run(script, stall=0.0, seed=0)
    except SimulationFault:
        wrong = ["it does not end, or more comes than should"]
    assert wrong


def test_sizes_that_do_not_fit() -> None:
    acc, _ = machine(12, 12, 256, Tables(1, 1, 1), max_k=1, t_epi=4)
    with pytest.raises(HwmoeError, match=r"64\*layernorm.lanes=768 .* max_experts=300"):
        vector_engine_rtl(acc, Tables(1, 300, 1))


def test_same_text_every_time() -> None:
    config = CONFIGS["join"]
    assert vector_engine_rtl(*config) == vector_engine_rtl(*config)
