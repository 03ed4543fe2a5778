"""The sizes of a model from the shapes of its tensors, by what most of them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from hwmoe.model.loaders.families import Dimension
from hwmoe.model.loaders.imported import ImportProblem


@dataclass(frozen=True)
class Equation:
    """Tensor ``key`` has the shape ``found`` and must have ``wanted``.

    ``flat``: only the number of values is known, ``found`` is (count,).
    """

    key: str
    wanted: tuple[Dimension, ...]
    found: tuple[int, ...]
    flat: bool = False

    def products(self) -> list[tuple[Dimension, int]]:
        """Products of symbols and what each must be; none if the ranks differ."""
        if self.flat:
            return [(tuple(term for d in self.wanted for term in d), self.found[0])]
        if len(self.wanted) != len(self.found):
            return []
        return list(zip(self.wanted, self.found, strict=True))


def solve(equations: Sequence[Equation], given: Mapping[str, int]) -> dict[str, int]:
    """The value of every symbol that ``given`` and the equations determine.

    Of contradicting equations the majority wins, so that one bad tensor is the one found wrong.
    """
    sizes = dict(given)
    products = [product for equation in equations for product in equation.products()]
    while True:
        votes: dict[str, Counter[int]] = {}
        for terms, value in products:
            unknown = [t for t in terms if isinstance(t, str) and t not in sizes]
            known = prod(t if isinstance(t, int) else sizes.get(t, 1) for t in terms)
            if len(unknown) == 1 and value > 0 and value % known == 0:
                votes.setdefault(unknown[0], Counter())[value // known] += 1
        if not votes:
            return sizes
        # The symbol most tensors speak of first: what it settles can decide the others.
        symbol = max(votes, key=lambda name: votes[name].total())
        sizes[symbol] = votes[symbol].most_common(1)[0][0]


def mismatches(equations: Sequence[Equation], sizes: Mapping[str, int]) -> list[ImportProblem]:
    """One problem for each tensor that does not fit the sizes."""
    problems = []
    for equation in equations:
        products = equation.products()
        known = [
            (prod(t if isinstance(t, int) else sizes[t] for t in terms), value)
            for terms, value in products
            if all(isinstance(t, int) or t in sizes for t in terms)
        ]
        if products and all(wanted == value for wanted, value in known) and 0 not in equation.found:
            continue
        problems.append(
            ImportProblem(equation.key, "weight", equation.found, _says(equation, sizes))
        )
    return problems


def shape_of(wanted: tuple[Dimension, ...], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape in numbers."""
    return tuple(prod(t if isinstance(t, int) else sizes[t] for t in d) for d in wanted)


def _says(equation: Equation, sizes: Mapping[str, int]) -> str:
    text = ", ".join("*".join(map(str, d)) for d in equation.wanted)
    symbols = {t for d in equation.wanted for t in d if isinstance(t, str) and t in sizes}
    where = ", ".join(f"{name} = {sizes[name]}" for name in sorted(symbols))
    what = f"must be [{text}]" + (f" with {where}" if where else "")
    if equation.flat and all(t in sizes for d in equation.wanted for t in d if isinstance(t, str)):
        count = prod(shape_of(equation.wanted, sizes))
        what += f", {count} values of 4 bytes; the file is " + (
            "truncated" if equation.found[0] < count else "too long"
        )
    return what
