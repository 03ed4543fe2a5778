"""The quantizers of QONNX: what they compute, and how their scales are taken over.

Definitions: Pappalardo et al., "QONNX: Representing Arbitrary-Precision Quantized Neural
Networks" (2022), and the operator documents of the qonnx package.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwmoe.model.loaders.onnx.graph import Array, Node

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ROUND_TO_ZERO": np.trunc,
}


def levels(node: Node, bits: float) -> tuple[float, float]:
    """Smallest and largest integer of a ``Quant`` node with ``bits``."""
    signed, narrow = bool(node.attrs.get("signed", 1)), bool(node.attrs.get("narrow", 0))
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def quant(node: Node, x: Array, scale: Array, zero: Array, bits: Array) -> Array:
    """``Quant``: to integers and back, in the type of ``x``."""
    rounding = ROUNDINGS[str(node.attrs.get("rounding_mode", "ROUND")).upper()]
    low, high = levels(node, float(bits.reshape(-1)[0]))
    # Clipped before it is rounded as well: a limit is an integer, so the result is the same.
    whole = rounding(np.clip(x / scale + zero, low, high))
    return np.asarray((whole - zero) * scale, x.dtype)


def bipolar(x: Array, scale: Array) -> Array:
    """``BipolarQuant``: -scale below zero, +scale elsewhere."""
    return np.asarray(np.where(x < 0, -1, 1) * scale, x.dtype)
