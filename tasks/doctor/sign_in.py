"""The sign-in: credentials are found, and Google gives a token for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests

from tasks.doctor.check import Check, Outcome, fail, ok
from tasks.earthengine.base_url import is_googles
from tasks.earthengine.bounded_session import BoundedSession
from tasks.earthengine.connection import SCOPES, Connection
from tasks.earthengine.translation import SIGN_IN, from_exception, parted
from tasks.earthengine.transport import TOKEN_BYTES

AREA = "Sign-in"
TOKEN_S = 20.0
KINDS = {
    "google.oauth2.service_account": "a service account's key",
    "google.oauth2.credentials": "a user's sign-in",
    "google.auth.compute_engine.credentials": "the service account of this machine",
    "google.auth.impersonated_credentials": "an impersonated service account",
    "google.auth.identity_pool": "a workload identity",
    "google.auth.external_account": "a workload identity",
}
"""Kinds of credentials by the module of their class. No name of an account is shown."""
NONE = "none is needed: the endpoint is on this machine"


def sign_in(connect: Callable[[], Connection]) -> Iterator[Check]:
    """Yield the checks of the sign-in.

    Args:
        connect: Returns the connection. It raises an error if a saved block cannot be used.
    """
    found = functools.cache(lambda: connect().credentials())  # to look for them may take seconds
    yield Check(area=AREA, name="connection", expected="a project and an endpoint", act=lambda: _connection(connect()))
    yield Check(
        area=AREA,
        name="credentials",
        expected="credentials are found",
        act=lambda: ok(NONE if found() is None else _kind(found())),
        needs=("connection",),
    )
    yield Check(
        area=AREA,
        name="token",
        expected="Google gives a token",
        act=lambda: token(found(), connect().endpoint),
        needs=("credentials",),
        remedy=SIGN_IN,
    )
    yield Check(
        area=AREA,
        name="scopes",
        expected="Earth Engine or Cloud Platform",
        act=lambda: scopes(found()),
        needs=("token",),
    )


def _connection(connection: Connection) -> Outcome:
    source = "a saved block" if connection.block else "parameters and environment"
    where = connection.endpoint if is_googles(connection.endpoint) else "neither Google's nor on this machine"
    where = "on this machine (a sandbox)" if connection.is_loopback else where
    return ok(f"from {source}; the endpoint is {where}")


def _kind(found: Any) -> str:
    return KINDS.get(type(found).__module__, type(found).__module__)


def token(found: Any, endpoint: str) -> Outcome:
    """Ask Google for a token, with google.auth credentials or None."""
    if found is None:
        return ok(NONE)
    session = BoundedSession(TOKEN_BYTES, TOKEN_S)
    try:
        found.refresh(functools.partial(google.auth.transport.requests.Request(session), timeout=TOKEN_S))
    except google.auth.exceptions.GoogleAuthError as error:
        message, remedy = parted(from_exception(error, endpoint))
        return fail(
            message, remedy or "Check the network and the proxy: Google's token server is oauth2.googleapis.com."
        )
    return ok(f"a token for {_kind(found)}")


def scopes(found: Any) -> Outcome:
    """Compare what the token of google.auth credentials may be used for with what Earth Engine needs."""
    if found is None:
        return ok(NONE)
    granted = getattr(found, "granted_scopes", None) or getattr(found, "scopes", None)
    if not granted:
        return ok("not known for these credentials")
    usable = [scope for scope in SCOPES if scope in granted]
    if usable:
        return ok(", ".join(scope.rpartition("/")[2] for scope in usable))
    remedy = (
        "Sign in with both scopes: `gcloud auth application-default login "
        f"--scopes={','.join(SCOPES)}`, or `earthengine authenticate`."
    )
    return fail(f"{len(granted)} others", remedy)
