"""Where a job under test stores what it fetches: a folder, or a bucket of the strict fake behind a saved block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.storage.cloud import CloudStore
from tasks.storage.local import LocalStore
from tasks.storage.store import Store
from tests.cloud import fake
from tests.cloud.tokens import service_account_info

BUCKET = "chaos-tiles"


@dataclass(frozen=True)
class Output:
    """An output, as the job is told, and as the test sees it."""

    address: str
    store: Store


class Place(Protocol):
    """A kind of store."""

    name: str

    def opened(
        self, folder: Path, prefect: str
    ) -> contextlib.AbstractContextManager[tuple[Output, Output, dict[str, str]]]:
        """Yield two outputs, and what the environment of a job must say."""
        ...


class Folder:
    """A folder of this machine."""

    name = "folder"

    @contextlib.contextmanager
    def opened(self, folder: Path, prefect: str) -> Iterator[tuple[Output, Output, dict[str, str]]]:
        """Two folders."""
        first, second = (Output(str(folder / name), LocalStore(folder / name)) for name in ("output", "whole"))
        yield first, second, {}


class Bucket:
    """A bucket, whose credentials are in a saved block."""

    name = "bucket"

    @contextlib.contextmanager
    def opened(self, folder: Path, prefect: str) -> Iterator[tuple[Output, Output, dict[str, str]]]:
        """Two prefixes of a bucket, each with a block."""
        with fake.running(BUCKET) as url:
            outputs = []
            for name in ("output", "whole"):
                save_block(f"chaos-{name}", prefix=name, prefect=prefect, token_uri=f"{url}/token")
                client = Client(project=None, credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
                outputs.append(Output(f"gcs-bucket/chaos-{name}", CloudStore(BUCKET, name, client)))
            yield outputs[0], outputs[1], {"STORAGE_EMULATOR_HOST": url}


def save_block(name: str, *, prefix: str, prefect: str | None, token_uri: str, bucket: str = BUCKET) -> None:
    """Save a block of a bucket with the key of a service account."""
    from prefect_gcp import GcpCredentials
    from prefect_gcp.cloud_storage import GcsBucket

    settings = {PREFECT_API_URL: prefect} if prefect else {}
    with temporary_settings(settings):
        key = GcpCredentials(service_account_info=service_account_info(token_uri))
        key.save(f"{name}-key", overwrite=True)
        GcsBucket(bucket=bucket, bucket_folder=prefix, gcp_credentials=key).save(name, overwrite=True)
