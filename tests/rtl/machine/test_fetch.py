"""FETCH against a model of the loop: what it reads, what it dispatches, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fetch_model import ENGINES, LANES, PARAMS, RESULT_BYTES, SIZES, Job, Run, config, word
from pin_bench import Built

from hwmoe.codegen.rtl_fetch import TOP, fetch_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig, PortsConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import MachineSizes
from hwmoe.sim.verilator import lint

Y, RES = (instruction_set().spaces[name] for name in ("y", "res"))
STORE = {"n_out": 1, "space": Y}
FILL = {
    "load_image": {"words": 64},
    "load_const": {"dst": 60, "words": 4, "params": 1 << 29},
    "layernorm": {"params": 0xFFFF_FFF0, "dim": 33, "n_tok": 40, "src": 63},
    "linear": {"n_tok": 40, "slot": 3, "expert": 15},
    "attention": {"q": 63, "k": 63, "v": 63, "dst": 63},
    "add": {"slot": 3, "expert": 15, "dst": 63},
    "gate": {"experts": 16, "slot": 3},
    "store": {"src": 60, "n_out": 64, "offset": RESULT_BYTES - 128, "space": Y, "last": 1},
}


def random_job(rng: random.Random, stages: int, images: int) -> Job:
    body = []
    for _ in range(rng.randrange(1, 30)):
        op = rng.choice(sorted(FILL))
        common = {
            "stage": rng.randrange(stages),
            "wait": rng.randrange(32),
            "signal": rng.randrange(32),
            "tasks": rng.choice((0xFFFF, 1, 2, 0x8000)),
            "after": rng.randrange(256),
        }
        body.append((op, common | FILL[op]))
    tasks = [rng.choice((0, 1, 15)) for _ in range(images)]
    size = rng.choice((64, 128, 256))
    return Job(body, tasks, stages, size, [rng.randrange(256) for _ in range(ENGINES**2)])


def layernorm_requests(job: Job, port_bits: int) -> list[tuple[int, int, int]]:
    """As `Run.params`."""
    found = []
    for before, (_, step, null) in enumerate(job.expected()):
        op, given = job.body[step]
        if op == "layernorm" and not null:
            beats = -(-given["dim"] // LANES) * LANES * 64 // port_bits
            found.append((PARAMS + 4 * given["params"], beats, before))
    return found


@pytest.fixture(scope="module", params=[64, 128, 512])
def fetch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(port bits, FETCH of this width)."""
    work = tmp_path_factory.mktemp(f"fetch{request.param}")
    return request.param, build(work, fetch_rtl(config(request.param), SIZES, "Test"))


def build(work: Path, files: Mapping[str, str]) -> Built:
    return Built(TOP, write(work / "rtl", files), work / "build")


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def check(run: Run, job: Job, port_bits: int) -> None:
    assert run.error is None
    assert run.counts == job.counts
    assert run.dispatched == job.expected()
    assert run.params == layernorm_requests(job, port_bits)
    assert not run.channel.beats


@pytest.mark.parametrize("pace", [0.3, 0.8])
def test_random_programs(fetch: tuple[int, Built], pace: float) -> None:
    port_bits, built = fetch
    rng = random.Random(port_bits)
    nulls = 0
    for seed, (stages, images) in enumerate(((1, 1), (1, 4), (2, 1), (3, 5), (16, 3))):
        job = random_job(rng, stages, images)
        run = Run(built.pins(seed), job, port_bits, pace, seed)
        check(run.go(idle_after=30 * (seed % 2)), job, port_bits)
        nulls += sum(null for _, _, null in job.expected())
    assert nulls


def test_one_run_after_the_other(fetch: tuple[int, Built]) -> None:
    port_bits, built = fetch
    rng = random.Random(5)
    pins = built.pins()
    for seed, images in enumerate((2, 0, 3)):
        job = random_job(rng, 2, images)
        check(Run(pins, job, port_bits, 0.7, seed).go(), job, port_bits)


def test_rate(fetch: tuple[int, Built]) -> None:
    """Body instructions come as fast as their beats."""
    port_bits, built = fetch
    steps, images = 60, 3
    job = Job([("store", {"stage": 0, "tasks": 1} | STORE)] * steps, [0] * images)
    run = Run(built.pins(), job, port_bits, 1.0).go(idle_after=0)
    check(run, job, port_bits)
    beats = 512 // port_bits
    assert run.cycles <= images * (steps * beats + 3) + beats + 12


COMMON = {"stage": 0, "tasks": 0xFFFF}


def test_the_last_words_of_both_memories(fetch: tuple[int, Built]) -> None:
    port_bits, built = fetch
    assert SIZES.res_words > SIZES.y_words
    ends = ((Y, SIZES.y_words), (RES, SIZES.res_words))
    stores = [COMMON | {"src": end - 2, "n_out": 2 * LANES, "space": s} for s, end in ends]
    job = Job([("store", fields) for fields in stores], [0])
    check(Run(built.pins(), job, port_bits, 1.0).go(), job, port_bits)


# code of the error, the instruction that makes it, its fields
ILLEGAL: dict[str, tuple[int, str, dict[str, int]]] = {
    "loop inside": (1, "loop", {}),
    "stage": (6, "store", STORE | {"stage": 1}),
    "wait": (6, "add", {"wait": 32}),
    "signal": (6, "add", {"signal": 128}),
    "slot": (6, "gate", {"slot": 4}),
    "scores": (6, "gate", {"scores": 1}),
    "expert": (6, "linear", {"expert": 16}),
    "n_tok": (6, "attention", {"n_tok": 41}),
    "image": (4, "load_image", {"dst": 1, "words": 64}),
    "wraps": (4, "load_const", {"dst": 2**32 - 1, "words": 1}),
    "linear to res": (6, "linear", {"space": RES}),
    "store": (4, "store", STORE | {"src": 63, "n_out": 17}),
    "store of res": (4, "store", {"src": SIZES.res_words, "n_out": 1, "space": RES}),
    "store of heads": (6, "store", STORE | {"space": 1}),
    "store of nothing known": (6, "store", STORE | {"space": 4}),
    "offset": (6, "store", STORE | {"offset": 32}),
    "last": (6, "store", STORE | {"last": 2}),
    "beyond the results": (6, "store", STORE | {"offset": RESULT_BYTES}),
    "end beyond the results": (6, "store", STORE | {"offset": RESULT_BYTES - 64, "n_out": 33}),
    "many values": (4, "store", STORE | {"n_out": (1 << 32) - 1}),
    "base": (4, "add", {"base": SIZES.res_words}),
}


def refused(job: Job, code: int, fetch: tuple[int, Built]) -> None:
    """The third instruction is: what is before it is dispatched, nothing after it."""
    port_bits, built = fetch
    run = Run(built.pins(), job, port_bits, 0.8).go(until_error=60)
    assert run.error == (code, 2, int.from_bytes(job.program()[192:196], "little"))
    assert [step for _, step, _ in run.dispatched] == [0, 1]


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_instruction(name: str, fetch: tuple[int, Built]) -> None:
    code, op, wrong = ILLEGAL[name]
    body = [("add", COMMON), ("store", COMMON | STORE), (op, COMMON | wrong), ("add", COMMON)]
    refused(Job(body, [0]), code, fetch)


@pytest.mark.parametrize("opcode", [0, 10, 0x63])
def test_unknown_opcode(opcode: int, fetch: tuple[int, Built]) -> None:
    raw = {2: bytes([opcode]) + bytes(63)}
    refused(Job([("add", COMMON)] * 4, [0], raw=raw), 1, fetch)


BAD_LOOPS = {
    "steps 0": {"steps": 0},
    "too many steps": {"steps": SIZES.max_steps + 1},
    "many more": {"steps": (1 << 16) + 1},
    "stages 0": {"stages": 0},
    "stages 17": {"stages": 17},
    "image_bytes": {"image_bytes": 96},
    "logit_bytes": {"logit_bytes": 4},
}


@pytest.mark.parametrize("name", BAD_LOOPS)
def test_bad_loop(name: str, fetch: tuple[int, Built]) -> None:
    port_bits, built = fetch
    good = {"steps": 1, "stages": 1, "image_bytes": 128, "logit_bytes": 64}
    job = Job([("add", COMMON)], [0], raw={-1: word("loop", **good | BAD_LOOPS[name])})
    run = Run(built.pins(), job, port_bits, 0.8).go(until_error=60)
    assert (run.error, run.dispatched, run.counts) == ((6, 0xFFFF, 1), [], None)


def test_first_word_must_be_a_loop(fetch: tuple[int, Built]) -> None:
    port_bits, built = fetch
    job = Job([("add", COMMON)], [0], raw={-1: word("add", **COMMON)})
    run = Run(built.pins(), job, port_bits, 0.8).go(until_error=60)
    assert (run.error, run.dispatched) == ((1, 0xFFFF, 7), [])


def test_bad_task(fetch: tuple[int, Built]) -> None:
    """The second image has a task that no mask can name."""
    port_bits, built = fetch
    job = Job([("add", COMMON)] * 3, [3, 16, 0])
    run = Run(built.pins(), job, port_bits, 0.8).go(until_error=60)
    assert run.error == (6, 0xFFFF, 16)
    assert [step for _, step, _ in run.dispatched] == [0, 1, 2][: len(run.dispatched)]


def test_halt_stops_the_dispatch(fetch: tuple[int, Built]) -> None:
    port_bits, built = fetch
    job = Job([("add", COMMON)] * 90, [0])
    pins = built.pins()
    run = Run(pins, job, port_bits, 1.0)
    channel = run.channel
    for cycle in range(1500):
        pins["start"], pins["q_ready"], pins["halt"] = cycle == 0, 31, cycle == 40
        channel.drive()
        run.sample(cycle)
        channel.sample()
        pins.tick()
    assert 0 < len(run.dispatched) < 90
    assert run.last <= 41
    assert not pins["done"]


FAULTS = {
    "null": ("hwmoe_fetch_images.sv", "~live[stage] | ", ""),
    "ceil": ("hwmoe_fetch.sv", "+ 16'd15", "+ 16'd0"),
    "images": ("hwmoe_fetch_reads.sv", "64'(image_bytes)", "64'd64"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    file, right, wrong = FAULTS[name]
    files = fetch_rtl(config(128), SIZES, "Test")
    assert files[file].count(right) == 1
    built = build(tmp_path, files | {file: files[file].replace(right, wrong)})
    job = random_job(random.Random(3), 3, 5)
    job.body.append(("layernorm", COMMON | FILL["layernorm"]))
    job.image_bytes = 128
    with pytest.raises(AssertionError):
        check(Run(built.pins(), job, 128, 0.8).go(), job, 128)


@pytest.mark.parametrize("port_bits", [64, 128, 256, 512])
def test_lint(port_bits: int, tmp_path: Path) -> None:
    assert lint(write(tmp_path / "rtl", fetch_rtl(config(port_bits), SIZES, "Test")), TOP) == ""


def test_what_it_cannot_do() -> None:
    wide = AcceleratorConfig(linear=LinearConfig(w_rows=4), ports=PortsConfig(port_bits=96))
    many = MachineSizes(64, 64, 64, 64, 4, 16, 40, 1 << 16)
    with pytest.raises(HwmoeError, match=r"port_bits=96 must be.*65536 steps"):
        fetch_rtl(wide, many, "Test")
