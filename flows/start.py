"""The start of a run that we make, from the command line or from Python: what is refused is refused first."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from flows.run_options import RunOptions


def _plan(module: Any, given: RunOptions, connection: Any) -> None:
    """Plan as the run is going to: what can't be is refused before a server is there, and the client is started."""
    from tasks.earthengine.connection import ensure_client

    ensure_client(connection)
    if hasattr(module, "plan"):  # an audit plans nothing
        module.plan(given, connection)


@contextlib.contextmanager
def ready(module: str, flow: str, given: RunOptions, check_server: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """Import a flow, and give it a Prefect server and heartbeats for as long as the block.

    Where no server is configured, a temporary one starts meanwhile.

    Args:
        module: Where the flow is. It takes seconds to import: GDAL, the client, Prefect's engine.
        flow: Its name there.
        given: Parameters of the run.
        check_server: Called before anything takes time, if a server is there already.

    Yields:
        The flow.

    Raises:
        BadInputError: there is no project, or no way to sign in. No server is waited for, and none is left.
    """
    account = given.connect() if given.asks_earth_engine and given.connection is None else None
    from flows.temporary_server import temporary_server

    with temporary_server() as starting:
        if not starting:
            check_server()
        imported = getattr(importlib.import_module(module), flow)
        if starting and account is not None:
            from tasks.earthengine.errors import EarthEngineError

            with contextlib.suppress(EarthEngineError):  # the run meets it again, and is retried if it may pass
                _plan(importlib.import_module(module), given, account.connection)
    from tasks.prefect_io.heartbeat import heartbeats

    with heartbeats():
        yield imported
