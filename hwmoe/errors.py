"""The one exception a user is meant to read."""

from __future__ import annotations

from pydantic import ValidationError


class HwmoeError(Exception):
    """A problem the user can mend: the message says what is wrong, where, and what to change.

    The command line prints it without a trace and exits with code 2.
    """


def explain_validation(what: str, error: ValidationError) -> HwmoeError:
    """Turn a pydantic error into one message that lists every problem at once."""
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "configuration"
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"  {place}: {message}" if problem["loc"] else f"  {message}")
    return HwmoeError(f"{what} is not valid:\n" + "\n".join(lines))
