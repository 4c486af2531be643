"""The fetch session of a flow run, and its share of the quota."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import uuid4

from prefect.client.base import ServerType, determine_server_type
from prefect.runtime import flow_run

from tasks.earthengine.deadlines import Deadlines
from tasks.errors.run import RunCancelled
from tasks.extraction.account import Account
from tasks.extraction.hedge import HedgePolicy
from tasks.extraction.quota import FixedShare, Quota
from tasks.extraction.session import FetchSession
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.leases import PrefectLeases


def quota_of(account: Account) -> Quota:
    """Return the quota of a flow run: leases from the Prefect server, or the whole quota if there is no server."""
    if determine_server_type() is not ServerType.EPHEMERAL:
        return PrefectLeases(project=account.connection.project, limit=account.quota, tagged=True)
    in_flight = account.pace.in_flight
    run_logger().info(
        "No Prefect server is configured, so runs cannot share the quota: this run may have all %d requests in flight. "
        "Do not start another run of the project at the same time.",
        in_flight,
    )
    return FixedShare(in_flight=in_flight, of=in_flight)


@contextlib.contextmanager
def fetch_session(account: Account, deadlines: Deadlines, hedge: HedgePolicy) -> Iterator[FetchSession]:
    """Open the fetch session of the flow run; it is closed at the end of the `with` block.

    Waits until a slot of the quota is free, but takes no slot before the first tile is fetched.

    Raises:
        BadInputError: The quota's limit on the server is switched off, zero, or has slot decay.
        RunCancelled: The run was cancelled while it waited.
    """
    # A flow's function may also be called without Prefect's engine, to plan or to check its input. It has no id then.
    run_id = flow_run.id or str(uuid4())
    with FetchSession(run_id, quota_of(account), account.pace, deadlines, hedge) as session:
        session.hold.wait_for_room()
        if session.cancelled.is_set():
            raise RunCancelled("The run was cancelled while it waited for slots. Nothing was fetched.")
        yield session
