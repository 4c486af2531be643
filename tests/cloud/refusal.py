"""What Cloud Storage says when it refuses a call."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

JSON = "application/json; charset=UTF-8"
# Reason, domain and message where a rule names no other: https://cloud.google.com/storage/docs/json_api/v1/status-codes
_USUAL = {
    400: ("invalid", "global", "Invalid argument."),
    401: ("authError", "global", "Invalid Credentials"),
    403: ("forbidden", "global", "Forbidden"),
    404: ("notFound", "global", "Not Found"),
    412: ("conditionNotMet", "global", "At least one of the pre-conditions you specified did not hold."),
    416: ("requestedRangeNotSatisfiable", "global", "Request range not satisfiable"),
    429: (
        "rateLimitExceeded",
        "usageLimits",
        "The object exceeded the rate limit for object mutation operations (create, update, and delete).",
    ),
    501: ("notImplemented", "global", "Not Implemented"),
    503: ("backendError", "global", "We encountered an internal error. Please try again."),
}
# The header or parameter that a refusal is about, as the service names it.
_PLACES = {401: ("header", "Authorization"), 412: ("header", "If-Match")}


class Refusal(Exception):
    """A call that is answered with an error.

    Args:
        status: HTTP status.
        message: None = the service's usual one for the status.
        reason: As for the message.
        parameter: The query parameter that it is about.
        retry_after: Seconds, for the header of that name.
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        reason: str | None = None,
        *,
        parameter: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        usual_reason, self._domain, usual_message = _USUAL.get(
            status, ("backendError", "global", HTTPStatus(status).phrase)
        )
        super().__init__(usual_message if message is None else message)
        self.status = status
        self._reason = usual_reason if reason is None else reason
        self._place = ("parameter", parameter) if parameter else _PLACES.get(status)
        self._retry_after = retry_after

    def answer(self, *, media: bool) -> Response:
        """Return the HTTP answer: to a call for an object's bytes it is the bare message, to all others JSON."""
        headers = {} if self._retry_after is None else {"retry-after": str(self._retry_after)}
        if media:
            return Response(str(self), self.status, headers, "text/html; charset=UTF-8")
        detail: dict[str, Any] = {"message": str(self), "domain": self._domain, "reason": self._reason}
        if self._place is not None:
            detail["locationType"], detail["location"] = self._place
        error = {"error": {"code": self.status, "message": str(self), "errors": [detail]}}
        return Response(orjson.dumps(error, option=orjson.OPT_INDENT_2), self.status, headers, JSON)
