"""Errors of a whole run."""

from __future__ import annotations

from tasks.errors import QuarryError
from tasks.errors.shown_text import plain


class RunCancelled(QuarryError):
    """The flow run was cancelled. The tiles that it stored are kept."""


class ExtractionFailedError(QuarryError, RuntimeError):
    """Tiles are missing or failed.

    Args:
        message: Counts, reasons, and where the stored tiles are.
        passing: Whether all failures may be temporary, such as an outage.
    """

    passing = False

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message, passing)
        self.passing = passing

    def __str__(self) -> str:
        return plain(self.args[0], lines=True)


class AuditError(ExtractionFailedError):
    """An output is incomplete. The message lists what is missing or damaged."""


class UnexpectedError(QuarryError, RuntimeError):
    """An error that nothing here foresees: a bug, here or in a library. Its traceback is kept for a report."""
