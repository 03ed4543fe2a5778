"""A pickle of tensors, read as data: nothing it names is imported, called or built.

A small machine over the stack of a pickle, with the opcodes that `torch.save` writes. Calls are
recorded as `Call`; only descriptions of tensors are made of them, by `tensor_of`.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hwmoe.errors import HwmoeError

MAX_BYTES = 2 * 2**20  # the pickle only; the values lie beside it

# What names may be called, by the pickle's own words. Anything else is refused by name.
STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
REBUILD = "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
ORDERED = "collections.OrderedDict"
# Left unread: training scripts save their arguments beside the weights.
INERT = {"argparse.Namespace", "pathlib.PosixPath", "torch.Size"}
KNOWN = {REBUILD, PARAMETER, ORDERED, *INERT, *(f"torch.{name}" for name in STORAGES)}


class Mark:
    """The bottom of a group on the stack."""


@dataclass(frozen=True)
class Name:
    """A global that the pickle mentions."""

    text: str


@dataclass(frozen=True)
class Storage:
    """Values in the archive: member ``data/KEY``, ``count`` of dtype ``dtype``."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Call:
    """An object the pickle would have made: what it calls, with what."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class TensorRecord:
    """A view of a storage; ``offset`` and ``stride`` count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def span(self) -> int:
        """Values of the storage from the first to the last of the tensor; none may be empty."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))


def read_pickle(content: bytes) -> Any:
    """Plain dicts, lists, numbers and strings of a pickle, with `TensorRecord` for tensors.

    Raises `HwmoeError` for a pickle that is too large or broken, uses opcodes torch.save does not,
    or names anything but tensors.
    """
    if len(content) > MAX_BYTES:
        raise HwmoeError(f"its pickle has {len(content):,} bytes, over the limit of {MAX_BYTES:,}")
    machine = _Machine()
    try:
        # What it would call is looked at first, so that all of it is listed.
        check_names({a for op, a, _ in _operations(content) if op.name == "GLOBAL"})
        for opcode, argument, _ in _operations(content):
            machine.step(opcode.name, argument)
        return machine.result
    except HwmoeError:
        raise
    except Exception as error:  # any bytes may come, and any of them may break the machine
        raise HwmoeError(f"its pickle is broken: {type(error).__name__} {error}") from None


def check_names(words: set[str]) -> None:
    """Refuse a pickle that names anything but tensors; ``words`` are "module name"."""
    if bad := sorted({word.replace(" ", ".", 1) for word in words} - KNOWN):
        shown = ", ".join(name[:80] for name in bad[:10]) + (", ..." if len(bad) > 10 else "")
        raise HwmoeError(
            f"its pickle names {shown}, which is code and is not run; save the weights alone: "
            "torch.save(model.state_dict(), FILE), or as safetensors"
        )


def _operations(content: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    return pickletools.genops(io.BytesIO(content))


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in PUSHES:
            stack.append(argument)
        elif name in VALUES:
            stack.append(VALUES[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(Name(argument.replace(" ", ".", 1)))
        elif name in STEPS:
            STEPS[name](self)
        elif name == "STOP":
            self.result = stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise HwmoeError(f"its pickle uses {name}, which torch.save does not; save it again")

    def marked(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        stack = self.stack
        place = len(stack) - 1
        while not isinstance(stack[place], Mark):
            place -= 1
            if place < 0:
                raise ValueError("no mark")
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_called(function.text, arguments))

    def persistent(self) -> None:
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(key, str) or not _is_size(count):
            raise ValueError("no storage")
        dtype = STORAGES[storage.text.removeprefix("torch.")]
        self.stack.append(Storage(key, dtype, count))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        # Only keys whose hash is quick: that of ((x, x), (x, x)), and so on, takes for ever.
        if not all(type(key) in (str, int) for key in items[::2]):
            raise ValueError("a key that is neither text nor number")
        if isinstance(target, dict):
            target.update(zip(items[::2], items[1::2], strict=True))

    def drop(self) -> None:
        self.stack.pop()

    def append_items(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)


def _called(name: str, arguments: tuple[Any, ...]) -> Any:
    """What a known call stands for; nothing is called."""
    if name == ORDERED:
        return {}
    if name == PARAMETER:
        return arguments[0]
    if name == REBUILD:
        storage, offset, shape, stride = arguments[:4]
        sizes = (offset, *shape, *stride)
        sound = isinstance(storage, Storage) and all(map(_is_size, sizes))
        if not sound or len(shape) != len(stride) or len(shape) > 8:
            raise ValueError("no tensor")
        return TensorRecord(storage, offset, tuple(shape), tuple(stride))
    return Call(name, arguments)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


PUSHES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES"),
}
VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": Mark,
}
STEPS: dict[str, Callable[[_Machine], None]] = {
    "TUPLE": lambda m: m.stack.append(tuple(m.marked())),
    "TUPLE1": lambda m: m.tuple_of(1),
    "TUPLE2": lambda m: m.tuple_of(2),
    "TUPLE3": lambda m: m.tuple_of(3),
    "SETITEM": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m: m.set_items(m.marked()),
    "APPEND": lambda m: m.append_items([m.stack.pop()]),
    "APPENDS": lambda m: m.append_items(m.marked()),
    "REDUCE": lambda m: m.call(),
    "NEWOBJ": lambda m: m.call(),
    "BINPERSID": lambda m: m.persistent(),
    "BUILD": lambda m: m.drop(),
}
