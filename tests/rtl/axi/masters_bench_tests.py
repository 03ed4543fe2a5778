"""cocotb tests of the AXI masters in masters_bench."""

from __future__ import annotations

from typing import Any

import axi_faults
import cocotb
from axi_memory import Options
from axi_models import Pin, Pulses, Sink, run
from masters_host import FAST, LIMIT, READERS, Bench, beats, enough, random_commands, rate, start


@cocotb.test()
async def read_random(dut: Any) -> None:
    for seed, stall in enumerate((0.0, 0.3, 0.6)):
        bench = await start(dut, seed)
        commands = random_commands(bench.random, 14, 16)
        want = beats(commands, 16)
        asks, sink, memory = bench.reader(commands, Options(stall=stall), stall)
        quiet = Pin(dut.r_quiet)
        done = enough(sink, len(want))
        await run(dut, [asks, sink, memory], done, LIMIT)
        assert sink.taken == want
        await run(dut, [sink, memory], lambda: True, 1)
        assert quiet.get() == 1
        assert max(burst.beats for burst in memory.accepted) <= 64


@cocotb.test()
async def read_speed_long(dut: Any) -> None:
    bench = await start(dut, 1)
    commands = [(0x7F0, 1000), (0x100000, 700), (0x2FFFF0, 800)]
    asks, sink, memory = bench.reader(commands, FAST, 0.0)
    await run(dut, [asks, sink, memory], enough(sink, 2500), LIMIT)
    assert sink.taken == beats(commands, 16)
    assert sink.stamps[0] < 170
    assert rate(sink.stamps) >= 0.95


@cocotb.test()
async def read_speed_short(dut: Any) -> None:
    bench = await start(dut, 2)
    commands = [(bench.random.randrange(1 << 24) * 16, 24) for _ in range(80)]
    asks, sink, memory = bench.reader(commands, FAST, 0.0)
    await run(dut, [asks, sink, memory], enough(sink, 80 * 24), LIMIT)
    assert sink.taken == beats(commands, 16)
    assert rate(sink.stamps) >= 0.95


@cocotb.test()
async def read_speed_single(dut: Any) -> None:
    bench = await start(dut, 3)
    commands = [(bench.random.randrange(1 << 24) * 16, 1) for _ in range(200)]
    options = Options(latency=(30, 30), stall=0.0)
    asks, sink, memory = bench.reader(commands, options, 0.0)
    await run(dut, [asks, sink, memory], enough(sink, 200), LIMIT)
    assert rate(sink.stamps) >= 0.49


@cocotb.test()
async def read_full(dut: Any) -> None:
    """Nobody takes data: not more is asked for than the buffer and its registers hold."""
    bench = await start(dut, 4)
    commands = [(0x10000, 500), (0x20010, 500)]
    asks, sink, memory = bench.reader(commands, Options(latency=(5, 5), stall=0.0), 0.0)
    sink.stall = 1.0
    await run(dut, [asks, sink, memory], lambda: memory.cycle == 1200, LIMIT)
    assert 512 - 64 < sum(burst.beats for burst in memory.accepted) <= 516
    sink.stall = 0.0
    await run(dut, [asks, sink, memory], enough(sink, 1000), LIMIT)
    assert sink.taken == beats(commands, 16)


@cocotb.test()
async def read_error(dut: Any) -> None:
    bench = await start(dut, 4)
    asks, sink, memory = bench.reader([(0x1000, 100)], Options(errors=(0x1400, 0x1410)), 0.2)
    fault = Pulses(Pin(dut.r_fault))
    await run(dut, [asks, sink, memory, fault], enough(sink, 100), LIMIT)
    assert len(fault.cycles) == 2
    want = beats([(0x1000, 100)], 16)
    assert sink.taken[:64] == want[:64]
    assert sink.taken[66:] == want[66:]


@cocotb.test()
async def read_halt(dut: Any) -> None:
    """No burst after halt but one that waits; quiet when the last beat has come, not before."""
    for seed, outstanding in enumerate((32, 3)):
        await halt_reader(await start(dut, 50 + seed), outstanding)


async def halt_reader(bench: Bench, outstanding: int) -> None:
    dut = bench.dut
    options = Options(latency=(60, 60), stall=0.2, outstanding=outstanding)
    asks, sink, memory = bench.reader([(0x1000, 900), (0x20000, 900)], options, 0.0)
    quiet = Pulses(Pin(dut.r_quiet))
    models = [asks, sink, memory]
    await run(dut, models, enough(sink, 100), LIMIT)
    if outstanding < 32:  # until an address waits
        await run(dut, models, lambda: memory.pin("valid") == 1 and not memory.ready, LIMIT)
    dut.halt.value = 1
    pending, asked, taken = memory.pin("valid"), len(memory.accepted), len(sink.taken)
    models.append(quiet)
    await run(dut, models, lambda: not memory.bursts and not memory.pin("valid"), 2000)
    assert not [cycle for cycle in quiet.cycles if cycle < memory.cycle], "quiet too early"
    await run(dut, models, lambda: bool(quiet.cycles), 4)
    await run(dut, models, lambda: len(quiet.cycles) > 100, 150)
    assert len(memory.accepted) == asked + pending
    assert len(sink.taken) < taken + 20, "beats were not thrown away"
    assert sink.taken == beats([(0x1000, 900)], 16)[: len(sink.taken)]


@cocotb.test()
async def mux_random(dut: Any) -> None:
    for seed, stall in enumerate((0.0, 0.5)):
        bench = await start(dut, 10 + seed)
        commands = [random_commands(bench.random, 6, 8) for _ in range(READERS)]
        want = [beats(c, 8) for c in commands]
        asks, sinks, memory = bench.readers(commands, Options(stall=stall), stall)

        def done(sinks: list[Sink] = sinks, want: list[list[int]] = want) -> bool:
            return all(len(s.taken) >= len(w) for s, w in zip(sinks, want, strict=True))

        await run(dut, [*asks, *sinks, memory], done, LIMIT)
        assert [sink.taken for sink in sinks] == want


@cocotb.test()
async def mux_speed(dut: Any) -> None:
    """The port is never idle, and everybody has a third of it."""
    bench = await start(dut, 12)
    commands = [[(0x10000 * (i + 1), 400)] for i in range(READERS)]
    asks, sinks, memory = bench.readers(commands, Options(latency=(30, 30), stall=0.0), 0.0)
    await run(dut, [*asks, *sinks, memory], lambda: all(len(s.taken) >= 400 for s in sinks), LIMIT)
    stamps = sorted(stamp for sink in sinks for stamp in sink.stamps)
    assert rate(stamps) >= 0.95
    ends = [sink.stamps[-1] for sink in sinks]
    assert max(ends) - min(ends) < 60


@cocotb.test()
async def write_random(dut: Any) -> None:
    for seed, stall in enumerate((0.0, 0.3, 0.6)):
        bench = await start(dut, 20 + seed)
        commands = random_commands(bench.random, 10, 8)
        data = [bench.random.getrandbits(64) for _ in range(sum(n for _, n in commands))]
        models = bench.writer(commands, data, Options(stall=stall), stall)
        memory, done = models[2:]
        await run(dut, models, lambda d=done: len(d.cycles) == 10, LIMIT)
        places = [a + 8 * i for a, n in commands for i in range(n)]
        assert memory.words == dict(zip(places, data, strict=True))
        assert len(memory.answered) == len(memory.accepted)
        assert memory.empty == 0
        await run(dut, models, lambda: True, 5)
        assert dut.w_quiet.value == 1


@cocotb.test()
async def write_done(dut: Any) -> None:
    """`done` of each command in turn, not before its last answer."""
    bench = await start(dut, 24)
    commands = [(0xFF0, 4), (0x2000, 200), (0x3000, 1)]
    models = bench.writer(commands, list(range(205)), Options(latency=(90, 90), stall=0.0), 0.0)
    memory, done = models[2:]
    await run(dut, models, lambda: len(done.cycles) == 3, LIMIT)
    assert done.cycles == [memory.answered[i] + 1 for i in (1, 5, 6)]


@cocotb.test()
async def write_speed(dut: Any) -> None:
    bench = await start(dut, 25)
    long = [(0x7F8, 1000)]
    short = [(0x100000 + 192 * i, 24) for i in range(40)]
    options = Options(latency=(60, 60), stall=0.0)
    models = bench.writer(long + short, list(range(1960)), options, 0.0)
    memory, done = models[2:]
    await run(dut, models, lambda: len(done.cycles) == 41, LIMIT)
    assert rate(memory.stamps[:1000]) >= 0.95


@cocotb.test()
async def write_error(dut: Any) -> None:
    bench = await start(dut, 26)
    models = bench.writer([(0x1000, 200)], list(range(200)), Options(errors=(0x1300,)), 0.2)
    fault = Pulses(Pin(dut.w_fault))
    await run(dut, [*models, fault], lambda: len(models[3].cycles) == 1, LIMIT)
    assert len(fault.cycles) == 1


@cocotb.test()
async def write_halt(dut: Any) -> None:
    """Bursts under way are finished without strobes even if no data come any more."""
    for stall, given in ((0.0, 150), (0.0, 140), (0.4, 140)):
        bench = await start(dut, 30)
        data = [bench.random.getrandbits(64) for _ in range(given)]
        models = bench.writer([(0x1000, 400)], data, Options(stall=stall), stall)
        memory = models[2]
        await run(dut, models, lambda m=memory: len(m.stamps) == 140, LIMIT)
        dut.halt.value = 1
        pending = memory.pin("valid")
        asked, early = len(memory.accepted), Pulses(Pin(dut.w_quiet))
        await run(
            dut,
            [*models, early],
            lambda m=memory: m.waiting() == 0 and not m.pin("valid") and not m.valid,
            4000,
        )
        assert not [cycle for cycle in early.cycles if cycle < memory.cycle]
        await run(dut, models, lambda: dut.w_quiet.value == 1, 4)
        assert len(memory.accepted) == asked + pending
        assert memory.empty > 0
        assert memory.words == {0x1000 + 8 * i: data[i] for i in range(len(memory.words))}
        assert sum(burst.beats for burst in memory.accepted) == len(memory.stamps)


globals().update(axi_faults.planted_tests(globals()))
