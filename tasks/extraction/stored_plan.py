"""Plans that are stored in an output, and the cache of them in this process."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict

import orjson

from tasks.errors.input import BadInputError
from tasks.plan.limits import check_stored
from tasks.plan.plan import Plan
from tasks.storage.json_parts import check_parts
from tasks.storage.store import StorageError, Store

PLAN = "plan.json"
# Largest size of a plan in bytes. Patches take 25 to 45 bytes each, so it has 3 million and more of them. A larger file
# is not read, since it would fill the memory.
LARGEST = 128 << 20
# Arrays and objects in a plan: a dozen, five for each image and one for each band. Each takes 60 bytes of memory.
LARGEST_PARTS = 500_000
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
    """Write a plan into its folder, unless it is already there. Return its key.

    Raises:
        BadInputError: It is larger than a plan that can be read.
        StorageError: The output cannot be written.
    """
    key = f"{plan.folder}/{name}"
    data = json.dumps(plan.json()).encode()
    if len(data) > LARGEST:
        reason = f"the plan takes {len(data):,} bytes, and {LARGEST:,} is the limit"
        raise BadInputError("max_requests", len(plan), reason, "Give parts of the points or of the dates")
    remember_plan(store, key, plan)
    with contextlib.suppress(KeyError):
        if store.get(key) == data:
            return key
    store.put(key, data)
    return key


def read_plan(store: Store, key: str) -> Plan:
    """Read a stored plan.

    Raises:
        KeyError: There is no such file.
        ValueError: It is too large, or not a plan: see :func:`parse_plan`.
        StorageError: It cannot be read.
    """
    stored = store.find(key)
    if stored is None:
        raise KeyError(key)
    if stored.size > LARGEST:
        raise ValueError(f"it has {stored.size:,} bytes, and a plan has at most {LARGEST:,}")
    return parse_plan(store.get(key))


def parse_plan(data: bytes) -> Plan:
    """Return a plan from the bytes of its file. Each field is checked as if a user had typed it.

    Raises:
        ValueError: The bytes are not a plan of this version, or were changed.
    """
    try:
        check_parts(data, LARGEST_PARTS)
        return check_stored(Plan.from_json(orjson.loads(data)))
    except (RecursionError, OverflowError) as error:
        raise ValueError(f"it is nested too deeply, or a number is too large ({type(error).__name__})") from None


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
        plan = read_plan(store, key)
    except KeyError:
        raise StorageError(f"plan = {name[0]!r}: it no longer exists. Run the flow that made it again.") from None
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
