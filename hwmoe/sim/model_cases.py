"""The kernels' work in a whole model, as streams.

Each LINEAR and ATTENTION step becomes the beats the machine would send to the kernel. Weights
and constants are taken from the program's memory image and activations from the reference's
trace, so a wrong packing shows as well as a wrong kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmoe.plan import packing
from hwmoe.plan.packing import Beats, Ints, ceil_div
from hwmoe.plan.program import Program, Step
from hwmoe.sim.kernel_cases import join
from hwmoe.sim.streams import StreamCase

FLAG = {name: 1 << bit for bit, name in enumerate(packing.LINEAR_FLAGS)}


@dataclass(frozen=True, eq=False)
class KernelStep:
    """One command: what a kernel is sent, and what the reference says must come back.

    command: field values; inputs: beats by short port name; expected int [rows, channels].
    """

    step: Step
    command: Mapping[str, int]
    inputs: Mapping[str, Beats]
    expected: Ints
    beats: int


class ModelCases:
    """The kernel commands of one image and task."""

    def __init__(self, program: Program, task: int, trace: Mapping[str, Ints]) -> None:
        """`trace`: the reference's tensors of one image (batch 1), with its patches as `image`."""
        self.program, self.trace = program, trace
        self.steps = [step for _, step in program.of_task(task)]
        self.results = {step.name: step.result for step in self.steps}
        self.lanes = program.accelerator.linear.t_in

    def tensor(self, name: str) -> Ints:
        """The reference's tensor [rows, channels]."""
        value = self.trace[name]
        return value.reshape(-1, value.shape[-1])

    def rows_of(self, expert_tensor: str) -> npt.NDArray[np.int64]:
        """Token rows of the expert that a step like `blocks.1.moe.experts.3.fc2` belongs to."""
        return self.trace[f"{expert_tensor.rpartition('.')[0]}.rows"].astype(np.int64)

    def linear(self) -> list[KernelStep]:
        """Commands of the linear kernel in program order; empty experts only load their table."""
        return [self._linear(step) for step in self.steps if step.kind == "linear"]

    def _linear(self, step: Step) -> KernelStep:
        cfg, f = self.program.accelerator.linear, step.fields
        flags = f["flags"]
        rows = None if step.result.expert is None else self.rows_of(step.name)
        n_list = f["n_list"] if rows is None else len(rows)
        gather = bool(flags & FLAG["gather"])
        n_tok = f["n_tok"] if rows is None or gather else n_list
        command = {name: f.get(name, 0) for name, _ in packing.LINEAR_COMMAND}
        command |= {"n_tok": n_tok, "n_list": n_list}
        inputs = {"cmd": packing.pack_fields(packing.LINEAR_COMMAND, command)}
        if flags & FLAG["load_x"] and n_tok:
            source = self.results[step.reads].padded(self.tensor(step.reads), self.lanes)
            inputs["x"] = packing.pack_activations(source, self.lanes)
        if gather and n_list:
            assert rows is not None
            inputs["list"] = packing.as_beats(rows.astype(np.uint16), n_list)
        if flags & FLAG["load_table"]:
            table = self.program.params[f["table"] : f["table"] + 64]
            inputs["table"] = packing.as_beats(table, 256)
        if not n_list:
            # The reference has no tensors of an expert without tokens.
            return KernelStep(step, command, inputs, np.zeros((0, 0), np.int8), 0)
        rows_a_beat = cfg.w_rows * (4 if flags & FLAG["ternary"] else 1)
        n_weights = f["out_tiles"] * f["in_tiles"] * (cfg.t_out // rows_a_beat)
        inputs["w"] = self.program.weights[f["weights"] : f["weights"] + n_weights]
        n_params = f["chunks"] * cfg.t_epi * 2
        params = self.program.params[f["params"] : f["params"] + n_params]
        inputs["p"] = packing.as_beats(params, f["chunks"])
        return KernelStep(step, command, inputs, self.tensor(step.name), f["chunks"] * n_list)

    def attention(self) -> list[KernelStep]:
        """Commands of the attention kernel in program order."""
        return [self._attention(step) for step in self.steps if step.kind == "attention"]

    def _attention(self, step: Step) -> KernelStep:
        cfg, f = self.program.accelerator.attention, step.fields
        groups = ceil_div(f["n_tok"], cfg.rows)
        command = {name: f[name] for name, _ in packing.ATTENTION_COMMAND}
        layout = self.results[step.reads].head_layout
        assert layout
        parts = self.tensor(step.reads).reshape(f["n_tok"], 3, layout.heads, layout.head_dim)
        q, k, v = parts.transpose(1, 2, 0, 3)
        inputs = {
            "cmd": packing.pack_fields(packing.ATTENTION_COMMAND, command),
            "q": packing.pack_heads(cfg, q, 1),
            "k": packing.pack_heads(cfg, k, groups),
            "v": packing.pack_heads(cfg, v, groups),
        }
        beats = command["head_groups"] * f["n_tok"] * f["dim_tiles"]
        return KernelStep(step, command, inputs, self.tensor(step.name), beats)

    def decode(self, item: KernelStep, beats: Beats) -> Ints:
        """Output beats of one command -> int [rows, channels], as `expected`."""
        result = item.step.result
        if item.step.kind == "attention":
            layout, tokens = result.head_layout, item.command["n_tok"]
            assert layout
            cfg = self.program.accelerator.attention
            whole = packing.unpack_heads(cfg, beats, layout.heads, tokens, layout.head_dim)
            return whole.transpose(1, 0, 2).reshape(tokens, -1)
        n_list, t_epi = item.command["n_list"], self.program.accelerator.linear.t_epi
        values = beats.reshape(-1).view("<i2").reshape(-1, n_list, t_epi)
        flat = values.transpose(1, 0, 2).reshape(n_list, -1)
        return result.plain(flat, self.lanes)


def stream_case(
    name: str, kernel: str, items: Sequence[KernelStep], widths: Mapping[str, int]
) -> StreamCase:
    """All commands back to back; `widths` are bytes a beat of every input port."""
    beats = sum(item.beats for item in items)
    return join(kernel, name, [item.inputs for item in items], widths, beats)
