"""What can go wrong in a run: the machine stops, says why, and the next run is as good as any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from whole_cases import CASES, Case, sizes_of

from hwmoe.plan.image import constant_parts, image_records, read_logits, result_bytes
from hwmoe.plan.isa import instruction_set
from hwmoe.quant.reference import run_reference
from hwmoe.sim import machine_registers as registers
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import MachineOptions, MachineSession
from hwmoe.sim.streams import ByteArray

NO_STEP = 0xFFFF
SPARE = "spare_"
WRITTEN = ("results", f"{SPARE}results")
LIMIT = 200_000  # cycles of a run


def chosen() -> Case:
    """A model with experts, several stages and tasks."""
    for case in CASES:
        moe, stages = case.net.config.moe_layers, case.program.accelerator.stages
        if case.machine == "narrow" and moe and stages > 1 and len(set(case.tasks)) > 1:
            return case
    raise AssertionError("no case for these tests")


CASE = chosen()
STEPS = CASE.program.steps
KINDS = [step.kind for step in STEPS]


class Host:
    """A machine that is not reset between runs, and a memory with two of everything."""

    def __init__(
        self, machine: Machine, bad: Mapping[str, ByteArray], fault: tuple[str, int] | None = None
    ) -> None:
        images = image_records(CASE.program, CASE.patches, CASE.tasks)
        results = np.full(result_bytes(CASE.program, CASE.images), 0x77, np.uint8)
        good = constant_parts(CASE.program) | {"images": images, "results": results}
        spare = {f"{SPARE}{name}": part for name, part in good.items()}
        self.memory = MemoryImage.build(good | dict(bad) | spare, WRITTEN)
        options = MachineOptions(24.0, latency=30, seed=5, stall=0.1)
        if fault:
            address = self.memory.region(fault[0]).address + fault[1]
            options = replace(options, fault_address=address)
        self.pointers = registers.pointers(machine.w_ports)
        self.n_images = registers.n_images(machine.w_ports)
        self.session: MachineSession = machine.open(self.memory, options)

    def run(self, prefix: str = "", offsets: Mapping[str, int] | None = None) -> dict[str, int]:
        """From ap_start to ap_done, with everything from the regions of that prefix."""
        session = self.session
        for name, at in self.pointers.items():
            address = self.memory.region(prefix + name).address + (offsets or {}).get(name, 0)
            session.write(at, address & 0xFFFF_FFFF)
            session.write(at + 4, address >> 32)
        session.write(self.n_images, CASE.images)
        session.write(registers.GLOBAL_INTERRUPT, 1)
        session.write(registers.INTERRUPT_ENABLE, 1)
        session.write(registers.CONTROL, registers.START)
        assert session.wait(LIMIT, 60) is None
        session.write(registers.INTERRUPT_STATUS, 1)
        assert session.read(registers.CONTROL) & registers.DONE
        session.advance(500)
        assert not any(state["outstanding"] for state in session.channels().values())
        names = ("error_code", "error_step", "error_detail", "images_done")
        return {name: session.read(registers.status_registers()[name]) for name in names}

    def good_run(self) -> None:
        """The other copy of everything, and all of it right."""
        status = self.run(SPARE)
        assert status["error_code"] == status["error_detail"] == 0
        assert status["images_done"] == CASE.images
        logits = read_logits(CASE.program, self.memory[f"{SPARE}results"], CASE.tasks)
        for image, task in enumerate(CASE.tasks):
            expected = run_reference(CASE.model, CASE.patches[image : image + 1], task).logits[0]
            assert np.array_equal(logits[image], expected)


def spoil(host: Host, status: dict[str, int], code: int, step: int) -> None:
    """What every test expects; then a good run."""
    assert (status["error_code"], status["error_step"]) == (code, step)
    host.good_run()
    host.session.close()


def weights_of(op: str) -> int:
    """Byte of its first beat in the memory of a port."""
    first = next(step.fields["weights"] for step in STEPS if step.op == op)
    return first * CASE.program.accelerator.ports.port_bits // 8


READS = [
    ("program", 0, 0b1),
    ("program", 64 * 9 + 63, 0b1),
    ("params", 0, 0b1110),
    ("images", 2, 0b1001),
    ("images", 64 + 1, 0b1000),
    ("images", CASE.program.loop["image_bytes"], 0b1001),
    ("weights_0", 5, 0b1_0000),
    ("weights_1", weights_of("blocks.0.qkv"), 0b10_0000),
]


@pytest.mark.parametrize(("region", "offset", "channels"), READS)
def test_a_read_is_answered_with_an_error(
    region: str, offset: int, channels: int, machine: Callable[[str], Machine]
) -> None:
    """detail: a bit of each channel of gmem (FETCH, linear, LayerNorm, load), then of weights."""
    host = Host(machine("narrow"), {}, (region, offset))
    status = host.run()
    assert status["error_detail"]
    assert not status["error_detail"] & ~channels
    spoil(host, status, 2, NO_STEP)


@pytest.mark.parametrize("image", [0, CASE.images - 1])
def test_a_write_is_answered_with_an_error(image: int, machine: Callable[[str], Machine]) -> None:
    host = Host(machine("narrow"), {}, ("results", image * CASE.program.loop["logit_bytes"]))
    spoil(host, host.run(), 3, NO_STEP)


def changed(index: int, **fields: int) -> ByteArray:
    """The program with other fields of step `index`; -1: of the loop instruction."""
    isa, rows = instruction_set(), CASE.program.encode()
    step = STEPS[index]
    kind, old = ("loop", CASE.program.loop) if index < 0 else (step.kind, step.fields)
    rows[index + 1] = np.array(isa.encode(kind, dict(old) | fields), np.int64).astype(np.int32)
    return rows.reshape(-1).view(np.uint8)


def opcode(index: int, value: int) -> ByteArray:
    rows = changed(index).copy()
    rows[64 * (index + 1)] = value
    return rows


def at(kind: str) -> int:
    """The last step of a kind."""
    return len(KINDS) - 1 - KINDS[::-1].index(kind)


_, SIZES = sizes_of("narrow")
RES = instruction_set().spaces["res"]
PROGRAMS = {
    "an unknown opcode": (opcode(5, 0x77), 1, 5),
    "the last opcode": (opcode(len(STEPS) - 1, 0), 1, len(STEPS) - 1),
    "a second loop": (opcode(3, 1), 1, 3),
    "no loop": (opcode(-1, 5), 1, NO_STEP),
    "no steps": (changed(-1, steps=0), 6, NO_STEP),
    "too many steps": (changed(-1, steps=SIZES.max_steps + 1), 6, NO_STEP),
    "no stages": (changed(-1, stages=0), 6, NO_STEP),
    "a stage that is none": (changed(2, stage=CASE.program.loop["stages"]), 6, 2),
    "an engine that is none": (changed(4, wait=1 << 5), 6, 4),
    "too many tokens": (changed(at("attention"), n_tok=SIZES.max_tokens + 1), 6, at("attention")),
    "too many experts": (changed(at("gate"), experts=SIZES.max_experts + 1), 6, at("gate")),
    "a slot too far": (changed(at("gate"), slot=SIZES.slots), 6, at("gate")),
    "an image beyond act8": (changed(0, dst=SIZES.act8_words), 4, 0),
    "results beyond y": (changed(at("store"), src=SIZES.y_words), 4, at("store")),
    "results beyond res": (changed(at("store"), src=SIZES.res_words, space=RES), 4, at("store")),
    "results of heads": (changed(at("store"), space=RES - 2), 6, at("store")),
    "results within a beat": (changed(at("store"), offset=32), 6, at("store")),
    "results of another image": (
        changed(at("store"), offset=CASE.program.loop["logit_bytes"]),
        6,
        at("store"),
    ),
    "a linear result to res": (changed(at("linear"), space=RES), 6, at("linear")),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that_is_wrong(what: str, machine: Callable[[str], Machine]) -> None:
    program, code, step = PROGRAMS[what]
    host = Host(machine("narrow"), {"program": program})
    spoil(host, host.run(), code, step)


def test_a_result_beyond_its_memory(machine: Callable[[str], Machine]) -> None:
    """Nobody can tell from the fields: the memory notices. The detail is the first such word."""
    index = next(i for i, step in enumerate(STEPS) if step.op == "patch_embed")
    host = Host(machine("narrow"), {"program": changed(index, dst=SIZES.y_words - 1)})
    status = host.run()
    assert status["error_detail"] == 3 << 16 | SIZES.y_words
    spoil(host, status, 4, NO_STEP)


def test_a_counter_of_tokens_runs_over(machine: Callable[[str], Machine]) -> None:
    """Store signals attention, which never waits for it, and 255 tokens are there."""
    fields = CASE.program.loop | {"tokens_5": CASE.program.loop["tokens_5"] | 255 << 16}
    rows = CASE.program.encode()
    loop = instruction_set().encode("loop", fields)
    rows[0] = np.array(loop, np.int64).astype(np.int32)
    for index, step in enumerate(STEPS):
        if step.kind == "store":
            signal = step.fields["signal"] | 1 << instruction_set().engines.index("attention")
            row = instruction_set().encode("store", dict(step.fields) | {"signal": signal})
            rows[index + 1] = np.array(row, np.int64).astype(np.int32)
    host = Host(machine("narrow"), {"program": rows.reshape(-1).view(np.uint8)})
    spoil(host, host.run(), 5, NO_STEP)


def test_an_image_of_a_task_that_is_none(machine: Callable[[str], Machine]) -> None:
    images = image_records(CASE.program, CASE.patches, CASE.tasks)
    images[CASE.program.loop["image_bytes"]] = 16
    host = Host(machine("narrow"), {"images": images})
    status = host.run()
    assert status["error_detail"] == 16
    spoil(host, status, 6, NO_STEP)


@pytest.mark.parametrize("index", range(6))
def test_a_pointer_that_is_not_aligned(index: int, machine: Callable[[str], Machine]) -> None:
    host = Host(machine("narrow"), {})
    name = list(host.pointers)[index]
    status = host.run(offsets={name: 64})
    assert status["error_detail"] == index
    assert (host.memory["results"] == 0x77).all()
    spoil(host, status, 7, NO_STEP)
