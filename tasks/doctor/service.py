"""Earth Engine: how far a first request gets, both endpoints, the registration, the clock, headers, the client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from tasks.doctor.asking import Asking
from tasks.doctor.check import Check, Outcome, fail, ok, skipped, warn
from tasks.doctor.contact import AREA, Once, contact, json_of, ladder
from tasks.earthengine.connection import HIGH_VOLUME, Connection, start_client
from tasks.earthengine.translation import REGISTER
from tasks.earthengine.transport import QUOTA_STATUS

STANDARD = "https://earthengine.googleapis.com"
SKEW_S, TOLERATED_SKEW_S = 240.0, 30.0
"""Seconds by which the clock may be wrong. Google refuses tokens that were signed more than some minutes off."""


def service(ask: Callable[[], Asking], other: str | None = None) -> Iterator[Check]:
    """Yield the checks of the first contact with Earth Engine.

    Args:
        ask: Returns what sends the requests of the examination.
        other: The other endpoint. None = Google's, if the connection has one of Google's.
    """
    first = Once(lambda: contact(ask()))
    yield from ladder(first, "token")
    yield Check(
        area=AREA,
        name="other endpoint",
        needed=False,
        expected="the standard and the high-volume endpoint answer",
        act=lambda: other_endpoint(ask(), other),
        needs=("value computed",),
    )
    yield Check(
        area=AREA,
        name="registration",
        needed=False,
        expected="the project's own state",
        act=lambda: registration(ask()),
        needs=("value computed",),
    )
    yield Check(
        area=AREA,
        name="clock",
        expected=f"within {TOLERATED_SKEW_S:.0f} s of Earth Engine's",
        act=lambda: clock(first().headers.get("Date"), first().received),
        needs=("answer of Earth Engine",),
    )
    yield Check(
        area=AREA,
        name="restricted mode",
        expected=f"no header {QUOTA_STATUS}",
        act=lambda: restricted(first().headers.get(QUOTA_STATUS)),
        needs=("value computed",),
    )
    yield Check(
        area=AREA,
        name="client",
        expected="the Earth Engine client starts",
        act=lambda: client(ask().connection),
        needs=("value computed",),
        seconds=120,
        remedy="A proxy or a firewall may block the paths /$discovery/rest and /v1/projects/*/algorithms: allow them.",
    )


def other_endpoint(asking: Asking, other: str | None) -> Outcome:
    """Send the first request to the other endpoint."""
    here = asking.connection.endpoint.rstrip("/")
    url = other or {HIGH_VOLUME: STANDARD, STANDARD: HIGH_VOLUME}.get(here)
    if url is None:
        return skipped("The endpoint is not one of Google's, so there is no other one.")
    found = contact(Asking(replace(asking.connection, endpoint=url, block=None), asking.seconds))
    if found.rung is None:
        return ok(f"{url} answers, too" if other is None else "both answer")
    return warn(f"{found.rung}: {found.found}", found.remedy)


def registration(asking: Asking) -> Outcome:
    """Return the registration of the project, as its configuration has it."""
    _, body = asking.ask("GET", f"projects/{asking.connection.project}/config")
    state = json_of(body).get("registrationState")
    if state == "NOT_REGISTERED":
        return fail(state, REGISTER)
    return ok(str(state) if state else "not given")


def clock(date: str | None, now: datetime) -> Outcome:
    """Compare the clock of this machine with the header ``Date`` of an answer."""
    if date is None:
        return skipped("The answer has no header Date.")
    seconds = (now - parsedate_to_datetime(date)).total_seconds()
    found = f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
    remedy = "Set the clock of this machine, and let it follow a time server (NTP)."
    if abs(seconds) > SKEW_S:
        return fail(found, remedy)
    return warn(found, remedy) if abs(seconds) > TOLERATED_SKEW_S else ok(found)


def restricted(header: str | None) -> Outcome:
    """Return whether Earth Engine restricts the project."""
    if header is None:
        return ok("not seen")
    remedy = (
        "Earth Engine restricts the project: jobs are slow until its budget is renewed. See "
        "https://developers.google.com/earth-engine/guides/noncommercial_tiers."
    )
    return warn(header, remedy) if "restricted=true" in header.lower() else ok(header)


def client(connection: Connection) -> Outcome:
    """Start the Earth Engine client, with which expressions are made."""
    import ee

    start_client(connection)
    return ok(f"earthengine-api {ee.__version__}")
