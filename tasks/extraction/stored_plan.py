"""Plans that are stored in an output, and the cache of them in this process."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict

from tasks.plan.plan import Plan
from tasks.storage.store import StorageError, Store

PLAN = "plan.json"
# Number of plans that a process keeps: those of the last runs. A plan of a million patches takes 100 MB.
KEPT_PLANS = 4
_lock = threading.Lock()
_plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()
"""Plans by address and fingerprint. The one that was used last is the last."""


def _forget_lock() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent process may hold it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def store_plan(store: Store, plan: Plan, *, name: str = PLAN) -> str:
    """Write a plan into its folder, unless it is already there. Return its key."""
    key = f"{plan.folder}/{name}"
    data = json.dumps(plan.json()).encode()
    remember_plan(store, key, plan)
    with contextlib.suppress(KeyError):
        if store.get(key) == data:
            return key
    store.put(key, data)
    return key


def parse_plan(data: bytes) -> Plan:
    """Return a plan from the bytes of its file.

    Raises:
        ValueError: The bytes are not a plan of this version, or were changed.
    """
    try:
        return Plan.from_json(json.loads(data))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def open_plan(store: Store, key: str, fingerprint: str) -> Plan:
    """Return a stored plan.

    Args:
        store: The output.
        key: Key of the plan in the output.
        fingerprint: Fingerprint that the plan must have. In a growing series, each run may store another plan there.

    Raises:
        StorageError: The plan does not exist, cannot be read, or has another fingerprint.
    """
    name = f"{store.uri}/{key}", fingerprint
    with _lock:
        if name in _plans:
            _plans.move_to_end(name)
            return _plans[name]
    try:
        data = store.get(key)
    except KeyError:
        raise StorageError(f"plan = {name[0]!r}: it no longer exists. Run the flow that made it again.") from None
    try:
        plan = parse_plan(data)
    except ValueError as error:
        raise StorageError(
            f"plan = {name[0]!r}: it cannot be read ({error}). Run the flow that made it again."
        ) from error
    if plan.fingerprint != fingerprint:
        raise StorageError(f"plan = {name[0]!r}: another run has replaced it. Run the flow again.")
    return remember_plan(store, key, plan)


def remember_plan(store: Store, key: str, plan: Plan) -> Plan:
    """Keep a plan that was just stored or read, so that this process does not read it again. Return it."""
    with _lock:
        _plans[f"{store.uri}/{key}", plan.fingerprint] = plan
        while len(_plans) > KEPT_PLANS:
            _plans.popitem(last=False)
    return plan
