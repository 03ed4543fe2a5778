"""FETCH, queues and tokens of the HLS top: what runs for which image, and what cannot run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hls_cases import SIZES, Assembler, linear_params

from hwmoe.errors import HwmoeError
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import QUEUE_DEPTH
from hwmoe.plan.tokens import pack_counters
from hwmoe.sim.csim import CSim

Make = Callable[[str], CSim]
ISA = instruction_set()
ENGINES = ISA.engines[:-1]  # of these machines
LOAD, LINEAR, ATTENTION, VECTOR, STORE = range(len(ENGINES))
COUNTER = 255


def norm(program: Assembler, **common: int) -> int:
    """A step of the vector engine that needs nothing and leaves a record."""
    return program.emit(
        "layernorm", n_tok=1, count=1, dim=1, dst=40, eps_low=1,
        params=program.constants(np.zeros(2 * program.acc.linear.t_in)), **common,
    )  # fmt: skip


def copy(program: Assembler, dst: int, **common: int) -> int:
    """A step of the linear engine."""
    p = linear_params(np.random.default_rng(0), 1, 1)
    return program.linear(p, dst=dst, n_tok=1, n_list=1, flags=1, **common)


def tokens(**counters: int) -> dict[str, int]:
    """Fields of `loop` from initial counters such as load_vector=2."""
    counts = [0] * len(ENGINES) ** 2
    for name, value in counters.items():
        first, to = (ENGINES.index(part) for part in name.split("_"))
        counts[first * len(ENGINES) + to] = value
    return pack_counters(counts)


def test_stages_and_tasks_decide_what_runs(csim: Make) -> None:
    """Three stages, images of tasks 0, 2, 0, 1: each step once for each image it is meant for."""
    program = Assembler(csim("plain").acc)
    program.image(np.zeros((1, 1), np.int8))
    stages = [0, 2, 1, 1, 2]
    masks = [0xFFFF, 0b001, 0b110, 0xFFFF, 0b100]
    for stage, mask in zip(stages[1:], masks[1:], strict=True):
        norm(program, stage=stage, tasks=mask)
    tasks = [0, 2, 0, 1]
    result = program.run(csim("plain"), tasks, stages=3)
    expected = [
        (n - stage, step)
        for n in range(len(tasks) + 2)
        for step, (stage, mask) in enumerate(zip(stages, masks, strict=True))
        if 0 <= n - stage < len(tasks) and mask >> tasks[n - stage] & 1
    ]
    assert [(record.image, record.step) for record in result.trace] == expected
    assert len(expected) == 4 + 2 + 2 + 4 + 1


def test_a_null_instruction_still_waits_and_signals(csim: Make) -> None:
    """Its token is what the second step waits for; without it nothing goes on."""
    for signal, wait in ((1 << LINEAR, 1 << VECTOR), (0, 1 << VECTOR)):
        program = Assembler(csim("plain").acc)
        norm(program, tasks=0, signal=signal)
        step = copy(program, 9, wait=wait)
        if signal:
            trace = program.run(csim("plain")).trace
            assert [record.step for record in trace] == [0, step]
        else:
            with pytest.raises(HwmoeError, match="deadlock: linear step 2 waits for vector"):
                program.run(csim("plain"))


def test_counters_start_as_the_program_says(csim: Make) -> None:
    program = Assembler(csim("plain").acc)
    step = norm(program, wait=1 << LOAD | 1 << STORE)
    start = tokens(load_vector=2, store_vector=1)
    assert [r.step for r in program.run(csim("plain"), **start).trace] == [0, step]
    with pytest.raises(HwmoeError, match=r"deadlock: vector step 1 waits for store$"):
        program.run(csim("plain"), [0, 0], **start)


@pytest.mark.parametrize("behind", [QUEUE_DEPTH, QUEUE_DEPTH + 1])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_queues_are_bounded(csim: Make, behind: int, seed: int) -> None:
    """What the vector engine waits for comes after so many instructions of its own."""
    program = Assembler(csim("plain").acc)
    norm(program, wait=1 << LINEAR)
    for _ in range(behind - 1):
        norm(program)
    copy(program, 9, signal=1 << VECTOR)
    if behind == QUEUE_DEPTH:
        assert len(program.run(csim("plain"), seed=seed).trace) == behind + 2
    else:
        with pytest.raises(HwmoeError, match="deadlock: vector step 1 waits for linear"):
            program.run(csim("plain"), seed=seed)


def test_counters_have_8_bits(csim: Make) -> None:
    program = Assembler(csim("plain").acc)
    norm(program, signal=1 << STORE)
    program.run(csim("plain"), [0] * COUNTER)
    with pytest.raises(HwmoeError, match="step 1: token counter overflow"):
        program.run(csim("plain"), [0] * (COUNTER + 1))


def test_a_missing_token_shows_with_some_seed(csim: Make) -> None:
    """The vector engine overwrites in the next image what the linear engine may still have to
    read: one token each way keeps them in step, and each of both is needed."""
    sim, images = csim("plain"), [0] * 6
    found = []
    for there, back in ((1, 1), (0, 1), (1, 0)):
        program = Assembler(sim.acc)
        norm(program, signal=there << LINEAR, wait=back << LINEAR)
        copy(program, 9, src=40, wait=there << VECTOR, signal=back << VECTOR)
        counters = tokens(linear_vector=back)
        ahead = set()
        for seed in range(40):
            order = [r.step for r in program.run(sim, images, seed=seed, **counters).trace]
            order = [step for step in order if step]
            ahead.add(max(order[:i].count(1) - order[:i].count(2) for i in range(13)))
            ahead.add(min(order[:i].count(1) - order[:i].count(2) for i in range(13)))
        found.append((min(ahead), max(ahead)))
    whole, early, late = found
    assert whole == (0, 1)
    assert early[0] < 0
    assert late[1] > 1


def test_illegal_instructions_are_refused(csim: Make) -> None:
    sim = csim("plain")
    program = Assembler(sim.acc)
    norm(program)
    rows, params, weights = program.encoded()
    image = np.zeros((1, 0, sim.acc.linear.t_in), np.int8)
    for opcode in (0, 1, 10, 255):
        rows[2, 0] = rows[2, 0] & ~255 | opcode
        with pytest.raises(HwmoeError, match="step 1: illegal instruction"):
            sim.run(rows, params, weights, image, [0])
    rows[2, 0] = ISA.formats["gate"].opcode
    for field in ("wait", "signal"):
        low, _ = ISA.formats["gate"].layout[field]
        wrong = rows.copy()
        wrong[2, 0] |= 1 << (low + 5)
        with pytest.raises(HwmoeError, match="step 1: no such engine"):
            sim.run(wrong, params, weights, image, [0])
    with pytest.raises(HwmoeError, match="starts with `loop`"):
        sim.run(rows[1:], params, weights, image, [0])
    with pytest.raises(HwmoeError, match="starts with `loop`"):
        sim.run(rows[:2], params, weights, image, [0])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("stages", 9, "loop: stages"), ("stages", 0, "loop: stages"), ("logit_bytes", 8, "logit_b")],
)
def test_a_loop_out_of_range_is_refused(csim: Make, field: str, value: int, message: str) -> None:
    program = Assembler(csim("plain").acc)
    with pytest.raises(HwmoeError, match=message):
        program.run(csim("plain"), **{field: value})


def test_a_program_or_image_that_does_not_fit_is_refused(csim: Make) -> None:
    sim = csim("plain")
    program = Assembler(sim.acc)
    with pytest.raises(HwmoeError, match="an image's task"):
        program.run(sim, [16])
    big = np.zeros((1, 3, sim.acc.linear.t_in), np.int8)
    with pytest.raises(HwmoeError, match="images of 48 bytes"):
        sim.run(*program.encoded(), big, [0])
    with pytest.raises(HwmoeError, match="images come in words of 16"):
        sim.run(*program.encoded(), big[:, :, :8], [0])
    for _ in range(SIZES.max_steps):
        program.emit("load_const")
    with pytest.raises(HwmoeError, match="loop: steps"):
        program.run(sim)


def test_nothing_is_read_or_written_beyond_images_and_results(csim: Make) -> None:
    program = Assembler(csim("plain").acc)
    program.emit("store", **SOUND["store"] | {"n_out": 32, "last": 1})
    assert program.run(csim("plain")).logits.shape == (1, 32)
    program.emit("store", **SOUND["store"])
    with pytest.raises(HwmoeError, match="step 2: store: n_out"):
        program.run(csim("plain"))
    program = Assembler(csim("plain").acc)
    program.emit("load_image", words=1)
    with pytest.raises(HwmoeError, match="step 1: load_image: words"):
        program.run(csim("plain"))


SOUND: dict[str, dict[str, int]] = {
    "load_const": {"words": 1},
    "layernorm": {"n_tok": 2, "count": 2, "dim": 9, "eps_low": 1},
    "attention": {"n_tok": 3, "dim_tiles": 1, "head_groups": 1, "out_mult": 1, "out_shift": 9},
    "add": {"n_tok": 4, "tiles": 1, "count": 4},
    "gate": {"n_tok": 3, "experts": 2, "top_k": 1},
    "store": {"n_out": 3, "space": ISA.spaces["y"]},
    "linear": {"n_tok": 3, "n_list": 3, "in_tiles": 1, "out_tiles": 1, "chunks": 2, "flags": 1},
}
WRONG = [
    ("load_const", {"dst": SIZES.res_words}, "dst"),
    ("load_const", {"words": 513}, "dst"),
    ("load_const", {"params": 1 << 20}, "params"),
    ("load_const", {"params": 3}, "start of a beat"),
    ("layernorm", {"src": SIZES.res_words - 1}, "src"),
    ("layernorm", {"dst": SIZES.act8_words - 1}, "dst"),
    ("layernorm", {"first": 1}, "rows"),
    ("layernorm", {"dim": 1000}, "dim"),
    ("layernorm", {"eps_low": 0}, "eps"),
    ("layernorm", {"params": 1 << 20}, "params"),
    ("linear", {"src": SIZES.act8_words - 2}, "src"),
    ("linear", {"dst": SIZES.act8_words - 2}, "dst"),
    ("linear", {"dst": SIZES.heads_words - 2, "space": ISA.spaces["heads"]}, "dst"),
    ("linear", {"dst": SIZES.y_words - 2, "space": ISA.spaces["y"], "flags": 17}, "dst"),
    ("linear", {"space": ISA.spaces["y"]}, "space"),
    ("linear", {"space": 3}, "space"),
    ("linear", {"weights": 1 << 20}, "weights"),
    ("linear", {"params": 1 << 20}, "params"),
    ("linear", {"table": 1 << 20, "flags": 9}, "table"),
    ("linear", {"list_mode": 3}, "list_mode"),
    ("linear", {"list_mode": 1, "expert": 8}, "expert"),
    ("linear", {"list_mode": 1, "slot": 3}, "slot"),
    ("linear", {"chunks": 3}, "chunks"),
    ("attention", {"q": SIZES.heads_words - 2}, "q"),
    ("attention", {"k": SIZES.heads_words - 2}, "k"),
    ("attention", {"v": SIZES.heads_words - 2}, "v"),
    ("attention", {"dst": SIZES.act8_words - 2}, "dst"),
    ("attention", {"dim_tiles": 0}, "empty"),
    ("add", {"dst": SIZES.res_words - 3}, "dst"),
    ("add", {"base": SIZES.res_words - 3}, "base"),
    ("add", {"src": SIZES.y_words - 3}, "src"),
    ("add", {"first": 1}, "rows"),
    ("add", {"list_mode": 1}, "list_mode"),
    ("add", {"list_mode": 2, "expert": 8}, "expert"),
    ("add", {"list_mode": 2, "slot": 3}, "slot"),
    ("add", {"list_mode": 2, "base": 1}, "base"),
    ("gate", {"src": SIZES.y_words - 2}, "src"),
    ("gate", {"slot": 3}, "slot"),
    ("gate", {"experts": 9}, "experts"),
    ("gate", {"top_k": 9}, "top_k"),
    ("gate", {"top_k": 3}, "top_k"),
    ("gate", {"n_tok": 33}, "n_tok"),
    ("gate", {"scores": 2}, "scores"),
    ("store", {"src": SIZES.y_words}, "src"),
    ("store", {"src": SIZES.res_words, "space": ISA.spaces["res"]}, "src"),
    ("store", {"space": ISA.spaces["heads"]}, "space"),
    ("store", {"n_out": 33}, "n_out"),
    ("store", {"n_out": 1 << 31}, "n_out"),
    ("store", {"offset": 64}, "n_out"),
    ("store", {"offset": 1 << 31}, "n_out"),
    ("store", {"offset": 32}, "offset"),
    ("store", {"last": 2}, "last"),
]  # fmt: skip


def one_step(sim: CSim, op: str, changes: dict[str, int]) -> Any:
    program = Assembler(sim.acc)
    program.constants(np.zeros(512))
    program.beats.append(np.zeros((32, sim.acc.linear.t_in * sim.acc.linear.w_rows), np.uint8))
    program.emit(op, **{**SOUND[op], **changes})
    return program.run(sim)


@pytest.mark.parametrize("op", SOUND)
def test_sound_steps_run(csim: Make, op: str) -> None:
    assert one_step(csim("plain"), op, {}).trace or op == "store"


@pytest.mark.parametrize(("op", "changes", "message"), WRONG)
def test_what_lies_outside_is_refused(
    csim: Make, op: str, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(HwmoeError, match=f"step 1: .*{message}"):
        one_step(csim("plain"), op, changes)


@pytest.mark.parametrize("op", ["load_const", "layernorm", "linear", "attention", "add", "store"])
def test_the_largest_address_is_outside(csim: Make, op: str) -> None:
    field = "src" if op == "store" else "dst"
    with pytest.raises(HwmoeError, match=f"step 1: {op}: {field}"):
        one_step(csim("plain"), op, {field: 0xFFFFFFFF})
