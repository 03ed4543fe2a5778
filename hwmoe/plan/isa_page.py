"""The instruction set as a page of the documentation (docs/isa.md)."""

from __future__ import annotations

from collections.abc import Iterator

from hwmoe.plan.isa import Format, instruction_set


def isa_page() -> str:
    """Markdown, made from isa.toml."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    isa = instruction_set()
    yield "# Instructions"
    yield ""
    yield "<!-- Made from hwmoe/plan/isa.toml: `pytest tests/plan/test_isa.py --update` -->"
    yield ""
    yield (
        f"An instruction is {isa.bytes} bytes, little endian. What the instructions work on, and "
        "when, is told in [the machine](machine.md)."
    )
    yield ""
    yield "Every instruction begins with these fields:"
    yield ""
    some = next(iter(isa.formats.values()))
    yield from _table(some, isa.common)
    yield ""
    engines = ", ".join(f"{number} {name}" for number, name in enumerate(isa.engines))
    yield f"Bits of `wait` and `signal` are engines: {engines}."
    for title, names in (("list_mode", isa.list_modes), ("space", isa.spaces)):
        values = ", ".join(f"{number} {name}" for name, number in names.items())
        yield f"`{title}`: {values}."
    for format_ in isa.formats.values():
        yield ""
        yield f"## {format_.name}"
        yield ""
        yield f"Opcode {format_.opcode}, taken by {format_.engine}. {format_.doc}"
        yield ""
        yield from _table(format_, format_.fields)


def _table(format_: Format, names: tuple[str, ...]) -> Iterator[str]:
    yield "| field | bits |"
    yield "|---|---|"
    for name in names:
        low, bits = format_.layout[name]
        yield f"| `{name}` | {low + bits - 1}:{low} |"
