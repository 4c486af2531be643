"""The Prefect server: version, leases, the quota's limit, and what `provision` creates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import prefect
from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.exceptions import ObjectNotFound

from tasks.doctor.check import Check, Outcome, fail, ok, skipped, warn
from tasks.doctor.dead_time import dead_time
from tasks.extraction.account import TAG, Account
from tasks.prefect_io.block_slugs import CONNECTION
from tasks.prefect_io.heartbeat import NAME
from tasks.prefect_io.quota_limit import QuotaLimit
from tasks.prefect_io.server import server

AREA = "Prefect server"
POOL = "pixel-quarry"
"""Work pool that `provision` creates."""
PROVISION = "Run `python -m deployments.provision`."
LEASES = (
    "Start the server with PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="
    "prefect.server.concurrency.lease_storage.filesystem. Otherwise a restart of it leaves slots taken."
)
START = "Start the server (`prefect server start`), and check PREFECT_API_URL and PREFECT_API_KEY."
DEAD_S = 10.0
"""Seconds between two tasks with a limited tag, above which short batches waste time."""


def prefect_server(connect: Callable[[], Account], trouble: str = "") -> Iterator[Check]:
    """Yield the checks of the Prefect server.

    Args:
        connect: Returns the account.
        trouble: Why no server could be started for this command; "" = one runs.
    """
    make = functools.partial(Check, area=AREA, remedy=START)
    option = functools.partial(make, needed=False)
    yield make(name="server", expected="answers", act=lambda: answers(trouble))
    after = ("server",)
    yield option(name="server version", expected=prefect.__version__, act=_asked(version), needs=after)
    yield option(name="lease storage", expected="on disk (filesystem)", act=_asked(lease_storage), needs=after)
    yield make(
        name="quota limit",
        expected="the limit of the project's tag is on, without decay, and not above the quota",
        act=lambda: _with_client(lambda client: limit(client, connect())),
        needs=(*after, "connection"),
    )
    yield option(
        name="dead time",
        expected=f"below {DEAD_S:.0f} s between two tasks with a limited tag",
        act=_asked(tagged),
        needs=after,
        seconds=120,
        remedy="Use PostgreSQL for the Prefect server.",
    )
    for name, expected, act in (
        ("work pool", f"the pool {POOL}, with a worker", pool),
        ("block types", CONNECTION, block_types),
        ("deployments", "those of deployments/prefect.yaml", deployments),
        ("automation", "marks runs that were killed", automation),
    ):
        yield option(name=name, expected=expected, act=_asked(_lasting(act)), needs=after)


def _with_client(act: Callable[[SyncPrefectClient], Outcome]) -> Outcome:
    with server() as client:
        return act(client)


def _asked(act: Callable[[SyncPrefectClient], Outcome]) -> Callable[[], Outcome]:
    return lambda: _with_client(act)


def _lasting(act: Callable[[SyncPrefectClient], Outcome]) -> Callable[[SyncPrefectClient], Outcome]:
    """Return a check that needs a server which outlives this process."""

    def tried(client: SyncPrefectClient) -> Outcome:
        if determine_server_type() is ServerType.EPHEMERAL:
            return skipped("The server is a temporary one, which ends with this command.")
        return act(client)

    return tried


def answers(trouble: str) -> Outcome:
    """Look whether the server answers, and of what kind it is."""
    if trouble:
        return fail(trouble, START)
    kind = determine_server_type()
    with server() as client:
        if (error := client.api_healthcheck()) is not None:
            return fail(f"no answer ({type(error).__name__})", START)
    kinds = {ServerType.EPHEMERAL: "a temporary server of this command", ServerType.CLOUD: "Prefect Cloud"}
    return ok(kinds.get(kind, "a server of your own (PREFECT_API_URL)"))


def version(client: SyncPrefectClient) -> Outcome:
    """Compare the versions of server and client."""
    found = client.api_version()
    if found == prefect.__version__:
        return ok(found)
    return warn(found, f"Use Prefect {prefect.__version__} on both sides: other versions were not tested together.")


def lease_storage(client: SyncPrefectClient) -> Outcome:
    """Read from the server's settings where it keeps leases."""
    if determine_server_type() is ServerType.CLOUD:
        return skipped("Prefect Cloud does not show it.")
    settings: Any = client.request("GET", "/admin/settings").json()
    module = str(settings.get("server", {}).get("concurrency", {}).get("lease_storage", ""))
    kind = module.rpartition(".")[2]
    if kind == "filesystem" or (kind and kind != "memory"):
        return ok(kind)
    if determine_server_type() is ServerType.EPHEMERAL:
        return ok(f"{kind or 'not known'}: the server ends with this command")
    return warn(kind or "not known", LEASES)


def limit(client: SyncPrefectClient, account: Account) -> Outcome:
    """Compare the limit of the project's tag with the quota of the connection."""
    quota = QuotaLimit(account.connection.project)
    create = f"`prefect global-concurrency-limit create {quota.name} --limit {account.quota}`"
    try:
        found = client.read_global_concurrency_limit_by_name(quota.name)
    except ObjectNotFound:
        temporary = determine_server_type() is ServerType.EPHEMERAL
        return ok("a run creates it") if temporary else warn("there is none: the first run creates it", PROVISION)
    shown = f"{found.limit} slots, {found.active_slots} taken; the quota is {account.quota}"
    remedy = f"`prefect global-concurrency-limit update {quota.name} --limit {account.quota} --enable`."
    if not found.active or found.limit < 1 or found.slot_decay_per_second:
        state = "off" if not found.active else "decaying" if found.slot_decay_per_second else "zero"
        return fail(
            f"the limit is {state}", f"Delete it, and {create}." if state == "decaying" else f"Set it: {remedy}"
        )
    if found.limit > account.quota:
        return warn(shown, f"Earth Engine would throttle. Lower it: {remedy}")
    if found.active_slots and not _others(quota, client):
        free = f"`prefect global-concurrency-limit update {quota.name} --active-slots 0`"
        return warn(f"{shown} by runs that died", f"Wait 75 s. If they are still taken, and no run is active: {free}.")
    return ok(shown)


def _others(quota: QuotaLimit, client: SyncPrefectClient) -> bool:
    try:
        return quota.others(client)
    except ObjectNotFound:  # no run has ever said what it wants
        return False


def tagged(client: SyncPrefectClient) -> Outcome:
    """Measure the time between two tasks with a limited tag."""
    seconds = dead_time(client)
    if seconds is None:
        return skipped("It is measured in a flow run only.")
    found = f"{seconds:.1f} s"
    remedy = "Use PostgreSQL for the Prefect server: SQLite lets one task wait for another."
    return ok(found) if seconds < DEAD_S else warn(found, remedy)


def pool(client: SyncPrefectClient) -> Outcome:
    """Look for the work pool, and for a worker of it."""
    try:
        found = client.read_work_pool(POOL)
    except ObjectNotFound:
        return warn("there is none", f"Only the command line can start runs. {PROVISION}")
    if found.is_paused:
        return warn("it is paused", f"Resume it: `prefect work-pool resume {POOL}`.")
    online = [each for each in client.read_workers_for_work_pool(POOL) if str(each.status).endswith("ONLINE")]
    count = len(online)
    if not count:
        return warn("no worker is online", f"Start one where jobs run: `prefect worker start --pool {POOL}`.")
    return ok(f"{count} worker{'' if count == 1 else 's'} online, type {found.type}")


def block_types(client: SyncPrefectClient) -> Outcome:
    """Look for the block type of connections."""
    try:
        client.read_block_type_by_slug(CONNECTION)
    except ObjectNotFound:
        return warn("it is not registered", PROVISION)
    return ok("registered")


def deployments(client: SyncPrefectClient) -> Outcome:
    """Count the deployments of this project."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    names = sorted(each.name for each in client.read_deployments(deployment_filter=ours, limit=200))
    return (
        ok(", ".join(names)) if names else warn("there are none", f"Only the command line can start runs. {PROVISION}")
    )


def automation(client: SyncPrefectClient) -> Outcome:
    """Look for the automation that marks killed runs Crashed."""
    found = client.read_automations_by_name(NAME)
    if not found:
        return warn("there is none: the first run creates it", PROVISION)
    remedy = "Switch it on in the UI (Automations): a run that is killed would stay Running."
    return ok("on") if any(each.enabled for each in found) else warn("it is switched off", remedy)
