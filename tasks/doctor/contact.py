"""How far a first request to Earth Engine gets: each thing that can stop it is a check."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.doctor.asking import Asking
from tasks.doctor.check import BUG, Check, Outcome, fail, ok
from tasks.earthengine.errors import BudgetExhausted, Denied, EarthEngineError, Throttled
from tasks.earthengine.translation import ENABLE, REGISTER, ROLES, SIGN_IN, parted

AREA = "Earth Engine"
ONE = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}

# How far a request gets, in this order. Each rung is a check: the first request fails at one of them, or at none.
RUNGS = {
    "endpoint reached": ("a connection opens", "Check the endpoint, the network, the proxy and the firewall."),
    "TLS certificate": (
        "a trusted authority signed it",
        "A proxy may open TLS: set REQUESTS_CA_BUNDLE to the certificates (PEM) that your network's operator gives.",
    ),
    "answer of Earth Engine": (
        "JSON of Earth Engine's API",
        "A proxy or a captive portal answers instead. Sign in there, check HTTPS_PROXY, and check the endpoint.",
    ),
    "sign-in accepted": ("no status 401", SIGN_IN),
    "API enabled": ("the Earth Engine API is on in the project", ENABLE),
    "project registered": ("the project is registered for Earth Engine", REGISTER),
    "roles": ("the account may use the project, and compute", ROLES),
    "budget": (
        "the project has compute time left (EECU)",
        "Wait until the budget is renewed, or raise it in the quotas of the project.",
    ),
    "not throttled": (
        "no other program uses the whole quota",
        "Stop other programs of the project, or give the run fewer requests_in_flight.",
    ),
    "value computed": ("1", "Run it again. If it fails again, look at https://status.earthengine.app and report it."),
}


EXPLAINED = ("sign-in accepted", "API enabled", "project registered", "roles")
"""Rungs at which the error knows best what to do."""


@dataclass(frozen=True)
class Contact:
    """The answer to the first request."""

    rung: str | None
    """Where it failed; None = it did not."""
    found: str
    remedy: str
    headers: Mapping[str, str]
    received: datetime


def contact(asking: Asking) -> Contact:
    """Ask Earth Engine to compute 1, and return how far the request got."""
    path = f"projects/{asking.connection.project}/value:compute"
    headers: Mapping[str, str] = {}
    rung, found, remedy = None, "1", ""
    try:
        headers, body = asking.ask("POST", path, ONE)
        if json_of(body).get("result") != 1:
            rung, found = "answer of Earth Engine", "the answer has no result"
    except EarthEngineError as error:
        found, remedy = parted(error)
        rung = _rung(error)
        remedy = remedy if rung in EXPLAINED else ""
    received = datetime.now(UTC)
    return Contact(rung, found, remedy or (RUNGS[rung][1] if rung else ""), headers, received)


def json_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one if it is something else."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _rung(error: EarthEngineError) -> str:
    _, remedy = parted(error)
    by_remedy = {SIGN_IN: "sign-in accepted", ENABLE: "API enabled", REGISTER: "project registered", ROLES: "roles"}
    if remedy in by_remedy:
        return by_remedy[remedy]
    by_type = {BudgetExhausted: "budget", Throttled: "not throttled"}
    if type(error) in by_type:
        return by_type[type(error)]
    if error.status is None:
        return "TLS certificate" if _is_certificate(error) else "endpoint reached"
    if error.status < 400 or error.status == 407:
        return "answer of Earth Engine"
    return "roles" if isinstance(error, Denied) else "value computed"


def _is_certificate(error: BaseException | None) -> bool:
    """Return whether a certificate is among the causes of an error."""
    seen: list[BaseException] = []
    ahead = [error]
    while ahead:
        each = ahead.pop()
        if not isinstance(each, BaseException) or each in seen:
            continue
        if isinstance(each, ssl.SSLError):
            return True
        seen.append(each)
        ahead += [each.__cause__, each.__context__, *(a for a in each.args if isinstance(a, BaseException))]
    return False


class Once:
    """Calls a function once, and returns the same value to all checks."""

    def __init__(self, call: Callable[[], Contact]) -> None:
        self._call, self._lock = call, threading.Lock()
        self._value: Contact | None = None

    def __call__(self) -> Contact:
        """Return the value."""
        with self._lock:
            if self._value is None:
                self._value = self._call()
            return self._value


def _rung_check(name: str, first: Callable[[], Contact]) -> Callable[[], Outcome]:
    def act() -> Outcome:
        found = first()
        if found.rung == name:
            return fail(found.found, found.remedy or BUG)
        return ok("yes" if name != "value computed" else found.found)

    return act


def ladder(first: Callable[[], Contact], after: str) -> Iterator[Check]:
    """Yield a check for each rung.

    Args:
        first: Returns the contact, always the same one.
        after: Name of the check that the first rung needs.
    """
    for name, (expected, _) in RUNGS.items():
        yield Check(area=AREA, name=name, expected=expected, act=_rung_check(name, first), needs=(after,))
        after = name
