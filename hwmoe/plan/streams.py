# MOVED: use hwmoe.sim.kernel_cases (LinearOp, AttentionOp, linear_case, attention_case)
# and hwmoe.quant.kernels (linear, attention: the integer reference). This file will be removed.
from hwmoe.sim.kernel_cases import *  # noqa
