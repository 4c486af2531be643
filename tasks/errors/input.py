"""Errors in values from the user."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import QuarryError
from tasks.errors.redaction import redacted
from tasks.errors.shown_text import plain

SHOWN = 120
"""Largest number of characters that a message shows of a value."""


class InputError(QuarryError, ValueError):
    """A value from the user is refused. The message gives its field, the value, the reason, and what to do."""


class BadInputError(InputError):
    """A parameter is refused before the first pixel request.

    Args:
        field: Name of the parameter.
        value: Its value.
        reason: Why it is refused, with the limit.
        remedy: What to do.
    """

    def __init__(self, field: str, value: object, reason: str, remedy: str) -> None:
        super().__init__(field, value, reason, remedy)
        self.field, self.value, self.reason, self.remedy = field, value, reason, remedy

    def __str__(self) -> str:
        shown = redacted(_written(self.value))
        shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."
        end = "" if self.remedy.endswith((".", "?")) else "."
        return plain(f"{redacted(self.field)} = {shown}: {self.reason.rstrip('.')}. {self.remedy}{end}", lines=True)


def refused(field: str, value: object, reason: str, remedy: str) -> InputError:
    """Return the error for a refused value: ``field = value: reason. remedy.``."""
    end = "" if remedy.endswith(("?", ".")) else "."
    return InputError(f"{field} = {brief(value)}: {reason}. {remedy}{end}")


def brief(value: object) -> str:
    """Return a value as a message shows it. A long value is shortened in its middle: the end of a path matters most."""
    text = repr(str(value)) if isinstance(value, str | Path) else _written(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 53]}...{text[-50:]}"


def _written(value: object) -> str:
    """Return the `repr` of a value, or the name of its type if it has none: too many digits or levels."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"({type(value).__name__})"
