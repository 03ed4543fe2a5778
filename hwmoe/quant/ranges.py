"""The range of every int8 site by the chosen method, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np

from hwmoe.quant.calibrate import Ranges, narrow
from hwmoe.quant.quantized import RangeChoice

Calibration = Literal["minmax", "percentile", "mse", "reconstruct"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)

CLIPS = np.geomspace(1.0, 0.05, 80)
"""Parts of the largest magnitude that are tried as a range."""


def least_noise(ranges: Ranges, site: str) -> float:
    """The range with the least squared error over all values seen at `site`."""
    largest, histogram = ranges.largest[site], ranges.histograms[site]
    if not largest:
        return ranges.limit(site)
    return min((float(largest * clip) for clip in CLIPS), key=histogram.noise)


def choose_ranges(ranges: Ranges, method: Calibration, given: Collection[str]) -> None:
    """Set the limit of each int8 site but the `given` ones; min-max and percentile are there."""
    if method in ("mse", "reconstruct"):
        for site in ranges.histograms:
            if site not in given:
                ranges.limits[site] = least_noise(ranges, site)


def explain(
    ranges: Ranges, method: Calibration, given: Collection[str], moved: Collection[str]
) -> tuple[RangeChoice, ...]:
    """One row a site; `moved` were changed by block reconstruction."""
    rows = []
    for site in filter(narrow, ranges.limits):
        limit, largest = ranges.limit(site), ranges.largest[site]
        if site in given:
            why = "scale that came with the model"
        elif not largest:
            why = "always zero"
        elif site in moved:
            why = "least weighted error of its block's result"
        elif method == "percentile":
            why = f"percentile {ranges.percentile:g} of the magnitudes"
        elif method == "minmax":
            why = "largest magnitude seen"
        elif limit >= largest:
            why = "least squared error: clipping nothing is best"
        else:
            why = f"least squared error: clips beyond {100 * limit / largest:.0f} % of the largest"
        sqnr = ranges.histograms[site].sqnr_db(limit)
        rows.append(RangeChoice(site, limit, largest, sqnr, why))
    return tuple(rows)
