"""Privacy: what a table may show that others will read. Names are replaced, and secrets removed."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tasks.errors.redaction import redacted
from tasks.errors.shown_text import plain

LONGEST = 400
"""Most characters of a cell."""
_ACCOUNT = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_PATTERNS = (
    (r"\b(project[s_]?[ _]?(number)?[:/ ]+)'?\d{6,}", r"\1<number>"),
    (r"/(home|Users)/[^/\s'\"]+", "~"),
    (r"[A-Za-z]:\\Users\\[^\\\s'\"]+", "~"),
)


class Privacy:
    """Replaces names by placeholders. A call makes a text fit to be pasted into a bug report."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.hide(str(Path.home()), "~")
        self.hide(socket.gethostname(), "<host>")

    def hide(self, name: str | None, placeholder: str) -> None:
        """Replace a name from now on, such as a project by ``<project>``. Names of one or two letters stay."""
        if name and len(name.strip("/")) > 2 and name not in {"localhost", "127.0.0.1"}:
            self._names[name] = placeholder

    def __call__(self, text: str) -> str:
        """Return a text on one line, without secrets and names."""
        text = _ACCOUNT.sub("<account>", redacted(text))
        for name in sorted(self._names, key=len, reverse=True):
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", self._names[name], text)
        for pattern, placeholder in _PATTERNS:
            text = re.sub(pattern, placeholder, text)
        text = " ".join(plain(text, lines=True).split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
