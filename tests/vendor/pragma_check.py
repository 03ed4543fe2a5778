"""HLS pragmas of preprocessed C++ against pragmas.toml: directive, options, names in scope.

The reader of C++ knows as much as the templates use: functions, loops, declarations of one name,
structs and typedefs of arrays. What it does not understand declares nothing, so a pragma on it is
a problem and not a pass.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TOKEN = re.compile(
    r'#pragma[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[{};]|[^{};"\'#]+|#[^\n]*'
)
_DECLARED = re.compile(
    r"^(?:(?:static|const|constexpr|struct|unsigned)\s+)*([\w:]+)(?:<.*>)?[\s&*]+(\w+)"
    r"((?:\s*\[[^\]]*\])*)\s*(?:$|=|\()"
)
_CALLS = {"if", "while", "switch", "return", "else"}


@cache
def grammar() -> dict[str, Any]:
    path = Path(__file__).with_name("pragmas.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@dataclass
class Scope:
    """`kind`: function, loop, struct or block. names: declared -> number of dimensions."""

    kind: str
    names: dict[str, int] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()


def preprocessed(folder: Path, source: str) -> str:
    """`source` with the macros of the project replaced; only lines of the project's own files."""
    command = ["g++", "-std=c++14", "-E", "-Icsim", "-I.", source]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    kept, own = [], False
    for line in done.stdout.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            own = not marker[1].startswith(("/", "<", "csim/", "./csim/"))
        elif own:
            kept.append(line)
    return "\n".join(kept)


def check(text: str) -> tuple[list[str], int]:
    """(problems, number of pragmas) of preprocessed C++."""
    reader = _Reader()
    for token in _TOKEN.findall(text):
        reader.token(token)
    return reader.problems, reader.count


class _Reader:
    def __init__(self) -> None:
        self.scopes = [Scope("file")]
        self.types: dict[str, int] = {}  # dimensions that a type brings along
        self.constants: set[str] = set()
        self.pending = ""
        self.struct = ""
        self.problems: list[str] = []
        self.count = 0

    def token(self, token: str) -> None:
        if token.startswith("#pragma HLS"):
            self.count += 1
            self.pragma(token)
        elif token == "{":
            if re.search(r"=\s*$", self.pending):  # an initializer
                self.declare(self.pending)
                self.scopes.append(Scope("block"))
            else:
                self.open(" ".join(self.pending.split()))
            self.pending = ""
        elif token == "}":
            closed = self.scopes.pop()
            if closed.kind == "struct":
                self.types[self.struct] = max(closed.names.values(), default=0)
            self.pending = ""
        elif token == ";":
            if self.pending.count("(") == self.pending.count(")"):  # else in the head of a for
                self.declare(self.pending)
                self.pending = ""
            else:
                self.pending += ";"
        elif not token.startswith("#"):
            self.pending += token

    def open(self, head: str) -> None:
        if head.startswith("struct "):
            self.struct = head.split()[1]
            self.scopes.append(Scope("struct"))
        elif re.match(r"(\w+\s*:\s*)?for\s*\(", head):
            scope = Scope("loop")
            self.scopes.append(scope)
            self.declare(head[head.index("(") + 1 :].split(";")[0])
        elif head.endswith(")") and len(self.scopes) <= 4 and self.function(head):
            pass
        else:
            self.scopes.append(Scope("block"))

    def function(self, head: str) -> bool:
        if head.split("(")[0].split()[-1] in _CALLS or self.inside("function"):
            return False
        inner = head[head.index("(") + 1 : -1]
        scope = Scope("function")
        self.scopes.append(scope)
        for part in _split(inner):
            self.declare(part)
        scope.parameters = frozenset(scope.names)
        return True

    def inside(self, kind: str) -> bool:
        return any(scope.kind == kind for scope in self.scopes)

    def declare(self, statement: str) -> None:
        statement = " ".join(statement.split())
        typedef = re.match(r"typedef ([\w:<>]+) (\w+)((?:\[[^\]]*\])*)$", statement)
        if typedef:
            own = self.types.get(typedef[1], 0)
            self.types[typedef[2]] = own + typedef[3].count("[")
            return
        found = _DECLARED.match(statement)
        if not found or found[1] in _CALLS:
            return
        brought = self.types.get(found[1].split("::")[-1], 0)
        self.scopes[-1].names[found[2]] = found[3].count("[") + brought
        if "constexpr" in statement:
            self.constants.add(found[2])

    # ---- pragmas ----

    def pragma(self, line: str) -> None:
        words = re.sub(r"\s*=\s*", "=", line).split()[2:]
        name, rules = words[0].lower(), grammar().get(words[0].lower())
        if rules is None:
            self.problems.append(f"{line}: no such pragma")
            return
        given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        loose = [word for word in words[1:] if "=" not in word]
        problems = [f"no option {word}" for word in loose if word not in rules.get("words", [])]
        problems += [f"{o} is missing" for o in rules.get("required", []) if o not in given]
        for option, value in given.items():
            kind = rules.get("options", {}).get(option)
            if kind is None:
                problems.append(f"no option {option}")
            elif not self.legal(kind, value, given):
                problems.append(f"{option}={value}")
        scope = next((s.kind for s in reversed(self.scopes) if s.kind != "block"), "file")
        if rules["scope"] not in ("any", self.scopes[-1].kind) or scope == "file":
            problems.append(f"not in the body of a {rules['scope']}")
        if name == "array_partition" and given.get("type", "complete") != "complete":
            problems += [] if "factor" in given else ["factor is missing"]
        self.problems += [f"{line}: {problem}" for problem in problems]

    def legal(self, kind: str, value: str, given: dict[str, str]) -> bool:
        if kind == "variable":
            return self.dimensions(value) is not None
        if kind == "port":
            return value == "return" or value in self.scopes[-1].parameters
        if kind == "number":
            return value.isdigit() or value in self.constants
        if kind == "dim":
            most = self.dimensions(given.get("variable", ""))
            return value.isdigit() and most is not None and int(value) <= most
        return re.fullmatch(kind, value) is not None

    def dimensions(self, name: str) -> int | None:
        """Of a variable in scope of the function; None if there is no such."""
        for scope in reversed(self.scopes):
            if scope.kind != "file" and name in scope.names:
                return scope.names[name]
        return None


def _split(text: str) -> list[str]:
    """At commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char in "(<[") - (char in ")>]")
        if char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
