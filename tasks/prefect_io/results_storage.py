"""Where Prefect keeps the results of tasks: apart from outputs.

Prefect takes the serializer of a result from the stored record: who can write the results storage can run code on the
workers. So results never lie in an output, where others may write, nor an output among them.
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
    """Return where results are: an absolute folder, ``gs://bucket/prefix``, or None where it is neither.

    Args:
        storage: A block; None = that of the flow run, else the folder of Prefect's settings.
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
    """Check that results do not lie in an output, nor the output among them.

    Args:
        output: Root of the output: an absolute folder, or ``gs://bucket/prefix``.
        results: That of the results; None = a place that no output can be.

    Raises:
        BadInputError: they do.
    """
    if results is None:
        return
    one, other = (PurePosixPath(_real(place)) for place in (output, results))
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise BadInputError(
            "output",
            output,
            f"Prefect keeps results of tasks in {results}, and who can write them can run code on the workers",
            "Give another output, or set PREFECT_LOCAL_STORAGE_PATH or PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK apart "
            "from it",
        )


def _real(place: str) -> str:
    """Return a place without what hides it: links and `..` of a folder, empty parts of a prefix."""
    return re.sub(r"(?<!:)/+", "/", place) if "://" in place else os.path.realpath(place)
