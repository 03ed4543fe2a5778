"""A program as text, from its steps or from the words in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import Program


def listing(program: Program) -> str:
    """Every instruction of `program` with the tensor it makes, a line each."""
    names = ["", *(step.name for step in program.steps)]
    lines = disassemble(program.encode())
    width = max(map(len, names))
    return "".join(f"{name:<{width}}  {line}\n" for name, line in zip(names, lines, strict=True))


def disassemble(words: npt.NDArray[np.int32]) -> Iterator[str]:
    """int32 [n, words] -> a line an instruction; `ValueError` names the first that is none."""
    isa = instruction_set()
    for index, row in enumerate(words):
        try:
            op, fields = isa.decode(row)
        except ValueError as error:
            raise ValueError(f"instruction {index}: {error}") from None
        own = " ".join(f"{name}={fields[name]}" for name in isa.formats[op].fields)
        engine = isa.formats[op].engine
        yield f"{index - 1:>5} {engine:<9} {op:<10} {_common(fields)} {own}"


def _common(fields: Mapping[str, int]) -> str:
    """Stage, tasks, and whom the instruction waits for and signals."""
    engines = instruction_set().engines

    def named(mask: int) -> str:
        return "+".join(e for bit, e in enumerate(engines) if mask >> bit & 1) or "-"

    wait, signal = named(fields["wait"]), named(fields["signal"])
    return (
        f"stage={fields['stage']} tasks={fields['tasks']:b} after={fields['after']} "
        f"wait={wait} signal={signal}"
    )
