"""The blocks that the command line asks for: what it does not say is kept as it is saved already."""

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

from deployments.provision.blocks import NAME, Reference, SavedBlock, saved
from tasks.connection import EarthEngineConnection
from tasks.earthengine.errors import BadInputError
from tasks.raster.refusal import InputError
from tasks.storage.open import bucket_of
from tasks.storage.store import StorageError

_KEY = Reference(f"{GcpCredentials.get_block_type_slug()}/{NAME}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; None = nothing."""

    project: str | None = None
    endpoint: str | None = None
    credentials_file: Path | None = None
    output: str | None = None
    requests_in_flight: int | None = None
    requests_per_second: float | None = None
    lane_requests_in_flight: int | None = None
    workload_tag: str | None = None


@dataclass(frozen=True)
class Account:
    """The blocks, in the order in which they name each other."""

    key: SavedBlock | None
    connection: SavedBlock
    output: SavedBlock

    @property
    def blocks(self) -> list[SavedBlock]:
        """Those that are to be saved."""
        return [*([self.key] if self.key else []), self.connection, self.output]


def settle(client: SyncPrefectClient, options: Options) -> Account:
    """Complete the options by what is saved. Writes nothing.

    Raises:
        InputError: a value is missing, or can't be.
    """
    key = None if options.credentials_file is None else _key(options.credentials_file)
    return Account(key, _connection(client, options), _output(client, options))


def _key(file: Path) -> SavedBlock:
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        project = service_account.Credentials.from_service_account_info(info).project_id
    except (OSError, ValueError, TypeError, AttributeError) as error:  # of what is in it, nothing is told
        reason = f"no service-account key ({type(error).__name__})"
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
        remedy = "Give --project, or set EARTHENGINE_PROJECT, to one that is registered for Earth Engine"
        raise BadInputError("project", None, "missing", remedy)
    try:
        block = EarthEngineConnection(**values)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        if "error" in wrong.get("ctx", {}):  # of a validator of ours, which says it all
            raise InputError(str(wrong["ctx"]["error"])) from None
        field = str(wrong["loc"][0])
        raise BadInputError(field, values.get(field), wrong["msg"], "See --help") from None
    values = block.model_dump(mode="json", include=set(fields) - {"credentials"})
    return SavedBlock(EarthEngineConnection, values | {"credentials": credentials})


def _output(client: SyncPrefectClient, options: Options) -> SavedBlock:
    key = _KEY if options.credentials_file else None
    if options.output is None:
        return _saved_output(client, key)
    if options.output.startswith("gs://"):
        try:
            bucket, prefix = bucket_of(options.output)
        except StorageError as error:
            raise BadInputError("output", options.output, "no bucket with a prefix", str(error)) from None
        kept = saved(client, GcsBucket) or {}
        values: dict[str, Any] = {"bucket": bucket, "bucket_folder": prefix and f"{prefix}/"}
        return SavedBlock(GcsBucket, values | {"gcp_credentials": key or kept.get("gcp_credentials")})
    if "://" in options.output:
        raise BadInputError("output", options.output, "neither a folder nor a bucket", "Give a path, or gs://...")
    return SavedBlock(LocalFileSystem, {"basepath": str(Path(options.output).expanduser().resolve())})


def _saved_output(client: SyncPrefectClient, key: Reference | None) -> SavedBlock:
    there = [(kind, kept) for kind in (LocalFileSystem, GcsBucket) if (kept := saved(client, kind)) is not None]
    if len(there) != 1:
        reason = "missing" if not there else "both a folder and a bucket are saved"
        raise BadInputError("output", None, reason, "Give --output, a folder or gs://bucket/prefix")
    ((kind, kept),) = there
    return SavedBlock(kind, {**kept, "gcp_credentials": key} if key and kind is GcsBucket else kept)
