"""Tries the package on its board: `python selftest.py`. Exit code 0: every value as expected."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hwmoe_driver import Accelerator, DeviceError, PackageError


def main(arguments: list[str] | None = None, device: object = None) -> int:
    """Print what is found; 1 if anything is wrong. device: as `Accelerator` takes it."""
    parser = argparse.ArgumentParser(description="Runs the golden images of a package.")
    here = Path(__file__).parent
    parser.add_argument("--package", type=Path, default=here, help="folder, if not this one")
    parser.add_argument("--device", default=None, help="number or PCIe address of an XRT card")
    parser.add_argument("--timeout", type=float, default=None, help="seconds for an image")
    options = parser.parse_args(arguments)
    chosen = device if device is not None else options.device
    if isinstance(chosen, str) and chosen.isdigit():
        chosen = int(chosen)
    try:
        with Accelerator(options.package, chosen, options.timeout) as accelerator:
            print(repr(accelerator).strip("<>"))
            report = accelerator.selftest()
    except (DeviceError, PackageError, ImportError) as error:  # no pynq, no pyxrt
        print(f"FAILED: {error}")
        return 1
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
