"""ONNX files made to do harm. Run as a program, it imports them with little memory and time.

`python hostile_onnx.py FOLDER` prints a JSON object: file name -> what was said of it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

MEMORY = 768 * 2**20  # bytes beyond what Python and the packages take
SECONDS = 60
HUGE = 2**40


def model(
    nodes: list[Any], constants: dict[str, Any], shape: tuple[Any, ...] = ("N", 3, 8, 8)
) -> Any:
    """images -> y."""
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), key)
        for key, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node(op: str, inputs: list[str], output: str = "y", **attrs: Any) -> Any:
    return helper.make_node(op, inputs, [output], name=f"n_{output}", **attrs)


def declared(dims: list[int], **fields: Any) -> Any:
    return TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, **fields)


def external(location: str, offset: str = "0", length: str = "16") -> Any:
    tensor = declared([4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return tensor


def nested(depth: int) -> bytes:
    """A model whose node has a graph whose node has a graph..."""

    def field(number: int, content: bytes) -> bytes:
        size, length = b"", len(content)
        while True:
            low, length = length & 127, length >> 7
            size += bytes([low | 128 if length else low])
            if not length:
                return bytes([number << 3 | 2]) + size + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    return field(7, graph)  # model.graph


ADD = [node("Add", ["images", "w"])]
int64 = np.int64


def graphs() -> Iterator[tuple[str, Any]]:
    """Models that parse, by file name."""
    yield "cycle", model([node("Add", ["images", "y"], "a"), node("Neg", ["a"])], {})
    yield "loose", model([node("Add", ["images", "nothing"])], {})
    yield "twice", model([node("Neg", ["images"]), node("Neg", ["images"])], {})
    yield "parent", model(ADD, {"w": external("../secret.bin")})
    yield "absolute", model(ADD, {"w": external("/etc/hostname")})
    yield "link", model(ADD, {"w": external("link.bin")})
    yield "folder", model(ADD, {"w": external(".")})
    yield "far", model(ADD, {"w": external("near.bin", str(2**62))})
    yield "negative", model(ADD, {"w": external("near.bin", "-8")})
    yield "words", model(ADD, {"w": external("near.bin", "eight")})
    yield (
        "attribute",
        model(
            [node("ConstantOfShape", ["s"], value=external("../secret.bin"))],
            {"s": np.ones(1, int64)},
        ),
    )
    yield "overflow", model(ADD, {"w": declared([HUGE, HUGE, HUGE], raw_data=b"0000")})
    yield "claims", model(ADD, {"w": declared([2**28], raw_data=b"0000")})
    yield (
        "sparse",
        model(
            [node("Neg", ["images"])],
            {f"w{i}": declared([2**28], float_data=[0.0]) for i in range(3)},
        ),
    )
    yield "minus", model(ADD, {"w": declared([-1], raw_data=b"0000")})
    yield "fill", model([node("ConstantOfShape", ["s"])], {"s": np.array([HUGE, 3], int64)})
    yield "expand", model([node("Expand", ["images", "s"])], {"s": np.array([HUGE, 1, 1, 1, 1])})
    yield "tile", model([node("Tile", ["images", "s"])], {"s": np.array([1, 1, HUGE, 1])})
    yield (
        "range",
        model([node("Range", ["a", "b", "c"])], {"a": int64(0), "b": int64(2**62), "c": int64(1)}),
    )
    yield (
        "still",
        model([node("Range", ["a", "b", "c"])], {"a": int64(0), "b": int64(9), "c": int64(0)}),
    )
    yield (
        "onehot",
        model(
            [node("Cast", ["images"], "i", to=7), node("OneHot", ["i", "d", "v"])],
            {"d": np.array([HUGE]), "v": np.array([0.0, 1.0], np.float32)},
        ),
    )
    yield (
        "pads",
        model(
            [node("Conv", ["images", "w"], pads=[2**30] * 4)],
            {"w": np.ones((4, 3, 2, 2), np.float32)},
        ),
    )
    yield "outer", model(
        [node("ConstantOfShape", ["s"], "a"), node("ConstantOfShape", ["t"], "b"),
         node("MatMul", ["a", "b"])],
        {"s": np.array([2**20, 1]), "t": np.array([1, 2**20])},
    )  # fmt: skip
    yield "einsum", model(
        [node("Flatten", ["images"], "a", axis=0), node("Squeeze", ["a", "z"], "b"),
         node("Einsum", ["b", "b", "b", "b"], equation="i,j,k,l->ijkl")],
        {"z": np.array([0])},
    )  # fmt: skip
    doubling = [node("Concat", [f"x{i}", f"x{i}"], f"x{i + 1}", axis=0) for i in range(60)]
    yield "doubling", model([node("Neg", ["images"], "x0"), *doubling, node("Neg", ["x60"])], {})
    many = [node("Neg", [f"x{i}"], f"x{i + 1}") for i in range(19_000)]
    yield "chain", model([node("Neg", ["images"], "x0"), *many, node("Neg", ["x19000"])], {})
    more = [node("Neg", [f"x{i}"], f"x{i + 1}") for i in range(30_000)]
    yield "nodes", model([node("Neg", ["images"], "x0"), *more, node("Neg", ["x30000"])], {})
    yield "image", model([node("Neg", ["images"])], {}, ("N", 3, 2**20, 2**20))
    yield "free", model([node("Neg", ["images"])], {}, ("N", 3, "H", "W"))
    yield "flat", model([node("Neg", ["images"])], {}, ("N", 3))
    yield "batch", model([node("Neg", ["images"])], {}, (2**40, 3, 8, 8))
    loop = helper.make_node("Loop", ["", "", "images"], ["y"], body=model(ADD, {}).graph, name="l")
    yield "loop", model([loop], {})
    yield "text", model([node("Cast", ["images"], to=8)], {})
    yield "long", model([helper.make_node("Evil", ["images"], ["y"], name="x" * 10_000_000)], {})


def write(folder: Path) -> None:
    """All files, and what lies around them."""
    (folder / "models").mkdir()
    (folder / "secret.bin").write_bytes(b"s" * 64)
    here = folder / "models"
    (here / "near.bin").write_bytes(b"n" * 64)
    (here / "link.bin").symlink_to(folder / "secret.bin")
    for name, proto in graphs():
        (here / f"{name}.onnx").write_bytes(proto.SerializeToString())
    (here / "deep.onnx").write_bytes(nested(5000))
    (here / "empty.onnx").write_bytes(b"")
    (here / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(100_000))
    (here / "zip.onnx").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    (here / "words.txt.onnx").write_bytes(b"this is a text\n" * 100)
    (here / "cut.onnx").write_bytes((here / "chain.onnx").read_bytes()[:1000])
    (here / "directory.onnx").mkdir()
    with (here / "giant.onnx").open("wb") as file:
        file.truncate(2**33)


def main() -> None:
    from hwmoe.errors import HwmoeError
    from hwmoe.model.loaders.onnx.importer import import_onnx

    assert onnx.__version__
    assert onnxruntime.__version__  # imported before memory is limited
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) / "models"
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    said: dict[str, Any] = {}
    for path in sorted(folder.glob("*.onnx")):
        start = time.process_time()
        try:
            import_onnx(path)
            text = "imported"
        except HwmoeError as error:
            text = str(error)
        said[path.stem] = [text, time.process_time() - start]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
