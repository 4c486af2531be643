"""Start a run from the command line or from Python. Bad input is refused before anything else happens."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from flows.profile import noted
from flows.run_options import RunOptions


def _plan(module: Any, given: RunOptions, connection: Any) -> None:
    """Start the Earth Engine client, and make the plan that the run will make: bad input is refused early.

    Raises:
        InputError: A parameter is refused.
        EarthEngineError: The metadata cannot be read.
    """
    from tasks.earthengine.connection import start_client

    start_client(connection)
    if hasattr(module, "plan"):  # an audit makes no plan
        module.plan(given, connection)


@contextlib.contextmanager
def ready(module: str, flow: str, given: RunOptions, check_server: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """Import a flow, with a Prefect server and heartbeats inside the `with` block.

    If no server is configured, a temporary one starts during the import.

    Args:
        module: Name of the flow's module. Its import takes seconds: GDAL, the Earth Engine client, Prefect's engine.
        flow: Name of the flow in the module.
        given: Parameters of the run.
        check_server: Called before the import if a server is configured or runs already.

    Yields:
        The flow.

    Raises:
        InputError: There is no project, there are no credentials, or a parameter is refused. A temporary server is
            stopped, even while it starts.
        RuntimeError: The temporary server did not start.
    """
    account = given.connect() if given.asks_earth_engine and given.connection is None else None
    from flows.temporary_server import temporary_server

    with temporary_server() as starting:
        if not starting:
            check_server()
        imported = getattr(importlib.import_module(module), flow)
        if starting and account is not None:
            from tasks.earthengine.errors import EarthEngineError

            with contextlib.suppress(EarthEngineError):  # the run meets it again, and Prefect may retry
                _plan(importlib.import_module(module), given, account.connection)
    from tasks.prefect_io.heartbeat import heartbeats

    with heartbeats(), noted(given.origins):
        yield imported
