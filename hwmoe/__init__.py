"""hwmoe: Mixture-of-Experts vision transformers from PyTorch to an FPGA accelerator."""

from importlib.metadata import version

__version__ = version("hwmoe")
