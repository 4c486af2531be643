"""What a process opens of the references of a batch: store, plan and connection. The one cache of it.

A batch names its output, its plan and its connection, and never holds them. Each process opens them once, here, and
pure functions receive what was opened. What is kept can't grow stale: a plan is looked up with its fingerprint, and
stores are opened anew for each run (`tasks.storage.open.forget`).
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.earthengine.errors import BadInputError
from tasks.earthengine.plan import Plan
from tasks.storage.open import open_store
from tasks.storage.store import StorageError, Store

# Plans kept a process: those of the last runs. One of a million patches is 100 MB.
KEPT_PLANS = 4


class Opener(Protocol):
    """How references are opened where a process runs."""

    def store(self, output: str) -> Store:
        """Return the store of an output.

        Raises:
            StorageError: there is none.
        """
        ...

    def connection(self, reference: ConnectionReference) -> Connection:
        """Return the way to Earth Engine.

        Raises:
            BadInputError: it can't be used here.
        """
        ...


@dataclass(frozen=True)
class PlainOpener:
    """Opens what needs no Prefect server: folders, buckets by their address, and the sign-in of the process."""

    def store(self, output: str) -> Store:
        """See `Opener`."""
        if re.fullmatch(r"(gcs-bucket|local-file-system)/[a-z0-9-]+", output):
            reason = "a saved block is read from a Prefect server, which this process does not use"
            remedy = "Give gs://bucket/prefix or a folder, or open it with tasks.opener.PREFECT"
            raise BadInputError("output", output, reason, remedy)
        return open_store(output)

    def connection(self, reference: ConnectionReference) -> Connection:
        """See `Opener`."""
        if reference.block is not None:
            reason = "a saved block is read from a Prefect server, which this process does not use"
            remedy = "Give project, endpoint and credentials_file instead, or open it with tasks.opener.PREFECT"
            raise BadInputError("connection", reference.block, reason, remedy)
        return Connection(
            project=reference.project, endpoint=reference.endpoint, credentials_file=reference.credentials_file
        )


PLAIN = PlainOpener()

_lock = threading.Lock()
_plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()
"""By where each is stored, and its fingerprint; the one that was used last is the last."""


def _forget_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread of the process that this one was forked from may hold it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def open_plan(store: Store, key: str, fingerprint: str) -> Plan:
    """Return a stored plan.

    Args:
        store: Of the output.
        key: Of the plan in it.
        fingerprint: That it must have: the place of a growing series holds another plan after each run.

    Raises:
        StorageError: it is gone, can't be read, or is another.
    """
    name = f"{store.uri}/{key}", fingerprint
    with _lock:
        if name in _plans:
            _plans.move_to_end(name)
            return _plans[name]
    try:
        data = store.get(key)
    except KeyError:
        raise StorageError(f"plan = {name[0]!r}: it is gone. Run the flow that made it again.") from None
    try:
        plan = Plan.from_json(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"plan = {name[0]!r}: it can't be read ({error}). Run the flow that made it again."
        ) from error
    if plan.fingerprint != fingerprint:
        raise StorageError(f"plan = {name[0]!r}: another run has put another in its place. Run the flow again.")
    return remember_plan(store, key, plan)


def remember_plan(store: Store, key: str, plan: Plan) -> Plan:
    """Keep a plan that was just stored, so that this process does not read it back; return it."""
    with _lock:
        _plans[f"{store.uri}/{key}", plan.fingerprint] = plan
        while len(_plans) > KEPT_PLANS:
            _plans.popitem(last=False)
    return plan
