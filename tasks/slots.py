"""Slots: what a run holds of the quota that all runs of an Earth Engine project share.

The limit of the tag ``earthengine:<project>`` is the quota, so the slots that are taken on the Prefect page are the
requests that may be in flight. A lane takes one by its tag, as any tagged task does; its run takes the others by leases
on the same limit, and lanes of a run share them, so that nothing is idle between two batches.

Leases fail open in Prefect: a task whose lease is lost runs on. So one thread renews all leases of the run, that of the
tag too, and the permits count none that was not confirmed in time. How much each run may take when there are several
follows from a second limit, ``earthengine:<project>:wanted``, of which each run takes as many slots as it could use.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

import httpx
from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL

from tasks.earthengine.errors import BadInputError
from tasks.earthengine.permits import Permits

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

# The shortest lease that Prefect grants, so that a killed run's slots come back soonest; and how often it is prolonged.
LEASE_S, RENEW_S = 60.0, 10.0
# Looks at the server: seconds apart while all is well, and while slots are to be taken or given up.
CALM_S, EAGER_S = 2.0, 0.3
# Seconds for an answer of the server, which takes some milliseconds.
ANSWER_S = 10.0
# Seconds of waiting for slots after which, and then again, the log says so.
PATIENCE_S = 30.0
# How much may be wanted: no limit at all, as far as anybody can use it.
BOUNDLESS = 1_000_000


def tag_of(project: str) -> str:
    """Return the tag of the tasks that send requests to an Earth Engine project."""
    return f"earthengine:{project}"


def share(limit: int, *, wanted: int, all_wanted: int) -> int:
    """Return how many slots of a limit are due to a run that wants some, where all runs together want more.

    >>> share(40, wanted=40, all_wanted=80), share(40, wanted=5, all_wanted=45), share(40, wanted=40, all_wanted=40)
    (20, 4, 40)
    """
    if all_wanted <= limit:
        return min(wanted, limit)
    return max(1, limit * wanted // all_wanted)


class ServerAwayError(httpx.HTTPError):
    """The Prefect server did not answer, or could not."""


class _Impatient(httpx.HTTPTransport):
    """Asks again at once where SQLite was locked (503), and soon says so where the server is away.

    Prefect's client would wait for two seconds at the least and for a minute at the most, while leases lapse.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(10):
            try:
                response = super().handle_request(request)
            except httpx.TransportError as error:
                raise ServerAwayError(f"{type(error).__name__}") from error
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            response.close()
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - no secret
        raise ServerAwayError("503 Service Unavailable")


def _client() -> SyncPrefectClient:
    settings: dict[str, Any] = {"timeout": ANSWER_S}
    # Over TLS the client sets the transport up by the user's settings; such a server does not use SQLite.
    if str(PREFECT_API_URL.value() or "").startswith("http://"):
        settings["transport"] = _Impatient()
    return get_client(httpx_settings=settings, sync_client=True)


@dataclass
class _Lease:
    id: UUID
    slots: int
    renewed: float
    """When it was last confirmed; before that, no request may count on it."""
    seconds: float = LEASE_S
    """How long it lasts from then on."""
    is_wish: bool = False
    """Whether it is of the limit by which runs tell how much they want."""
    of_tag: bool = False
    """Whether it is that of a lane's tag, which Prefect itself releases."""
    retiring: bool = False


class Slots:
    """The leases of one run in one process, and the thread that keeps them.

    Args:
        project: Earth Engine project.
        permits: What the leases are counted for.
        run_id: Flow run that holds them.
        log: Of the flow run.
    """

    def __init__(self, project: str, permits: Permits, *, run_id: UUID, log: Log) -> None:
        self.tag = tag_of(project)
        self._permits = permits
        self._run_id = run_id
        self._log = log
        self._leases: list[_Lease] = []
        self._wish: _Lease | None = None
        self._wanted = 1
        self._by_tag = 0
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._closing = False
        self._waiting_since = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name="slots")
        self.shared = determine_server_type() is not ServerType.EPHEMERAL
        """Whether there is a server by which runs share the quota."""

    @property
    def name(self) -> str:
        """The limit that is the quota."""
        return f"tag:{self.tag}"

    # The run ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if not self.shared:
            self._permits.hold("quota", self._permits.pace.in_flight)
            self._log.info(
                "No Prefect server is configured, by which runs could share the quota: this one takes all %d requests "
                "in flight. Start no other beside it.",
                self._permits.pace.in_flight,
            )
            return self
        with _client() as client:
            self._check(client)
            self._wish_for(client, 1)
            self._take(client, 1)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # Nobody waits for the slots to be given back, but Python does before it ends: the thread is no daemon.
        self._closing = True
        self._wake.set()

    def want(self, slots: int) -> None:
        """Say how many requests the run could have in flight from now on; one of them by the tag of a lane."""
        self._by_tag = 1
        slots = max(1, min(slots, self._permits.pace.in_flight))
        if slots != self._wanted:
            self._wanted = slots
            self._wake.set()

    def wait_for_one(self) -> None:
        """Wait until the run holds a slot, which what it asks before its first pixel needs."""
        while not self._permits.slots:
            time.sleep(0.05)

    def _check(self, client: SyncPrefectClient) -> None:
        """Create the limit, or hold it against what the run was told.

        Raises:
            BadInputError: it is there, but counts nothing.
        """
        in_flight = self._permits.pace.in_flight
        for name, limit in ((self.name, in_flight), (f"{self.name}:wanted", BOUNDLESS)):
            try:
                client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                with contextlib.suppress(ObjectAlreadyExists):  # another run was quicker
                    client.create_global_concurrency_limit(
                        GlobalConcurrencyLimitCreate(name=name, limit=limit, active=True, slot_decay_per_second=0)
                    )
                if name == self.name:
                    self._log.warning("There was no limit %s: it was created with %d slots.", name, limit)
        found = client.read_global_concurrency_limit_by_name(self.name)
        remedy = f"Mend it: `prefect global-concurrency-limit update {self.name} --limit {in_flight} --enable`"
        if not found.active or found.limit < 1 or found.slot_decay_per_second:
            state = "switched off" if not found.active else "decaying" if found.slot_decay_per_second else "zero"
            raise BadInputError("requests_in_flight", in_flight, f"the limit {self.name} is {state}", remedy)
        if found.limit < in_flight:
            self._log.warning(
                "The limit %s is %d, so no more than that are in flight, though requests_in_flight = %d. %s.",
                *(self.name, found.limit, in_flight, remedy),
            )
        if found.active_slots and not self._others(client):
            self._log.warning(
                "%d of %d slots of %s are taken by runs that died. They come back in 75 seconds; if the server was "
                "started anew since and keeps leases in memory, only by `prefect global-concurrency-limit update "
                "%s --active-slots 0` (and the same for %s:wanted) while no run is going on.",
                *(found.active_slots, found.limit, self.name, self.name, self.name),
            )

    # Lanes -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lane(self, tag_lease: UUID | None) -> Iterator[None]:
        """Count the slot of a lane's tag, for as long as the lane runs.

        Args:
            tag_lease: That of the task run; None, where the tag has no limit.
        """
        own = [_Lease(tag_lease, 1, -float("inf"), of_tag=True)] if tag_lease and self.shared else []
        with self._lock:
            self._leases += own
        self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                for lease in own:
                    if lease in self._leases:
                        self._leases.remove(lease)
                    self._permits.drop(lease.id)
            # Prefect gives the slot back as soon as the task ends: until then a request may need it.
            self._permits.wait_idle(LEASE_S, beyond=self._permits.slots)

    # The thread ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        with _client() as client:
            # Slots are kept for requests that are still in flight when the run ends.
            while not self._closing or self._permits.in_flight:
                calm = False
                try:
                    calm = self._look(client)
                except httpx.TransportError as error:
                    self._complain(f"the Prefect server is away ({error})")  # leases lapse, and nothing is sent on them
                except ServerAwayError as error:
                    self._complain(f"the Prefect server is away ({error})")
                except Exception as error:  # noqa: BLE001 - without this thread the run would wait for slots for ever
                    self._complain(f"the Prefect server answers with {error!r}", always=True)
                self._wake.wait(CALM_S if calm else EAGER_S)
                self._wake.clear()
            self._release_all(client)

    def _look(self, client: SyncPrefectClient) -> bool:
        """Renew what is due, take or give up slots; return whether there is nothing more to do for now."""
        self._renew(client)
        if self._closing:
            self._wanted = max(1, self._permits.in_flight)
        try:
            self._wish_for(client, self._wanted)
            limit = client.read_global_concurrency_limit_by_name(self.name)
            wishes = client.read_global_concurrency_limit_by_name(f"{self.name}:wanted")
        except ObjectNotFound:  # somebody has deleted one
            self._check(client)
            return False
        self._permits.quota = limit.limit
        all_wanted = max(wishes.active_slots, self._wanted)
        if all_wanted > limit.limit and not self._others(client):  # wishes of runs that died with a server's memory
            all_wanted = self._wanted
        due = share(limit.limit, wanted=self._wanted, all_wanted=all_wanted)
        calm = self._release_retired(client)
        with self._lock:
            held = [lease for lease in self._leases if not lease.retiring]
            by_tag = max(0, self._by_tag - sum(lease.of_tag for lease in held))
            spare = due - by_tag - sum(lease.slots for lease in held)
        if spare < 0:
            self._retire(-spare)
            return False
        free = max(0, limit.limit - limit.active_slots - by_tag)
        if spare and free:
            self._take(client, min(spare, free))
        who = "other runs" if self._others(client) else "runs that died, or by this one before the server was restarted"
        self._complain(f"{limit.active_slots} of {limit.limit} of {self.name} are taken by {who}")
        return calm and (spare == 0 or free >= spare) and self._permits.slots > 0

    def _renew(self, client: SyncPrefectClient) -> None:
        with self._lock:
            leases = [*self._leases, *([self._wish] if self._wish else [])]
        for lease in leases:
            now = time.monotonic()
            if now - lease.renewed < RENEW_S:
                continue
            seconds = self._lease_s()
            try:
                client.renew_concurrency_lease(lease.id, seconds)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.GONE:
                    raise
                self._lost(client, lease)
                continue
            lease.renewed, lease.seconds = now, seconds
            self._count(lease)

    def _lease_s(self) -> float:
        """Return how long a lease is to last: a request that is sent while it is known to hold ends before it."""
        return max(LEASE_S, 2 * self._permits.reserve + RENEW_S)

    def _lost(self, client: SyncPrefectClient, lease: _Lease) -> None:
        """Forget a lease that the server no longer knows."""
        self._forget(lease)
        age = time.monotonic() - lease.renewed
        if age < lease.seconds - RENEW_S and lease.slots:
            # It did not end by time: the server has lost its memory, or somebody reset it. Its count is kept in the
            # database, where nobody but the holder would ever take it back.
            name = f"{self.name}:wanted" if lease.is_wish else self.name
            client.release_concurrency_slots([name], lease.slots, max(age, 0.1))

    def _count(self, lease: _Lease) -> None:
        with self._lock:
            if lease in self._leases and not lease.retiring:
                # Prefect prolongs that of a tag as well, and to no more than its own.
                seconds = min(lease.seconds, LEASE_S) if lease.of_tag else lease.seconds
                self._permits.hold(lease.id, lease.slots, lease.renewed + seconds)

    def _forget(self, lease: _Lease) -> None:
        with self._lock:
            self._permits.drop(lease.id)
            if lease in self._leases:
                self._leases.remove(lease)
            if lease is self._wish:
                self._wish = None

    def _wish_for(self, client: SyncPrefectClient, slots: int) -> None:
        if self._wish and self._wish.slots == slots:
            return
        former, self._wish = self._wish, self._lease(client, f"{self.name}:wanted", slots)
        if former:
            client.release_concurrency_slots_with_lease(former.id)

    def _take(self, client: SyncPrefectClient, slots: int) -> None:
        # By halves, so that most of them can be kept when a part is to be given up.
        while slots > 0:
            lease = self._lease(client, self.name, -(-slots // 2))
            if lease is None:  # somebody was quicker
                return
            with self._lock:
                self._leases.append(lease)
            self._count(lease)
            slots -= lease.slots

    def _lease(self, client: SyncPrefectClient, name: str, slots: int) -> _Lease | None:
        # Of the holders of a tag's limit, the server lists those only that are of this type: so the runs that are alive
        # are told apart by their wishes.
        kind: Literal["task_run", "flow_run"] = "flow_run" if name == self.name else "task_run"
        holder = ConcurrencyLeaseHolder(type=kind, id=self._run_id)
        asked, seconds = time.monotonic(), self._lease_s()
        try:
            answer = client.increment_concurrency_slots_with_lease([name], slots, "concurrency", seconds, holder)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.LOCKED:
                return None
            raise
        lease = UUID(answer.json()["lease_id"])
        return _Lease(lease, slots, asked, seconds, is_wish=name != self.name)

    def _others(self, client: SyncPrefectClient) -> bool:
        """Return whether other runs are known to share the quota."""
        return bool(set(client.read_concurrency_limit_by_tag(f"{self.tag}:wanted").active_slots) - {self._run_id})

    def _retire(self, surplus: int) -> None:
        """Send nothing more on so many slots: the largest leases that fit, and one more where that is not enough."""
        with self._lock:
            leases = sorted((x for x in self._leases if not x.of_tag and not x.retiring), key=lambda x: -x.slots)
            chosen = []
            for lease in leases:
                if lease.slots <= surplus:
                    chosen.append(lease)
                    surplus -= lease.slots
            if surplus > 0:
                chosen += [lease for lease in reversed(leases) if lease not in chosen][:1]
            for lease in chosen:
                lease.retiring = True
                self._permits.drop(lease.id)

    def _release_retired(self, client: SyncPrefectClient) -> bool:
        """Give back what no request in flight needs any more; return whether nothing is left to give back."""
        with self._lock:
            retired = sorted((lease for lease in self._leases if lease.retiring), key=lambda lease: lease.slots)
        for lease in retired:
            rest = sum(other.slots for other in retired if other is not lease and other in self._leases)
            if self._permits.in_flight <= self._permits.slots + rest:
                client.release_concurrency_slots_with_lease(lease.id)
                self._forget(lease)
        return not any(lease.retiring for lease in self._leases)

    def _release_all(self, client: SyncPrefectClient) -> None:
        """Give everything back."""
        for lease in [*self._leases, *([self._wish] if self._wish else [])]:
            if not lease.of_tag:
                with contextlib.suppress(httpx.HTTPError):
                    client.release_concurrency_slots_with_lease(lease.id)
            self._permits.drop(lease.id)

    def _complain(self, reason: str, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._permits.slots and not always:
            self._waiting_since = now
        elif now - self._waiting_since >= PATIENCE_S:
            self._waiting_since = now
            self._log.warning("Waiting for slots: %s.", reason)
