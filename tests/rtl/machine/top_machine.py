"""One simulation of the machine with its memories and its host."""

from __future__ import annotations

import random

import numpy as np
from axi_model import Host, ReadPort, Store, WritePort
from pin_bench import Built
from top_network import (
    BEFORE,
    IMAGE_BYTES,
    IMAGES,
    LANES,
    LOGIT_BYTES,
    N_IMAGES,
    PARAMS,
    PATCH,
    PORT,
    PROGRAM,
    RESULTS,
    TOKENS,
    WEIGHTS,
    Layout,
    Network,
    program,
    steps,
)

from hwmoe.plan.packing import ceil_div, pack_activations
from hwmoe.quant.numerics import IntArray, Saturations

LIMIT = 60_000  # cycles of a run


class Machine:
    """One simulation of the top with its memories."""

    def __init__(self, built: Built, pace: float = 0.8, seed: int = 1, stages: int = 1) -> None:
        self.pins, self.store, rng = built.pins(seed), Store(), random.Random(seed)
        self.network = Network(seed)
        self.body = steps(self.network, Layout(self.network, self.store), stages)
        self.store.write(PROGRAM, program(self.body, stages))
        ports = ("m_axi_gmem", *(f"m_axi_w{port}" for port in range(len(WEIGHTS))))
        reads = [ReadPort(self.pins, port, self.store, PORT, rng, pace) for port in ports]
        writes = WritePort(self.pins, ports[0], self.store, PORT, rng, pace)
        self.ports: list[ReadPort | WritePort] = [*reads, writes]
        self.host = Host(self.pins, self.cycle)
        self.data = np.random.default_rng(seed)
        pointers = (PROGRAM, PARAMS, IMAGES, RESULTS, *WEIGHTS)
        for index, pointer in enumerate(pointers):
            self.host.write64(0x10 + 12 * index, pointer)

    def cycle(self) -> None:
        for port in self.ports:
            port.drive()
        for port in self.ports:
            port.sample()
        self.pins.tick()

    def images(self, tasks: list[int]) -> IntArray:
        """Random images with these tasks, written where the machine reads them."""
        patches = self.data.integers(-128, 128, (len(tasks), TOKENS, PATCH)).astype(np.int8)
        for index, (image, task) in enumerate(zip(patches, tasks, strict=True)):
            record = task.to_bytes(4, "little").ljust(64, b"\xee")
            record += pack_activations(image, LANES).tobytes()
            self.store.write(IMAGES + index * IMAGE_BYTES, record)
        self.store.write(RESULTS, BEFORE * (LOGIT_BYTES * len(tasks)))
        self.host.write(N_IMAGES, len(tasks))
        return patches

    def run(self) -> None:
        """From ap_start to the interrupt."""
        host = self.host
        host.write(0x04, 1)
        host.write(0x08, 1)
        host.write(0x00, 1)
        for _ in range(LIMIT):
            if self.pins["interrupt"]:
                break
            self.cycle()
        else:
            raise AssertionError(f"no end; states {[host.read(0x240 + 32 * e) for e in range(5)]}")
        host.write(0x0C, 1)
        assert host.read(0x00) & 0b110 == 0b110
        assert not self.pins["interrupt"]

    def error(self) -> tuple[int, int, int]:
        return self.host.read(0x200), self.host.read(0x204), self.host.read(0x208)

    def check(self, tasks: list[int], patches: IntArray) -> int:
        """Results, counts of clipped values and of instructions; how many were clipped."""
        sat = Saturations()
        for index, (image, task) in enumerate(zip(patches, tasks, strict=True)):
            want = self.network.run(image, task, sat)
            data = self.store.read(RESULTS + index * LOGIT_BYTES, LOGIT_BYTES)
            padded = want.astype("<i2").tobytes()
            padded = padded.ljust(PORT * ceil_div(len(padded), PORT), b"\0")
            assert data == padded.ljust(LOGIT_BYTES, BEFORE), f"image {index}"
        counts = {name: self.host.read(0x4000 + 4 * i) for i, (name, _, _) in enumerate(self.body)}
        assert {name: n for name, n in counts.items() if n} == {k: n for k, n in sat.items() if n}
        assert self.host.read(0x218) == len(tasks)
        return sat.total
