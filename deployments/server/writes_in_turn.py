"""An SQLAlchemy plugin for a Prefect server on SQLite: transactions that may write wait for each other.

Prefect 3.8 begins most transactions with `BEGIN DEFERRED`, and reads first. If another transaction writes meanwhile,
SQLite refuses the write of the first at once ("database is locked", SQLITE_BUSY_SNAPSHOT). No timeout helps. The server
then answers 503, and the Prefect UI does not repeat a Submit: the run is lost. With `BEGIN IMMEDIATE`, a transaction
takes its turn before it reads, and waits for it for up to a minute (the busy timeout that Prefect sets).

A transaction that waits keeps its connection, and others need one to read or to end. With SQLAlchemy's 15 connections,
all of them can wait for each other: then the server answers nothing for a minute. So there are more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import CreateEnginePlugin, Engine
from sqlalchemy.engine.url import URL

NAME = "writes_in_turn"
"""The name of the plugin in a connection URL: an entry point in `pyproject.toml`."""
POOL = {"pool_size": 10, "max_overflow": 200}
"""Connections that stay open, and further ones. A connection to SQLite is a thread and a few open files."""


def connection_url(database: Path) -> str:
    """Return the connection URL of a SQLite database, with this plugin."""
    return URL.create("sqlite+aiosqlite", database=str(database), query={"plugin": NAME}).render_as_string()


class WritesInTurn(CreateEnginePlugin):
    """Begins each transaction of SQLite with its turn to write, and has a connection for each that waits."""

    def update_url(self, url: URL) -> URL:
        """Return the URL without what names this plugin."""
        return url.difference_update_query(["plugin"])

    def handle_pool_kwargs(self, pool_cls: type, pool_args: dict[str, Any]) -> None:
        """Set the number of connections, except for a database in memory, which has exactly one."""
        if "pool_size" not in pool_args:
            pool_args |= POOL

    def engine_created(self, engine: Engine) -> None:
        """Change how the transactions of an engine begin."""
        event.listen(engine, "before_cursor_execute", _immediate, retval=True)


def _immediate(
    _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    return ("BEGIN IMMEDIATE" if statement == "BEGIN DEFERRED" else statement), parameters
