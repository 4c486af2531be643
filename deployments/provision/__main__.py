"""``python -m deployments.provision``: puts all that is declared on a Prefect server, and checks that it is there."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect_gcp import GcpCredentials, GcsBucket

from deployments.provision.account import Account, Options, settle
from deployments.provision.automation import Automation, tell_of_failures
from deployments.provision.blocks import BlockType, block_id
from deployments.provision.declaration import DECLARATION, read
from deployments.provision.deployment import Deployment, WorkPool, undeclared
from deployments.provision.difference import Thing, changes
from deployments.provision.limit import quotas
from tasks.earthengine.connection import is_loopback
from tasks.errors.input import BadInputError, InputError
from tasks.prefect_io.connection_block import EarthEngineConnection
from tasks.prefect_io.heartbeat import automation, heartbeats

DESCRIPTION = """\
Creates or updates, on the Prefect server of PREFECT_API_URL, all that the flows need: block types, the blocks
earth-engine-connection/pixel-quarry and local-file-system/pixel-quarry or gcs-bucket/pixel-quarry, the quota as the
limit tag:earthengine:<project>, the work pool pixel-quarry, the deployments of deployments/prefect.yaml with their
schedules, and the automations. Then it reads the server back, and fails unless everything is as declared. Run again, it
changes nothing.

An option that is not given keeps what is saved in the block already; in a new block it takes the default. Everything
else is set as declared, also what was switched off by hand."""
EPILOG = """\
Leaves with 0, 1 (something differs, was refused or failed) or 2 (an option can't be). A key is read from its file into
a secret field of the block gcp-credentials/pixel-quarry, and never shown."""
# Exit codes; argparse, too, leaves with 2.
FAILED, BAD_INPUT = 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.provision",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--project", help="Google Cloud project of Earth Engine (else EARTHENGINE_PROJECT, else as saved)")
    add("--endpoint", metavar="URL", help="of the API (default: Earth Engine's high-volume endpoint)")
    add(
        "--credentials-file",
        type=Path,
        metavar="FILE",
        help="service-account key (default: none, so that runs sign in by the worker's own)",
    )
    add("--output", metavar="PLACE", help="folder where the worker runs, or gs://bucket/prefix; needed the first time")
    add(
        "--results",
        metavar="PLACE",
        help="folder or gs://bucket/prefix of Prefect's results, apart from outputs: who can write there can run code "
        "on the workers (default: each worker keeps its own)",
    )
    add("--requests-in-flight", type=int, metavar="N", help="the project's interactive quota (default: 40)")
    add("--requests-per-second", type=float, metavar="N", help="(default: 100)")
    add("--lane-requests-in-flight", type=int, metavar="N", help="of one run at most (default: the quota)")
    add("--workload-tag", metavar="LABEL", help="in Cloud Monitoring (default: pixel-quarry)")
    add("--notify", metavar="SLUG", help="saved block, such as slack-webhook/alerts, that is told of failed runs")
    add("--file", type=Path, default=DECLARATION, help="declaration of deployments (default: deployments/prefect.yaml)")
    add("--check", action="store_true", help="show what differs and change nothing; leaves with 1 if something does")
    add("--lower-limit", action="store_true", help="allow a limit to be set below what it is on the server")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Provision, or check.

    Returns:
        The exit status.
    """
    given = _parser().parse_args(arguments)
    try:
        _check_server(has_key=given.credentials_file is not None)
        with get_client(sync_client=True) as client:
            things = declared(client, given)
            return check(client, things) if given.check else provision(client, things)
    except InputError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except ObjectAlreadyExists:
        print("Somebody else provisions this server just now: run it again.", file=sys.stderr)
    except httpx.HTTPStatusError as error:  # its text may hold what was sent
        asked, answer = error.request, error.response.status_code
        print(f"The Prefect server answered {asked.method} {asked.url.path} with {answer}.", file=sys.stderr)
    except httpx.HTTPError as error:
        print(f"The Prefect server at {PREFECT_API_URL.value()} does not answer ({error!r}).", file=sys.stderr)
    return FAILED


def declared(client: SyncPrefectClient, given: argparse.Namespace) -> list[Thing]:
    """Return all that shall be on the server, in the order in which one needs the other. Writes nothing.

    Raises:
        InputError: an option, or the declaration.
    """
    options = {field: getattr(given, field) for field in Options.__dataclass_fields__}
    options["project"] = given.project or os.environ.get("EARTHENGINE_PROJECT")
    account = settle(client, Options(**options))
    entries = read(given.file, {**os.environ, "PIXEL_QUARRY_OUTPUT": account.output.slug})
    deployments = [Deployment.load(entry) for entry in entries]
    pools = dict.fromkeys(entry.work_pool.name for entry in entries)
    return [
        BlockType(GcpCredentials),
        BlockType(GcsBucket),
        BlockType(EarthEngineConnection, has_texts=True),
        *account.blocks,
        *_quotas(account, may_lower=given.lower_limit),
        *(WorkPool(pool, account.results.slug if account.results else None) for pool in pools),
        *deployments,
        *_automations(client, given.notify),
    ]


def check(client: SyncPrefectClient, things: Sequence[Thing]) -> int:
    """Print what differs from the declaration; change nothing."""
    differing = changes(things, client)
    for change in differing:
        print(change.line("would create", "would update"))
        if change.objection:
            print(f"  refused: {change.objection}.")
    _print_unchanged(len(things) - len(differing))
    return FAILED if _tell_undeclared(client, things) or differing else 0


def provision(client: SyncPrefectClient, things: Sequence[Thing]) -> int:
    """Change what differs, and read it all back."""
    differing = changes(things, client)
    if objections := [change.objection for change in differing if change.objection]:
        print("\n".join(f"{objection}." for objection in objections), "Nothing was changed.", sep="\n", file=sys.stderr)
        return FAILED
    for change in differing:
        change.thing.write(client)
        print(change.line("created", "updated"), flush=True)
    _print_unchanged(len(things) - len(differing))
    if remaining := changes(things, client):
        lines = [change.line("missing:", "differs:") for change in remaining]
        print("The server does not have what was declared.", *lines, sep="\n", file=sys.stderr)
        return FAILED
    _tell_undeclared(client, things)
    return 0


def _tell_undeclared(client: SyncPrefectClient, things: Sequence[Thing]) -> bool:
    paths = undeclared(client, (thing for thing in things if isinstance(thing, Deployment)))
    for path in paths:
        print(f"not declared: deployment {path}, which goes on by its schedules: `prefect deployment delete {path}`")
    return bool(paths)


def _print_unchanged(count: int) -> None:
    print(f"unchanged: {count} thing{'' if count == 1 else 's'}")


def _check_server(*, has_key: bool) -> None:
    url = PREFECT_API_URL.value()
    if not url:
        remedy = "Start one (`prefect server start`) and set it: `prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`"
        raise BadInputError("PREFECT_API_URL", None, "a server that ends with this command would keep nothing", remedy)
    if has_key and not url.startswith("https://") and not is_loopback(url):
        remedy = "Reach the server by https or through a tunnel to this machine, or leave the key to the worker"
        raise BadInputError("credentials_file", "given", "the key would cross the network in clear text", remedy)


def _quotas(account: Account, *, may_lower: bool) -> list[Thing]:
    values = account.connection.values
    return [*quotas(values["project"], values["requests_in_flight"], may_lower=may_lower)]


def _automations(client: SyncPrefectClient, notify: str | None) -> list[Thing]:
    with heartbeats():  # as runs have them
        settings = get_current_settings()
    heartbeat_s = settings.flows.heartbeat_frequency  # it can be switched off
    found: list[Thing] = [Automation(automation(3.0 * heartbeat_s))] if heartbeat_s else []
    if notify is None:
        return found
    block = block_id(client, notify)
    if block is None:
        remedy = "Save a notification block in the UI (Blocks), such as a Slack Webhook, and give `slack-webhook/name`"
        raise BadInputError("notify", notify, "no such block on the Prefect server", remedy)
    return [*found, Automation(tell_of_failures(block, str(settings.ui_url)))]


if __name__ == "__main__":
    sys.exit(main())
