"""The optional packages: imported when needed, with a message when they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from hwmoe.errors import HwmoeError

INSTALL = "pip install 'hwmoe[onnx]' (in a checkout of hwmoe: pip install -e '.[onnx]')"


def require(name: str) -> ModuleType:
    """The module `name` (``onnx``, ``onnxruntime``...), or an `HwmoeError` that says what to do."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise HwmoeError(
            f"ONNX files need the package {package}, which is not installed: {INSTALL}"
        ) from None
