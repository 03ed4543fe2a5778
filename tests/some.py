"""Which cases of a test are in the default suite, when each takes a build of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """All cases, those that are not `quick` only with `-m slow`."""
    found = list(cases)
    assert set(quick) <= set(found), "a case that is not there"
    return [
        pytest.param(
            case,
            id="-".join(str(part) for part in (case if isinstance(case, tuple) else [case])),
            marks=[] if case in quick else [pytest.mark.slow],
        )
        for case in found
    ]
