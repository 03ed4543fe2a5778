"""How fast the integer reference is: the 360 digits test images in under 5 seconds, or exit 1.

Run from the top of the repository: python benchmarks/reference_speed.py
"""

from __future__ import annotations

import sys
import time

import torch

from hwmoe.model.data import digits_images
from hwmoe.model.zoo import load_model
from hwmoe.quant.quantize import quantize
from hwmoe.quant.reference import run_reference

SECONDS = 5.0


def main() -> int:
    torch.set_num_threads(1)
    images = digits_images()
    slowest = 0.0
    for experts in ("int8", "ternary"):
        model = quantize(load_model("digits").eval(), images.calibration[:256], experts)
        patches = model.quantize_images(images.test)
        for trace in (False, True):
            start = time.perf_counter()
            run_reference(model, patches, 0, trace)
            seconds = time.perf_counter() - start
            slowest = max(slowest, seconds)
            print(
                f"digits {experts}, trace {'on' if trace else 'off'}: {len(patches)} images in "
                f"{seconds:.2f} s, {len(patches) / seconds:.0f} images/s"
            )
    if slowest >= SECONDS:
        print(f"slower than {SECONDS:g} s", file=sys.stderr)
    return int(slowest >= SECONDS)


if __name__ == "__main__":
    sys.exit(main())
