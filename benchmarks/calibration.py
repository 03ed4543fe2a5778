"""What each calibration is worth: SQNR by layer on weights with outliers, top-1 on digits.

Heavy-tailed, outlier-channel weights (`hwmoe.model.realistic`) in the geometry of deit-tiny, and
the digits model. Exit 1 unless both `mse` and `reconstruct` are 3 dB better than min-max, in the
mean over all layers and at the logits.

Run from the top of the repository: python benchmarks/calibration.py [--model deit-tiny] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch

from hwmoe.model.data import digits_images
from hwmoe.model.realistic import heavy_tailed_model, smooth_images
from hwmoe.model.zoo import load_model, zoo_config
from hwmoe.quant.compare import evaluate
from hwmoe.quant.quantize import quantize
from hwmoe.quant.ranges import CALIBRATIONS

NEEDED_DB = 3.0
CALIBRATION_IMAGES = 16
TEST_IMAGES = 4


def outlier_rows(name: str) -> list[dict[str, Any]]:
    """Mean SQNR over layers, SQNR of the logits and seconds, a method a row."""
    config = zoo_config(name)
    model = heavy_tailed_model(config)
    images = smooth_images(config, CALIBRATION_IMAGES + TEST_IMAGES)
    rows = []
    for method in CALIBRATIONS:
        start = time.perf_counter()
        quantized = quantize(model, images[:CALIBRATION_IMAGES], calibration=method)
        seconds = time.perf_counter() - start
        layers = evaluate(model, quantized, images[CALIBRATION_IMAGES:], None, 0).layers
        rows.append(
            {
                "model": f"{name}, outliers",
                "calibration": method,
                "mean_db": float(np.mean([layer.sqnr_db for layer in layers])),
                "lowest_db": min(layer.sqnr_db for layer in layers),
                "logits_db": layers[-1].sqnr_db,
                "layers": {layer.name: round(layer.sqnr_db, 2) for layer in layers},
                "seconds": seconds,
            }
        )
    return rows


def digits_rows() -> list[dict[str, Any]]:
    """Top-1 and agreement with the float model of the digits model, first task."""
    images, model = digits_images(), load_model("digits").eval()
    assert images.labels is not None
    rows = []
    for method in CALIBRATIONS:
        start = time.perf_counter()
        quantized = quantize(model, images.calibration[:256], calibration=method)
        seconds = time.perf_counter() - start
        labels = images.labels[model.config.tasks[0].name]
        found = evaluate(model, quantized, images.test, labels, 0)
        sqnr = [layer.sqnr_db for layer in found.layers]
        rows.append(
            {
                "model": "digits",
                "calibration": method,
                "mean_db": float(np.mean(sqnr)),
                "lowest_db": min(sqnr),
                "logits_db": sqnr[-1],
                "float_top1": found.accuracy.float_top1,
                "integer_top1": found.accuracy.integer_top1,
                "agreement": found.accuracy.agreement,
                "seconds": seconds,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print("model                calibration  mean dB  lowest  logits   top-1  agree  seconds")
    for row in rows:
        top1, agree = row.get("integer_top1"), row.get("agreement")
        print(
            f"{row['model']:<21}{row['calibration']:<12} {row['mean_db']:7.2f} "
            f"{row['lowest_db']:7.2f} {row['logits_db']:7.2f} "
            f"{'' if top1 is None else f'{100 * top1:.2f}':>7} "
            f"{'' if agree is None else f'{100 * agree:.2f}':>6} {row['seconds']:8.1f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="deit-tiny", help="a geometry of the zoo")
    parser.add_argument("--json", action="store_true", help="all numbers, SQNR of every layer too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    outliers = outlier_rows(options.model)
    rows = outliers + digits_rows()
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        show(rows)
    plain = next(row for row in outliers if row["calibration"] == "minmax")
    gains = [
        row[what] - plain[what]
        for row in outliers
        if row["calibration"] in ("mse", "reconstruct")
        for what in ("mean_db", "logits_db")
    ]
    if min(gains) < NEEDED_DB:
        print(f"a gain of only {min(gains):.2f} dB over min-max", file=sys.stderr)
    return int(min(gains) < NEEDED_DB)


if __name__ == "__main__":
    sys.exit(main())
