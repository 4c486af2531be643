"""The fetch session of a flow run, and the quota it keeps to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import uuid4

from prefect.client.base import ServerType, determine_server_type
from prefect.runtime import flow_run

from tasks.earthengine.deadlines import Deadlines
from tasks.errors.run import RunCancelled
from tasks.extraction.account import Account
from tasks.extraction.quota import FixedShare, Quota
from tasks.extraction.session import FetchSession
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.leases import PrefectLeases


def quota_of(account: Account) -> Quota:
    """Return by whose leave a flow run sends requests."""
    if determine_server_type() is not ServerType.EPHEMERAL:
        return PrefectLeases(project=account.connection.project, limit=account.quota, tagged=True)
    in_flight = account.pace.in_flight
    run_logger().info(
        "No Prefect server is configured, by which runs could share the quota: this one takes all %d requests "
        "in flight. Start no other beside it.",
        in_flight,
    )
    return FixedShare(in_flight=in_flight, of=in_flight)


@contextlib.contextmanager
def fetch_session(account: Account, deadlines: Deadlines) -> Iterator[FetchSession]:
    """Share a project's quota with other runs, for as long as the block. No slot is held before tiles are fetched.

    Raises:
        BadInputError: the quota's limit counts nothing.
        RunCancelled: the run has been cancelled meanwhile.
    """
    # Without Prefect's engine around it, a flow's function may be called as well: it plans, and refuses bad input.
    run_id = flow_run.id or str(uuid4())
    with FetchSession(run_id, quota_of(account), account.pace, deadlines) as session:
        session.hold.wait_for_room()
        if session.cancelled.is_set():
            raise RunCancelled("Cancelled while it waited for slots. Nothing was fetched.")
        yield session
