"""The time for which the Prefect server has not answered a run, and its end."""

from __future__ import annotations

import time

import httpx

from tasks.errors import QuarryError
from tasks.extraction.permits import Permits
from tasks.prefect_io.complaints import Complaints
from tasks.prefect_io.server import ServerGoneError, ServerRefusedError, server_error

# Seconds for which a run waits for a server that does not answer. Its leases end within a minute or two, and then it
# sends nothing, so this is ten minutes or so after the last tile. A server restarts, and its database recovers, sooner.
LONGEST_S = 600.0


class Outage:
    """Notes when the server began to fail, logs it, and raises an error after `LONGEST_S` seconds.

    Args:
        complaints: Logs why there is no slot, at most every half a minute.
        permits: The permits of the process.
    """

    def __init__(self, complaints: Complaints, permits: Permits) -> None:
        self._complaints, self._permits = complaints, permits
        self._since: float | None = None

    def over(self) -> None:
        """Record that the server has answered."""
        self._since = None

    def failed(self, error: Exception) -> None:
        """Record that a call of the server has failed.

        Raises:
            ServerRefusedError: The server refuses, and would refuse later, too.
            QuarryError: It is another error of this project, such as a limit that is switched off.
            ServerGoneError: It has failed for `LONGEST_S` seconds.
        """
        found = server_error(error)
        is_answer = not isinstance(error, httpx.HTTPError) or isinstance(error, httpx.HTTPStatusError)
        self._complaints.add(str(found or repr(error)).rstrip("."), always=is_answer)
        if isinstance(found, ServerRefusedError) or (isinstance(error, QuarryError) and found is None):
            raise found or error
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > LONGEST_S:
            raise ServerGoneError(
                f"{found or repr(error)} It has been so for {LONGEST_S / 60:.0f} minutes, and no request is sent "
                "without a slot of the quota. Check the Prefect server."
            ) from error

    def note(self, error: Exception) -> None:
        """Do as `failed`, but raise nothing: the requests that wait for a slot get the error, if there is none left."""
        try:
            self.failed(error)
        except QuarryError as end:
            if not self._permits.slots:
                self._permits.end(end)
