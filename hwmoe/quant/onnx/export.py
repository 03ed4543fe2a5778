"""A `QuantizedModel` as ONNX with QuantizeLinear and DequantizeLinear (QDQ), all tasks in one file.

Every tensor is rounded where the machine rounds it, at the same scale. Between two roundings the
graph computes in float32 what the machine computes in integers (docs/numerics.md), so a result
can differ by one step where the exact value lies close to the middle of two. The exponentials of
attention and gate are the machine's tables. Experts run over all tokens, weighted by a matrix that
TopK and ScatterElements make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.files import replacing
from hwmoe.model.loaders.onnx.extra import require
from hwmoe.quant import numerics
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.onnx.builder import Array, GraphBuilder
from hwmoe.quant.quantized import QuantizedModel

INT8, INT16 = np.int8, np.int16
LAST = 255.0
"""Last index of an exponential table."""


def export_onnx(model: QuantizedModel) -> Any:
    """The ModelProto: raw pixels float32 [N, C, H, W] -> logits float32 [N, classes] a task."""
    return _Writer(model).write()


def save_onnx(model: QuantizedModel, path: Path) -> None:
    """Check the graph and write it, beside and then renamed."""
    proto = export_onnx(model)
    require("onnx.checker").check_model(proto, full_check=True)
    with replacing(path) as beside:
        beside.write_bytes(proto.SerializeToString())


@dataclass
class _Writer:
    model: QuantizedModel
    graph: GraphBuilder = field(default_factory=GraphBuilder)

    def __post_init__(self) -> None:
        self.config = self.model.config
        self.residual = self.scale("embed")

    def write(self) -> Any:
        c, helper, onnx = self.config, require("onnx.helper"), require("onnx")
        stream = self.embed("images")
        logits = [self.task(stream, task) for task in range(len(c.tasks))]
        named = []
        for task, value in zip(c.tasks, logits, strict=True):
            self.graph.nodes.append(helper.make_node("Identity", [value], [task.name]))
            shape = ["N", task.classes]
            named.append(helper.make_tensor_value_info(task.name, onnx.TensorProto.FLOAT, shape))
        image = ["N", c.channels, *c.image]
        inputs = [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, image)]
        about = {
            "hwmoe.model": c.name,
            "hwmoe.numerics": str(numerics.FORMAT),
            "hwmoe.experts": self.model.experts,
            "hwmoe.calibration": self.model.calibration,
        }
        return self.graph.model(inputs, named, about)

    def scale(self, name: str) -> float:
        return float(np.asarray(self.model.scales[name]).reshape(-1)[0])

    def task(self, stream: str, task: int) -> str:
        """From the embedded tokens to the logits of one task."""
        for layer in range(self.config.depth):
            block = f"blocks.{layer}"
            stream = self.add(stream, self.attention(block, stream), f"{block}.res1")
            x = self.norm(f"{block}.norm2", stream)
            if self.config.is_moe(layer):
                stream = self.moe(block, x, stream, task)
            else:
                stream = self.add(stream, self.feed_forward(f"{block}.mlp", x), f"{block}.res2")
        first = self.graph.constant(np.asarray(0, np.int64), "first")
        token = self.graph.node("Gather", stream, first, axis=1, name="class_token")
        x, scale = self.norm("norm", token), self.scale(f"head.{task}")
        y = self.linear(f"heads.{task}", x, self.scale("norm"), scale)
        return self.graph.rounded(y, scale, INT16, f"head.{task}")

    def embed(self, images: str) -> str:
        c, graph = self.config, self.graph
        shape = (-1, 1, 1)
        for op, values in (("Sub", c.pixel_mean), ("Div", c.pixel_std)):
            if values:
                numbers = np.asarray(values, np.float32).reshape(shape)
                images = graph.node(op, images, graph.constant(numbers, f"pixel.{op}"))
        scale = self.scale("input")
        pixels = graph.rounded(images, scale, INT8, "input")
        params = self.model.linear("patch_embed")
        steps = self.weight_scale(params, scale, self.residual)
        kernel = params.weight.reshape(-1, c.channels, *c.patch)
        weight = graph.stored(kernel, steps, 0, "patch_embed.weight")
        bias = graph.stored(params.bias, scale * steps, 0, "patch_embed.bias")
        y = graph.node("Conv", pixels, weight, bias, name="patch_embed.sum", strides=list(c.patch))
        y = graph.node("Reshape", y, graph.axis(0, c.dim, c.patches))
        y = graph.node("Transpose", y, perm=[0, 2, 1])
        y = graph.rounded(y, self.residual, INT16, "patch_embed")
        table = graph.stored(
            self.model.position, np.asarray(self.residual, np.float32), 0, "position"
        )
        # The class token has no patch: a row of zeros before the patches.
        pads = graph.axis(0, 1, 0, 0, 0, 0)
        return self.add(table, graph.node("Pad", y, pads), "embed")

    def add(self, stream: str, y: str, name: str) -> str:
        total = self.graph.node("Add", stream, y)
        return self.graph.rounded(total, self.residual, INT16, name)

    @staticmethod
    def weight_scale(params: LinearParams, scale_in: float, scale_out: float | Array) -> Array:
        """[N]: the scale at which the machine's multipliers are the ratio of scales."""
        return np.asarray(params.multiplier * 2.0**-params.shift * scale_out / scale_in)

    def linear(self, op: str, x: str, scale_in: float, scale_out: float | Array) -> str:
        """The result before it is rounded to ``scale_out``."""
        params = self.model.linear(op)
        steps = self.weight_scale(params, scale_in, scale_out)
        weight = self.graph.stored(params.weight.T, steps, 1, f"{op}.weight")
        bias = self.graph.stored(params.bias, scale_in * steps, 0, f"{op}.bias")
        product = self.graph.node("MatMul", x, weight, name=f"{op}.product")
        return self.graph.node("Add", product, bias, name=f"{op}.sum")

    def norm(self, name: str, x: str) -> str:
        """With the normalized values rounded as numerics, section 4, rounds them."""
        params, scale, dim, graph = (
            self.model.norm(name),
            self.scale(name),
            self.config.dim,
            self.graph,
        )
        one = 2.0**numerics.NORM_FRACTION
        gain = (params.gain * scale * 2.0**-params.shift).astype(np.float32)
        bias = (params.bias * scale * 2.0**-params.shift).astype(np.float32)
        z = graph.node(
            "LayerNormalization",
            x,
            graph.constant(np.full(dim, one, np.float32), "norm.one"),
            name=f"{name}.normalized",
            epsilon=float(params.eps * self.residual**2 / dim**2),
        )
        scaled = graph.node("Mul", self.whole(z), graph.constant(gain, f"{name}.weight"))
        y = graph.node("Add", scaled, graph.constant(bias, f"{name}.bias"))
        return graph.rounded(y, scale, INT8, name)

    def whole(self, x: str) -> str:
        """floor(x + 1/2), the machine's rounding."""
        return self.graph.node("Floor", self.graph.node("Add", x, self.graph.number(0.5, "half")))

    def attention(self, block: str, stream: str) -> str:
        c, graph = self.config, self.graph
        x = self.norm(f"{block}.norm1", stream)
        steps = np.asarray(self.model.scales[f"{block}.qkv"])
        y = self.linear(f"{block}.qkv", x, self.scale(f"{block}.norm1"), steps)
        parts = graph.nodes_out("Split", (y,), 3, f"{block}.split", axis=-1, num_outputs=3)
        scales = [float(step) for step in steps[:: c.dim]]
        q, k, v = (
            graph.rounded(self.heads(part, name == "k"), scale, INT8, f"{block}.{name}")
            for part, scale, name in zip(parts, scales, "qkv", strict=True)
        )
        scores = graph.node("MatMul", q, k, name=f"{block}.scores")
        largest = graph.node("ReduceMax", scores, graph.axis(-1), keepdims=1)
        params = self.model.attention(f"{block}.attn")
        ratio = params.score_mult * 2.0**-params.score_shift / (scales[0] * scales[1])
        distance = graph.node("Sub", largest, scores)
        probs = self.exponential(distance, ratio, numerics.EXP7, f"{block}.probs")
        total = graph.node("ReduceSum", probs, graph.axis(-1), keepdims=1)
        mixed = graph.node("Div", graph.node("MatMul", probs, v), total)
        mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
        merged = graph.node("Reshape", mixed, graph.axis(0, c.tokens, c.dim))
        scale = self.scale(f"{block}.attn")
        out = graph.rounded(merged, scale, INT8, f"{block}.attn")
        y = self.linear(f"{block}.proj", out, scale, self.residual)
        return graph.rounded(y, self.residual, INT16, f"{block}.proj")

    def heads(self, x: str, key: bool) -> str:
        """[N, T, D] -> [N, heads, T, D / heads], for keys with the last two swapped.

        Before rounding, so that nothing stands between DequantizeLinear and the products:
        onnxruntime fails where it moves a quantizer across a Reshape.
        """
        c = self.config
        split = self.graph.node("Reshape", x, self.graph.axis(0, c.tokens, c.heads, c.head_dim))
        return self.graph.node("Transpose", split, perm=[0, 2, 3, 1] if key else [0, 2, 1, 3])

    def exponential(self, distance: str, ratio: float, table: Array, name: str) -> str:
        """``table[min(255, round(distance * ratio))]``, as numerics, sections 5 and 6."""
        graph = self.graph
        steps = graph.node("Mul", distance, graph.number(ratio, f"{name}.ratio"))
        index = graph.node("Min", self.whole(steps), graph.number(LAST, "last"))
        index = graph.node("Cast", index, to=require("onnx").TensorProto.INT64)
        entries = graph.constant(table.astype(np.float32), "exp")
        return graph.node("Gather", entries, index, name=name)

    def feed_forward(self, name: str, x: str) -> str:
        """fc1, GELU, fc2; ``x`` is the result of the block's LayerNorm."""
        graph = self.graph
        block = ".".join(name.split(".")[:2])
        pre, post = self.scale(f"{name}.fc1"), self.scale(f"{name}.gelu")
        y = self.linear(f"{name}.fc1", x, self.scale(f"{block}.norm2"), pre)
        hidden = graph.node("Gelu", graph.rounded(y, pre, INT8, f"{name}.fc1"))
        hidden = graph.rounded(hidden, post, INT8, f"{name}.gelu")
        y = self.linear(f"{name}.fc2", hidden, post, self.residual)
        return graph.rounded(y, self.residual, INT16, f"{name}.fc2")

    def moe(self, block: str, x: str, stream: str, task: int) -> str:
        """Shared expert, then experts in ascending order, each rounded and added to the stream."""
        c, graph, name = self.config, self.graph, f"{block}.moe"
        if c.shared_hidden:
            stream = self.add(stream, self.feed_forward(f"{name}.shared", x), f"{name}.res")
        shares = self.route(block, x, task)
        for expert in range(c.experts):
            y = self.feed_forward(f"{name}.experts.{expert}", x)
            own = graph.constant(np.asarray([expert], np.int64), "expert")
            share = graph.node("Gather", shares, own, axis=-1, name=f"{name}.share.{expert}")
            weighted = graph.node("Mul", y, share)
            weighted = graph.rounded(weighted, self.residual, INT16, f"{name}.weighted.{expert}")
            stream = self.add(stream, weighted, f"{name}.res")
        return stream

    def route(self, block: str, x: str, task: int) -> str:
        """Scores [N, T, experts]; zero for the experts that a token does not go to."""
        graph, name = self.graph, f"{block}.moe"
        gate, scale = f"{name}.gate.{task}", self.scale(f"{name}.gate.{task}")
        logits = self.linear(gate, x, self.scale(f"{block}.norm2"), scale)
        logits = graph.rounded(logits, scale, INT16, gate)
        params = self.model.gate(f"{name}.softmax.{task}")
        chosen, index = graph.nodes_out(
            "TopK", (logits, graph.axis(params.top_k)), 2, f"{name}.topk", axis=-1
        )
        largest = graph.node("ReduceMax", chosen, graph.axis(-1), keepdims=1)
        ratio = params.score_mult * 2.0**-params.score_shift / scale
        over = logits if params.scores == "all" else chosen
        weights = self.exponential(
            graph.node("Sub", largest, over), ratio, numerics.EXP15, f"{name}.weights"
        )
        total = graph.node("ReduceSum", weights, graph.axis(-1), keepdims=1)
        if params.scores == "all":
            weights = graph.node("GatherElements", weights, index, axis=-1)
        scores = graph.node("Div", weights, total, name=f"{name}.scores")
        zeros = graph.node("Mul", logits, graph.number(0.0, "zero"))
        return graph.node("ScatterElements", zeros, index, scores, axis=-1, name=f"{name}.shares")
