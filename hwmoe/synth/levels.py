"""Logic levels between registers, module by module, as Yosys' mapper tells them in its log."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hwmoe.synth.resources import base_name

_MODULE = re.compile(r"^Extracted \d+ AND gates and \d+ wires from module `(.+?)' to")
_LEVELS = re.compile(r"^ABC: Mapping \(K=\d+\).* lev = +(\d+)")


def levels_of(log: str) -> Mapping[str, int]:
    """Most LUTs on a path between registers, by module; carries and block RAMs not counted.

    Paths through ports that no register closes end at the port: a chain of modules may be longer
    than its parts. Of modules with parameters the deepest counts.
    """
    found: dict[str, int] = {}
    module = ""
    for line in log.splitlines():
        if begun := _MODULE.match(line):
            module = base_name(begun[1].lstrip("\\"))
        elif module and (mapped := _LEVELS.match(line)):
            found[module] = max(found.get(module, 0), int(mapped[1]))
            module = ""
    return found
