"""What is refused because of what the user gave."""

from pathlib import Path

from tasks.errors import QuarryError

SHOWN = 120
"""Characters of a value that a message shows at most."""


class InputError(QuarryError, ValueError):
    """A value of the user's that can't be: the message names it, says why, and what to do."""


def refused(field: str, value: object, reason: str, remedy: str) -> InputError:
    """Return the refusal of a value: ``field = value: reason. remedy.``."""
    end = "" if remedy.endswith(("?", ".")) else "."
    return InputError(f"{field} = {brief(value)}: {reason}. {remedy}{end}")


def brief(value: object) -> str:
    """Return a value as a message shows it: shortened in its middle, since a path tells most at its end."""
    text = repr(str(value)) if isinstance(value, str | Path) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 53]}...{text[-50:]}"
