"""The blocks that the command line describes. Options that are not given keep the values of the saved blocks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.oauth2 import service_account
from prefect.client.orchestration import SyncPrefectClient
from prefect.filesystems import LocalFileSystem
from prefect_gcp import GcpCredentials, GcsBucket
from pydantic import Secret, ValidationError

from deployments.provision.blocks import NAME, RESULTS, Reference, SavedBlock, saved
from tasks.errors.input import BadInputError, InputError
from tasks.prefect_io.connection_block import EarthEngineConnection
from tasks.prefect_io.results_storage import check_apart
from tasks.storage.address import bucket_of
from tasks.storage.store import StorageError

_KEY = Reference(f"{GcpCredentials.get_block_type_slug()}/{NAME}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command line; None = not given."""

    project: str | None = None
    endpoint: str | None = None
    credentials_file: Path | None = None
    output: str | None = None
    results: str | None = None
    requests_in_flight: int | None = None
    requests_per_second: float | None = None
    lane_requests_in_flight: int | None = None
    workload_tag: str | None = None


@dataclass(frozen=True)
class Account:
    """The blocks of an Earth Engine account, in the order in which to save them: some refer to earlier ones."""

    key: SavedBlock | None
    connection: SavedBlock
    output: SavedBlock
    results: SavedBlock | None
    """Block for Prefect's results; None = each worker stores its own results."""

    @property
    def blocks(self) -> list[SavedBlock]:
        """The blocks that are to be saved."""
        return [block for block in (self.key, self.connection, self.output, self.results) if block is not None]


def settle(client: SyncPrefectClient, options: Options) -> Account:
    """Return the blocks for the options, completed with the values of the saved blocks. Writes nothing.

    Args:
        client: Client of the Prefect server.
        options: Options of the command line.

    Raises:
        InputError: A value is missing or not valid.
    """
    key = None if options.credentials_file is None else _key(options.credentials_file)
    output, results = _output(client, options), _results(client, options)
    if results is not None:
        check_apart(_root(output), _root(results))
    return Account(key, _connection(client, options), output, results)


def _key(file: Path) -> SavedBlock:
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        project = service_account.Credentials.from_service_account_info(info).project_id
    except (OSError, ValueError, TypeError, AttributeError) as error:  # the message must not show its content
        reason = f"not a readable service-account key ({type(error).__name__})"
        raise BadInputError("credentials_file", str(file), reason, "Give a key file (JSON) of Google Cloud") from None
    return SavedBlock(GcpCredentials, {"service_account_info": Secret(info), "project": project})


def _connection(client: SyncPrefectClient, options: Options) -> SavedBlock:
    kept = saved(client, EarthEngineConnection) or {}
    fields = EarthEngineConnection.model_fields
    given = {field: getattr(options, field, None) for field in fields}
    values = {field: kept.get(field) if value is None else value for field, value in given.items()}
    credentials = _KEY if options.credentials_file else values.pop("credentials")
    values = {field: value for field, value in values.items() if value is not None and field != "credentials"}
    if "project" not in values:
        remedy = "Give --project or set EARTHENGINE_PROJECT: a project that is registered for Earth Engine"
        raise BadInputError("project", None, "missing", remedy)
    try:
        block = EarthEngineConnection(**values)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        if "error" in wrong.get("ctx", {}):  # from a validator of ours, whose message is complete
            raise InputError(str(wrong["ctx"]["error"])) from None
        field = str(wrong["loc"][0])
        raise BadInputError(field, values.get(field), wrong["msg"], "See --help") from None
    values = block.model_dump(mode="json", include=set(fields) - {"credentials"})
    return SavedBlock(EarthEngineConnection, values | {"credentials": credentials})


def _output(client: SyncPrefectClient, options: Options) -> SavedBlock:
    key = _KEY if options.credentials_file else None
    if options.output is not None:
        return _place(client, "output", options.output, key)
    there = _saved_places(client, key, NAME)
    if len(there) != 1:
        reason = "missing" if not there else "a folder and a bucket are both saved"
        raise BadInputError("output", None, reason, "Give --output: a folder or gs://bucket/prefix")
    return there[0]


def _results(client: SyncPrefectClient, options: Options) -> SavedBlock | None:
    key = _KEY if options.credentials_file else None
    if options.results is not None:
        return _place(client, "results", options.results, key, RESULTS)
    there = _saved_places(client, key, RESULTS)
    if len(there) > 1:
        reason, remedy = "a folder and a bucket are both saved", "Give --results: a folder or gs://bucket/prefix"
        raise BadInputError("results", None, reason, remedy)
    return there[0] if there else None


def _place(client: SyncPrefectClient, field: str, place: str, key: Reference | None, name: str = NAME) -> SavedBlock:
    """Return the block for a folder or a bucket."""
    if place.startswith("gs://"):
        try:
            bucket, prefix = bucket_of(place)
        except StorageError as error:
            raise BadInputError(field, place, "not a bucket with a prefix", str(error)) from None
        kept = saved(client, GcsBucket, name) or {}
        values: dict[str, Any] = {"bucket": bucket, "bucket_folder": prefix and f"{prefix}/"}
        return SavedBlock(GcsBucket, values | {"gcp_credentials": key or kept.get("gcp_credentials")}, name)
    if "://" in place:
        raise BadInputError(field, place, "neither a folder nor a bucket", "Give a path, or gs://...")
    return SavedBlock(LocalFileSystem, {"basepath": str(Path(place).expanduser().resolve())}, name)


def _saved_places(client: SyncPrefectClient, key: Reference | None, name: str) -> list[SavedBlock]:
    return [
        SavedBlock(kind, {**kept, "gcp_credentials": key} if key and kind is GcsBucket else kept, name)
        for kind in (LocalFileSystem, GcsBucket)
        if (kept := saved(client, kind, name)) is not None
    ]


def _root(block: SavedBlock) -> str:
    """Return where a block keeps files: an absolute folder, or ``gs://bucket/prefix``."""
    values = block.values
    if block.kind is LocalFileSystem:
        return str(values["basepath"])
    return f"gs://{values['bucket']}/{values.get('bucket_folder') or ''}".rstrip("/")
