"""How often a run that we start sends the Prefect server a heartbeat: the one place that sets it.

The server takes a run for dead after three heartbeats that it missed, and by default they come every three minutes.
Deployments have the same number in their work pools (deployments/pools).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

HEARTBEAT_S = 30


@contextlib.contextmanager
def heartbeats() -> Iterator[None]:
    """Let runs that begin in the block send them; if the user has set another frequency, it stays."""
    from prefect.settings import temporary_settings

    with temporary_settings(set_defaults={"flows.heartbeat_frequency": HEARTBEAT_S}):
        yield
