"""Regular expressions of users, as far as they can be matched in a time that is known before.

Python's ``re`` tries one way after the other and lets no other thread run meanwhile: ``(a+)+$`` on forty letters
would stop the whole server for years. So the ways are counted first, and a pattern with too many is refused.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

# Python's own parser, without which a pattern could only be guessed at; it has been there since 3.11.
from re import _constants, _parser  # type: ignore[attr-defined] # not in typeshed
from typing import Any

from deployments.sandbox.refusal import Refusal

LONGEST_PATTERN = 1_000
LONGEST_TEXT = 10_000
MOST_STEPS = 100_000_000
"""Of the matcher: about a second."""


@dataclass(frozen=True)
class _Ways:
    """In how many ways a pattern can be tried."""

    runs: int = 0
    """Repeats of any length."""
    choices: int = 1
    """Ways beside these: of alternatives, and of what may be there or not."""
    size: int = 1
    """Characters and assertions to look at."""

    def then(self, other: _Ways) -> _Ways:
        return _Ways(self.runs + other.runs, self.choices * other.choices, self.size + other.size)

    def steps(self, length: int) -> int:
        """Return the most steps in a text: the runs and the match begin and end at places in rising order."""
        return math.comb(length + self.runs + 1, self.runs + 1) * self.choices * self.size


@dataclass(frozen=True)
class Pattern:
    """A regular expression that has an end."""

    text: str
    compiled: re.Pattern[str]
    ways: _Ways

    def on(self, text: str) -> re.Pattern[str]:
        """Return the compiled pattern, to be used on a text.

        Raises:
            Refusal: 400, it would take too long.
        """
        if len(text) > LONGEST_TEXT:
            raise Refusal(f"Regular expression: The text has {len(text)} characters, more than {LONGEST_TEXT}.")
        if self.ways.steps(len(text)) > MOST_STEPS:
            raise Refusal(
                f"Regular expression '{self.text}' has too many repeats or alternatives for a text of "
                f"{len(text)} characters."
            )
        return self.compiled


@functools.lru_cache(maxsize=256)
def pattern(text: str, *, ignore_case: bool = False) -> Pattern:
    """Return a regular expression of a user.

    Args:
        text: In the syntax that RE2's and Python's have in common, with the named classes of POSIX (``[[:space:]]``):
            Google's examples of ``String.split`` show both.
        ignore_case: Whether letters of both cases are the same.

    Raises:
        Refusal: 400, it is none, is too long, or has what may never end: repeats of repeats or of alternatives,
            back-references, look-around.
    """
    if len(text) > LONGEST_PATTERN:
        raise Refusal(f"Regular expression: The pattern has {len(text)} characters, more than {LONGEST_PATTERN}.")
    try:
        understood = _NAMED_CLASS.sub(_class, text)
        ways = _sequence(_parser.parse(understood), text)
        # Letters, digits and spaces are those of ASCII in RE2.
        flags = re.ASCII | (re.IGNORECASE if ignore_case else re.NOFLAG)
        return Pattern(text, re.compile(understood, flags), ways)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise Refusal(
            f"Invalid regular expression '{text}', or one that the sandbox does not support: {error}."
        ) from None


_NAMED_CLASS = re.compile(r"\[:(\w+):\]")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
    "blank": r"\t ",
}


def _class(match: re.Match[str]) -> str:
    name = match[1]
    if name not in _CLASSES:
        raise Refusal(f"Regular expression: the sandbox does not support the class [:{name}:].")
    return _CLASSES[name]


def _sequence(parts: Any, text: str) -> _Ways:
    return functools.reduce(_Ways.then, (_part(kind, content, text) for kind, content in parts), _Ways(size=0))


def _part(kind: Any, content: Any, text: str) -> _Ways:
    c = _constants
    if kind is c.SUBPATTERN:
        return _sequence(content[-1], text)
    if kind is c.ATOMIC_GROUP:
        return _sequence(content, text)
    if kind is c.BRANCH:
        ways = [_sequence(branch, text) for branch in content[1]]
        return _Ways(max(w.runs for w in ways), sum(w.choices for w in ways), sum(w.size for w in ways))
    if kind in {c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT}:
        least, most, body = content
        return _repeated(int(least), int(most), body, text)
    if kind in {c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN, c.AT}:
        return _Ways()
    raise Refusal(
        f"Regular expression '{text}': the sandbox supports no back-references and no look-around, "
        "because matching them may never end."
    )


def _repeated(least: int, most: int, body: Any, text: str) -> _Ways:
    inner = _sequence(body, text)
    if (least, most) == (0, 1):
        return _Ways(inner.runs, inner.choices + 1, inner.size)
    if inner.runs or inner.choices > 1:
        raise Refusal(
            f"Regular expression '{text}': the sandbox supports no repeats of what has repeats or alternatives "
            "in it (nested quantifiers), because matching them may never end."
        )
    return _Ways(runs=int(least != most), size=max(1, inner.size) * max(1, least))
