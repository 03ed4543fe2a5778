"""Puts this folder on the import path (for `small_models`) and keeps PyTorch to one core."""

import torch

torch.set_num_threads(1)
