"""Artifacts of a run, each key once: the page of a run shows all its artifacts, as if each of them was true now.

What is published again under its key takes the place of the former one. What is another thing, such as the progress of
another plan, gets a key of its own (`own_key`).
"""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.runtime import flow_run

_ids: dict[str, dict[str, UUID]] = {}
"""Ids of the artifacts of the run that published last, by run id and key."""


def publish(artifact: Artifact) -> UUID:
    """Create an artifact of the run, or replace the one that has its key; return its id."""
    known, key = _known(), artifact.key or ""
    if key in known:
        data = cast("Any", artifact).format(_sync=True)  # the decorator of Prefect takes more than its type says
        update = ArtifactUpdate(data=data, description=artifact.description)
        with get_client(sync_client=True) as client:
            client.update_artifact(known[key], update)
    else:
        known[key] = cast("Any", artifact).create(_sync=True).id
    return known[key]


def own_key(key: str) -> str:
    """Return a key that no artifact of the run has: `progress`, then `progress-2`."""
    known = _known()
    return next(own for n in range(1, len(known) + 2) if (own := key if n == 1 else f"{key}-{n}") not in known)


def _known() -> dict[str, UUID]:
    run = str(flow_run.id or "")
    if run not in _ids:
        found = _of_earlier_attempts(run) if run and flow_run.run_count > 1 else {}
        _ids.clear()
        _ids[run] = found
    return _ids[run]


def _of_earlier_attempts(run: str) -> dict[str, UUID]:
    """Return the artifacts of a run that another process has begun."""
    own = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run)]))
    with get_client(sync_client=True) as client:
        return {each.key: each.id for each in client.read_artifacts(artifact_filter=own) if each.key}
