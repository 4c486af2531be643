"""A progress bar below the log, on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.theme import Theme

from tasks.prefect_io.progress import watched


@contextlib.contextmanager
def bar() -> Iterator[None]:
    """Show the progress of runs in this process, inside the `with` block. Without a terminal, only the log shows it."""
    console = _console()
    if not (sys.stderr.isatty() and console.is_interactive):
        yield
        return
    columns = (BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    progress = Progress(*columns, console=console, auto_refresh=False)
    tasks: list[TaskID] = []

    def show(done: int, total: int, words: str) -> None:
        if not tasks:
            tasks.append(progress.add_task(words, total=total))
        progress.update(tasks[0], completed=done, total=total, description=words, refresh=True)

    # Prefect's theme has no colours for a progress bar.
    with console.use_theme(Theme()), progress, watched(show):
        yield


def _console() -> Console:
    """Return the console of Prefect's log. A second console would write into its lines."""
    for handler in logging.getLogger().handlers:  # loggers of runs pass records on to the root logger
        if isinstance(handler, PrefectConsoleHandler):
            return handler.console
    return Console(stderr=True)
