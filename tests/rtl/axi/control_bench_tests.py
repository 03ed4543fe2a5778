"""cocotb tests of the machine's control in control_bench."""

from __future__ import annotations

from typing import Any

import axi_faults
import cocotb
from control_host import (
    AT,
    DONE,
    ENGINES,
    IDLE,
    READY,
    REGISTERS,
    RESTART,
    START,
    STEPS,
    Bench,
    make,
)

from hwmoe.codegen.rtl_axi import step_clipped


@cocotb.test()
async def registers(dut: Any) -> None:
    """Reset values, strobes, what can be written, addresses of nothing."""
    bench = await make(dut, 1)
    want = dict.fromkeys(AT, 0) | {"control": IDLE, "format_version": 3, "digest": 0xFEED1234}
    await bench.put("n_images", 0)
    for name in REGISTERS:
        assert await bench.get(name) == want[name], name
    written = [name for name, register in REGISTERS.items() if register.writable][4:]
    for name in written:
        want[name] = bench.random.getrandbits(REGISTERS[name].bits)
        await bench.put(name, want[name])
    for name in ("error_code", "cycles", "digest", "linear_running"):
        await bench.put(name, 0xFFFFFFFF)
    for _ in range(30):
        name = bench.random.choice(written)
        word = bench.random.randrange(REGISTERS[name].bits // 32)
        data, strobes = bench.random.getrandbits(32), bench.random.randrange(16)
        mask = sum(255 << 8 * (b + 4 * word) for b in range(4) if strobes >> b & 1)
        want[name] = want[name] & ~mask | data << 32 * word & mask
        await bench.write(REGISTERS[name].offsets[word], data, strobes)
    for name in REGISTERS:
        assert await bench.get(name) == want[name], name
    known = {offset for register in REGISTERS.values() for offset in register.offsets}
    for address in {
        *range(0, 0x400, 4),
        0x1000,
        0x2000,
        0x3FFC,
        step_clipped(STEPS),
        0xFFFC,
    } - known:
        await bench.write(address, 0xFFFFFFFF)
        assert await bench.read(address) == 0, hex(address)
    for name in ("program", "params", "images", "results"):
        pin = dut.program_ptr if name == "program" else dut[name]
        assert int(pin.value) == want[name]
    assert int(dut.weights.value) == want["weights_0"] | want["weights_1"] << 64
    assert int(dut.n_images.value) == want["n_images"]


@cocotb.test()
async def counters(dut: Any) -> None:
    """Two runs, each counted from zero; reset of the inside before each."""
    bench = await make(dut, 2)
    for number in (1, 2):
        await bench.write(AT["control"], START)
        before = await bench.until("inner_rst_n", 0)
        low = await bench.until("inner_rst_n")
        await bench.until("run_start")
        assert before < 10
        assert 4 <= low <= 16
        await bench.edge
        assert dut.run_start.value == 0
        await bench.write(AT["control"], START)  # is ignored
        spans = [[bench.random.randrange(9) for _ in range(4)] for _ in ENGINES]
        for cycle in range(40):
            states = [next((s for s in range(4) if cycle < sum(x[: s + 1])), 0) for x in spans]
            dut.ev_state.value = sum(state << 2 * e for e, state in enumerate(states))
            await bench.edge
        dut.ev_state.value = 0
        await bench.emit({e: (e, 10 * e + number) for e in range(5)})
        await bench.emit({1: (STEPS + 5, 7)})
        for _ in range(number):
            await bench.pulse("image_done")
        assert await bench.read(AT["control"]) == START
        early = await bench.get("cycles")
        bench.seen = 0
        await bench.end()
        assert bench.seen == START | DONE | READY | IDLE or bench.seen == DONE | READY | IDLE
        for e, engine in enumerate(ENGINES):
            _, waiting, running, held = spans[e]
            extra = 7 if e == 1 else 0
            counts = (running, waiting, held, 1 + (e == 1), 10 * e + number + extra)
            names = ("running", "waiting", "held", "completed", "clipped")
            assert tuple([await bench.get(f"{engine}_{n}") for n in names]) == counts
        assert await bench.get("images_done") == number
        assert early < await bench.get("cycles") < early + 300
        assert await bench.get("error_code") == 0


@cocotb.test()
async def clear_on_read(dut: Any) -> None:
    """However a read and the end of a run meet, ap_done is read exactly once."""
    bench = await make(dut, 3, 0.0)
    for gap in range(12):
        await bench.begin()
        cocotb.start_soon(bench.pulse("run_done"))
        await bench.clock(gap)
        words = [await bench.read(AT["control"]) for _ in range(10)]
        assert sum(word & DONE > 0 for word in words) == 1
        assert sum(word & READY > 0 for word in words) == 1
        assert words[-1] == IDLE


@cocotb.test()
async def interrupts(dut: Any) -> None:
    bench = await make(dut, 4)
    for enable in (0, 1, 2, 3):
        await bench.put("interrupt_enable", enable)
        await bench.put("global_interrupt", 1)
        await bench.begin()
        assert dut.irq.value == 0
        await bench.end()
        assert await bench.get("interrupt_status") == enable
        assert dut.irq.value == (enable > 0)
        await bench.put("global_interrupt", 0)
        assert dut.irq.value == 0
        await bench.put("global_interrupt", 0xFFFFFFFF)
        assert await bench.get("global_interrupt") == 1
        assert await bench.get("interrupt_enable") == enable
        await bench.put("interrupt_status", enable ^ 1)  # toggles
        assert await bench.get("interrupt_status") == 1
        assert dut.irq.value == 1
        await bench.write(AT["interrupt_status"], 1, 14)  # without the strobe
        assert dut.irq.value == 1
        await bench.put("interrupt_status", 1)
        assert dut.irq.value == 0


@cocotb.test()
async def auto_restart(dut: Any) -> None:
    bench = await make(dut, 5)
    await bench.begin(START | RESTART)
    for _ in range(3):
        await bench.pulse("run_done")
        await bench.until("run_start")
        await bench.edge
    assert await bench.read(AT["control"]) == START | RESTART | DONE | READY
    await bench.write(AT["control"], 0)
    await bench.end()
    assert await bench.read(AT["control"]) == IDLE
    await bench.begin(START | RESTART)
    await bench.fail({0: (1, 2, 3)})
    await bench.idle()
    assert await bench.get("error_code") == 1


@cocotb.test()
async def no_images(dut: Any) -> None:
    bench = await make(dut, 6)
    await bench.put("n_images", 0)
    cocotb.start_soon(never(bench, "run_start"))
    await bench.write(AT["control"], START)
    await bench.idle()
    assert bench.seen & DONE
    assert await bench.get("error_code") == 0
    assert await bench.get("cycles") < 5


@cocotb.test()
async def unaligned(dut: Any) -> None:
    bench = await make(dut, 7)
    cocotb.start_soon(never(bench, "run_start"))
    for index, name in enumerate(
        ("program", "params", "images", "results", "weights_0", "weights_1")
    ):
        await bench.put(name, 0xABC000 + (1 << bench.random.randrange(12)))
        await bench.write(AT["control"], START)
        await bench.idle()
        error = [await bench.get(f"error_{what}") for what in ("code", "step", "detail")]
        assert error == [7, 0xFFFF, index]
        await bench.put(name, 0xFFFFFFFFFFFFF000)


async def never(bench: Bench, name: str) -> None:
    while True:
        assert bench.dut[name].value == 0, f"{name} rose"
        await bench.edge


@cocotb.test()
async def errors(dut: Any) -> None:
    """The first of them holds; halt until quiet, reset of 16 cycles, ap_done."""
    bench = await make(dut, 8)
    await bench.fail({0: (1, 1, 1)})  # before a run it is nothing
    await bench.begin()
    assert dut.halt.value == 0
    dut.quiet.value = 0
    await bench.clock(20)
    await bench.fail({1: (2, 0xFFFF, 0xDEADBEEF), 0: (6, 77, 0x12345678)})
    await bench.fail({1: (3, 3, 3)})
    assert await bench.until("halt") < 6
    for _ in range(60):
        assert dut.halt.value == 1
        assert dut.inner_rst_n.value == 1
        await bench.edge
    assert await bench.read(AT["control"]) & (DONE | IDLE) == 0
    dut.quiet.value = 1
    await bench.until("inner_rst_n", 0)
    assert await bench.until("inner_rst_n") == 16
    await bench.clock(3)
    assert dut.halt.value == 0
    await bench.idle()
    assert bench.seen & DONE
    want = [6, 77, 0x12345678]
    for _ in range(2):
        assert [await bench.get(f"error_{n}") for n in ("code", "step", "detail")] == want
    await bench.begin()
    assert await bench.get("error_code") == 0
    await bench.end()
    await bench.begin()
    dut.quiet.value = 0
    await bench.pulse("run_done")
    await bench.clock(20)
    await bench.fail({1: (3, 5, 9)})  # in the end phase it still counts
    await bench.clock(4)
    dut.quiet.value = 1
    await bench.until("inner_rst_n", 0)
    await bench.idle()
    assert await bench.get("error_code") == 3


async def totals(bench: Bench) -> list[int]:
    return [await bench.read(step_clipped(step)) for step in range(STEPS)]


@cocotb.test()
async def steps(dut: Any) -> None:
    """Counts of steps: all engines at once, while words are still being cleared, to the end."""
    bench = await make(dut, 9, 0.0)
    assert await totals(bench) == [0] * STEPS
    for number in range(3):
        want = [0] * STEPS
        await bench.begin()
        reads = cocotb.start_soon(totals(bench)) if number == 2 else None
        for burst in range(14):
            for _ in range(8):  # 40 events at once, then time for so many
                events = {}
                for e in range(5):
                    late = STEPS - 1 - e if burst == 0 else bench.random.randrange(STEPS + 5)
                    clipped = bench.random.choice([0, 1, bench.random.getrandbits(28)])
                    events[e] = (late, clipped)
                    if late < STEPS:
                        want[late] += clipped
                await bench.emit(events)
            if burst < 13:
                await bench.clock(200 if burst else 320)
        if reads:
            await reads
        await bench.end()
        assert await totals(bench) == [n % (1 << 32) for n in want]


@cocotb.test()
async def steps_stale(dut: Any) -> None:
    """A new run shows no count of the one before, at any time."""
    bench = await make(dut, 10, 0.0)
    await bench.begin()
    await bench.emit({0: (99, 5), 1: (60, 4)})
    await bench.end()
    assert await bench.read(step_clipped(99)) == 5
    await bench.write(AT["control"], START)
    assert await bench.read(step_clipped(99)) == 0
    assert await bench.read(step_clipped(60)) == 0
    await bench.clock(50)
    await bench.end()


globals().update(axi_faults.planted_tests(globals()))
