"""cocotb tests of the machine in top_cocotb.sv, against models of cocotbext-axi."""

from __future__ import annotations

from typing import Any

import cocotb
import top_cocotb_host as host
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp
from top_cocotb_host import Bench, answer, make

from hwmoe.sim.machine_registers import (
    CONTROL,
    DONE,
    GLOBAL_INTERRUPT,
    INTERRUPT_ENABLE,
    INTERRUPT_STATUS,
    START,
    n_images,
)

IDLE, READY = 4, 8
ENDED = DONE | IDLE | READY
NO_STEP = 0xFFFF
READ, WRITE = 2, 3  # error codes
# Bits of an error's detail: FETCH, linear, LayerNorm and load of gmem, then the weight ports.
READERS = {"program": 1, "images": 0b1001, "params": 0b1110, "weights_0": 16, "weights_1": 32}


@cocotb.test(timeout_time=host.LIMIT, timeout_unit="ns")
async def full_speed(dut: Any) -> None:
    """Twice the same, in every count of cycles."""
    bench = await make(dut, 1)
    first, second = await bench.run(), await bench.run()
    first.check()
    second.check()
    assert first.status == second.status
    assert first.spent - 20 <= first.status["cycles_low"]


@cocotb.test(timeout_time=host.LIMIT, timeout_unit="ns")
async def pauses(dut: Any) -> None:
    """The same results in more cycles."""
    bench = await make(dut, 2)
    last = (await bench.run()).status
    for share in (0.3, 0.5, 0.7):
        bench.pause(share, share)
        outcome = await bench.run()
        outcome.check()
        assert outcome.status["cycles_low"] > last["cycles_low"]
        last = outcome.status


@cocotb.test(timeout_time=host.LIMIT, timeout_unit="ns")
async def control(dut: Any) -> None:
    """ap_start, ap_done, ap_idle and ap_ready, polled; strobes; a run that a reset ends."""
    bench = await make(dut, 3)
    assert await bench.read(CONTROL) == IDLE
    await bench.write(INTERRUPT_ENABLE, 0)
    await bench.write(GLOBAL_INTERRUPT, 1)
    await bench.start()
    while not (word := await bench.read(CONTROL)) & DONE:
        assert word == START
    assert word == ENDED
    assert await bench.read(CONTROL) == IDLE  # the read before has cleared the rest
    assert await bench.read(INTERRUPT_STATUS) == 0  # was not enabled
    assert dut.interrupt.value == 0
    assert bench.results == bytes.fromhex(host.JOB["results"])

    at = n_images(host.W_PORTS)
    await bench.write(at, 0x11223344)
    await bench.host.write(at + 1, b"\xaa")
    await bench.host.write(at + 3, b"\xbb")
    assert await bench.read(at) == 0xBB22AA44

    await bench.start()
    await ClockCycles(dut.ap_clk, 500)
    assert await bench.read(CONTROL) == START
    assert int(dut.open.value) > 0
    # The test after this one finds the machine, and its models, in the middle of that.


@cocotb.test(timeout_time=host.LIMIT, timeout_unit="ns")
async def interrupts(dut: Any) -> None:
    """Runs of no image, and the bits of ap_done and ap_ready in the interrupt registers."""
    bench = await make(dut, 4)
    bench.pause(0.5, 0.5)
    await bench.write(INTERRUPT_ENABLE, 0b11)
    await bench.start(images=0)
    await ClockCycles(dut.ap_clk, 100)
    assert await bench.read(INTERRUPT_STATUS) == 0b11
    assert dut.interrupt.value == 0  # not enabled in general
    await bench.write(GLOBAL_INTERRUPT, 1)
    await bench.interrupt()
    for toggled, left in ((0b01, 0b10), (0b11, 0b01), (0b01, 0), (0b10, 0b10), (0b10, 0)):
        await bench.write(INTERRUPT_STATUS, toggled)
        assert await bench.read(INTERRUPT_STATUS) == left
        assert dut.interrupt.value == int(left > 0)
    assert await bench.read(CONTROL) == ENDED
    await bench.write(INTERRUPT_ENABLE, 0b10)
    await bench.start(images=0)
    await bench.interrupt()
    assert await bench.read(INTERRUPT_STATUS) == 0b10


async def fails(bench: Bench, code: int, detail: int, pointers: dict[str, int]) -> None:
    """A run that ends with this error; of `detail` some bits."""
    outcome = await bench.run(pointers)
    assert outcome.error == (code, NO_STEP), pointers
    got = outcome.status["error_detail"]
    assert got & ~detail == 0
    assert (got > 0) == (detail > 0)


@cocotb.test(timeout_time=host.LIMIT, timeout_unit="ns")
async def nowhere(dut: Any) -> None:
    """A pointer to where nothing is, and a good run afterwards."""
    bench = await make(dut, 5)
    for name, detail in READERS.items():
        await fails(bench, READ, detail, {name: bench.nowhere()})
    (await bench.run()).check()
    await fails(bench, WRITE, 0, {"results": bench.nowhere()})
    (await bench.run()).check()


@cocotb.test(timeout_time=host.LIMIT, timeout_unit="ns")
async def broken(dut: Any) -> None:
    """One beat within a burst, between pauses, with either of the two error responses."""
    bench = await make(dut, 6)
    bench.pause(0.5, 0.9)  # so that weights are under way when anything else is done
    for reader in bench.readers.values():
        answer(reader.r_channel, AxiResp.DECERR)
    for name, byte in (("program", 700), ("params", 24), ("weights_1", 9), ("images", 72)):
        bench.regions[name].broken = byte
        await fails(bench, READ, READERS[name], {})
        bench.regions[name].broken = None
    answer(bench.writer.b_channel, AxiResp.DECERR)
    bench.regions["results"].broken = 0
    await fails(bench, WRITE, 0, {})
    bench.regions["results"].broken = None
    (await bench.run()).check()


def _planted(number: int, function: Any) -> Any:
    async def test(dut: Any) -> None:
        host.fault = number
        await function(dut)

    limited = cocotb.test(name=f"fault_{number}", timeout_time=host.LIMIT, timeout_unit="ns")
    return limited(test)


# After all others, those that find a planted fault.
for _number, _name in enumerate(host.JOB["faults"], 1):
    globals()[f"fault_{_number}"] = _planted(_number, globals()[_name].func)
