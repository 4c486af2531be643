"""``python -m deployments.provision``: creates or updates on a Prefect server all that is declared, and checks it."""

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
from deployments.provision.automation import Automation, failure_notification
from deployments.provision.blocks import BlockType, block_id
from deployments.provision.declaration import DECLARATION, read
from deployments.provision.deployment import Deployment, WorkPool, undeclared
from deployments.provision.difference import Thing, changes
from deployments.provision.limit import quotas
from tasks.earthengine.base_url import is_loopback
from tasks.errors.input import BadInputError, InputError
from tasks.errors.redaction import redacted
from tasks.prefect_io.connection_block import EarthEngineConnection
from tasks.prefect_io.heartbeat import automation, heartbeats

DESCRIPTION = """\
Creates or updates everything that the flows need on the Prefect server at PREFECT_API_URL: block types, the blocks
earth-engine-connection/pixel-quarry and local-file-system/pixel-quarry or gcs-bucket/pixel-quarry, the quota (the limit
tag:earthengine:<project>), the work pool pixel-quarry, the deployments of deployments/prefect.yaml with their
schedules, and the automations. Then it reads everything back, and fails if something differs from the declaration.
Running it again changes nothing.

An option that is not given keeps the value that is saved in the block; a new block takes the default. Everything else
is set as declared, even if it was switched off by hand."""
EPILOG = """\
Exit codes: 0 success, 1 something differs, was refused or failed, 2 an option or the declaration is not valid.
The service-account key is read from its file into a secret field of the block gcp-credentials/pixel-quarry. It is never
shown."""
# Exit codes; argparse also exits with 2.
FAILED, BAD_INPUT = 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.provision",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--project", help="Google Cloud project of Earth Engine (default: EARTHENGINE_PROJECT, else the saved project)")
    add("--endpoint", metavar="URL", help="base URL of the API (default: Earth Engine's high-volume endpoint)")
    add(
        "--credentials-file",
        type=Path,
        metavar="FILE",
        help="service-account key (default: none; runs use the credentials of the worker's machine)",
    )
    add(
        "--output",
        metavar="PLACE",
        help="folder on the worker's machine, or gs://bucket/prefix; required the first time",
    )
    add(
        "--results",
        metavar="PLACE",
        help="folder or gs://bucket/prefix for Prefect's results. It must not overlap an output, because everyone who "
        "can write there can run code on the workers (default: each worker stores its own results)",
    )
    add(
        "--requests-in-flight",
        type=int,
        metavar="N",
        help="quota: requests in flight of all runs of the project together (default: 40)",
    )
    add(
        "--requests-per-second",
        type=float,
        metavar="N",
        help="quota: requests a second of all runs of the project together (default: 100)",
    )
    add(
        "--lane-requests-in-flight",
        type=int,
        metavar="N",
        help="most requests that one run may have in flight (default: the quota)",
    )
    add(
        "--workload-tag",
        metavar="LABEL",
        help="label of the requests in Cloud Monitoring (default: pixel-quarry)",
    )
    add("--notify", metavar="SLUG", help="saved notification block for failed runs, such as slack-webhook/alerts")
    add("--file", type=Path, default=DECLARATION, help="declaration of deployments (default: deployments/prefect.yaml)")
    add("--check", action="store_true", help="show differences and change nothing; exit code 1 if there is one")
    add("--lower-limit", action="store_true", help="allow a limit to be set below its value on the server")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Provision the server, or check it.

    Returns:
        The exit code: 0, 1 or 2, see `EPILOG`.
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
        print("Another process is provisioning this server. Run the command again.", file=sys.stderr)
    except httpx.HTTPStatusError as error:  # not printed, because its text may contain secrets that were sent
        asked, answer = error.request, error.response.status_code
        print(f"The Prefect server answered {asked.method} {asked.url.path} with {answer}.", file=sys.stderr)
    except httpx.HTTPError as error:
        address = redacted(str(PREFECT_API_URL.value()))
        print(f"The Prefect server at {address} does not answer ({redacted(repr(error))}).", file=sys.stderr)
    return FAILED


def declared(client: SyncPrefectClient, given: argparse.Namespace) -> list[Thing]:
    """Return everything that is declared, in the order in which to create it. Writes nothing.

    Args:
        client: Client of the Prefect server.
        given: The parsed command line.

    Raises:
        InputError: An option or the declaration is not valid.
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
    """Print what differs from the declaration, and change nothing.

    Returns:
        The exit code: 0 if nothing differs, else 1.
    """
    differing = changes(things, client)
    for change in differing:
        print(change.line("would create", "would update"))
        if change.objection:
            print(f"  refused: {change.objection}.")
    _print_unchanged(len(things) - len(differing))
    return FAILED if _print_undeclared(client, things) or differing else 0


def provision(client: SyncPrefectClient, things: Sequence[Thing]) -> int:
    """Create or update what differs, read everything back, and print each change.

    Returns:
        The exit code: 0, or 1 if a change was refused or the server differs afterwards.
    """
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
        print("The server still differs from the declaration.", *lines, sep="\n", file=sys.stderr)
        return FAILED
    _print_undeclared(client, things)
    return 0


def _print_undeclared(client: SyncPrefectClient, things: Sequence[Thing]) -> bool:
    paths = undeclared(client, (thing for thing in things if isinstance(thing, Deployment)))
    for path in paths:
        print(
            f"not declared: deployment {path}. Its schedules still start runs. "
            f"To delete it: `prefect deployment delete {path}`"
        )
    return bool(paths)


def _print_unchanged(count: int) -> None:
    print(f"unchanged: {count} thing{'' if count == 1 else 's'}")


def _check_server(*, has_key: bool) -> None:
    url = PREFECT_API_URL.value()
    if not url:
        reason = "not set, so the server would be a temporary one that ends with this command and keeps nothing"
        remedy = (
            "Start a server (`prefect server start`), and set its address: "
            "`prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`"
        )
        raise BadInputError("PREFECT_API_URL", None, reason, remedy)
    if has_key and not url.startswith("https://") and not is_loopback(url):
        remedy = "Reach the server by https or by a tunnel to this machine, or let the worker sign in by itself"
        raise BadInputError("credentials_file", "given", "the key would cross the network in clear text", remedy)


def _quotas(account: Account, *, may_lower: bool) -> list[Thing]:
    values = account.connection.values
    return [*quotas(values["project"], values["requests_in_flight"], may_lower=may_lower)]


def _automations(client: SyncPrefectClient, notify: str | None) -> list[Thing]:
    with heartbeats():  # the settings that runs have
        settings = get_current_settings()
    heartbeat_s = settings.flows.heartbeat_frequency  # None if the user has switched heartbeats off
    found: list[Thing] = [Automation(automation(3.0 * heartbeat_s))] if heartbeat_s else []
    if notify is None:
        return found
    block = block_id(client, notify)
    if block is None:
        remedy = "Save a notification block in the UI (Blocks), such as a Slack Webhook, and give `slack-webhook/name`"
        raise BadInputError("notify", notify, "no such block on the Prefect server", remedy)
    return [*found, Automation(failure_notification(block, str(settings.ui_url)))]


if __name__ == "__main__":
    sys.exit(main())
