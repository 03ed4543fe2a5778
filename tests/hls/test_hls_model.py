"""A whole small model, quantized and compiled, on the HLS: logits, saturations, every tensor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hls_cases import CONFIGS
from small_models import small

from hwmoe.codegen.hls import hls_files, limits_of
from hwmoe.plan import packing
from hwmoe.plan.compiler import compile_model
from hwmoe.quant.reference import run_reference
from hwmoe.sim.csim import CSim


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.mark.parametrize("experts", ["int8", "ternary"])
def test_a_model_gives_the_logits_of_the_reference(
    builds: Path, experts: Literal["int8", "ternary"]
) -> None:
    example = small(experts, count=5)
    program = compile_model(example.quantized, CONFIGS["odd"])
    acc, lanes = program.accelerator, program.accelerator.linear.t_in
    sim = CSim(hls_files(acc, limits_of(program)), acc, builds, ["-O1"])
    images = np.stack([packing.pack_activations(p, lanes).view(np.int8) for p in example.patches])
    for task, entry in enumerate(program.entries):
        expected = run_reference(example.quantized, example.patches, task)
        result = sim.run(program.encode(), program.params, program.weights, images, entry, trace=0)
        np.testing.assert_array_equal(result.logits, expected.logits)
        sites: Counter[str] = Counter()
        for step, clipped in zip(program.steps, result.saturations, strict=True):
            sites[step.site] += int(clipped)
        assert +sites == Counter({k: v for k, v in expected.saturations.items() if v})
        assert len(result.trace) > 20
