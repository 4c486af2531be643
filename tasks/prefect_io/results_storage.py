"""Where Prefect stores the results of tasks: never inside an output, and no output inside it.

Prefect reads from the stored record of a result which serializer to load. So everyone who can write to the results
storage can run code on the workers. Outputs may be writable by others, so the two must not overlap.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from prefect.context import FlowRunContext
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect.settings import get_current_settings

from tasks.errors.input import BadInputError


def results_uri(storage: Any = None) -> str | None:
    """Return where Prefect stores results: an absolute folder or ``gs://bucket/prefix``; None if it is neither.

    Args:
        storage: Storage block; None = the block of the flow run, or else the folder in Prefect's settings.
    """
    run = FlowRunContext.get()
    storage = storage or (run.result_store.result_storage if run is not None else None)
    if storage is None:
        return str(Path(get_current_settings().results.local_storage_path).expanduser().absolute())
    if isinstance(storage, LocalFileSystem):
        return str(Path(storage.basepath or ".").expanduser().absolute())
    if isinstance(storage, RemoteFileSystem):
        return re.sub(r"^(gcs|gs)://", "gs://", storage.basepath).removeprefix("file://")
    bucket = getattr(storage, "bucket", None)
    return None if bucket is None else f"gs://{bucket}/{getattr(storage, 'bucket_folder', '')}"


def check_apart(output: str, results: str | None) -> None:
    """Check that an output and Prefect's results do not overlap.

    Args:
        output: Root of the output: an absolute folder, or ``gs://bucket/prefix``.
        results: Root of the results; None = a kind of place where no output can be.

    Raises:
        BadInputError: One of them lies inside the other.
    """
    if results is None:
        return
    one, other = (PurePosixPath(_real(place)) for place in (output, results))
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise BadInputError(
            "output",
            output,
            f"it overlaps with {results}, where Prefect stores results of tasks, and everyone who can write there can "
            "run code on the workers",
            "Give another output, or set PREFECT_LOCAL_STORAGE_PATH or PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK to "
            "another place",
        )


def _real(place: str) -> str:
    """Return a place in its canonical form: a folder without links and `..`, a prefix without empty parts."""
    return re.sub(r"(?<!:)/+", "/", place) if "://" in place else os.path.realpath(place)
