"""What every flow takes that talks to Earth Engine and a store: where to, where from, how fast, how often."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from flows.wording import Worded, refused
from tasks.earthengine.checkpoint import Verify
from tasks.earthengine.connection import HIGH_VOLUME, WORKLOAD_TAG, Connection
from tasks.earthengine.errors import BadInputError
from tasks.earthengine.permits import IN_FLIGHT, PER_SECOND
from tasks.earthengine.transport import Deadlines
from tasks.output import BUCKET, FOLDER, slug_of
from tasks.storage.open import bucket_of
from tasks.storage.store import StorageError


class _Pickers:
    """Lets the form offer the saved blocks beside a line of text, without a second's import of their classes."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = handler(schema)
        blocks = [
            {"title": title, "type": "object", "block_type_slug": slug}
            for title, slug in (("GCS Bucket", BUCKET), ("Local File System", FOLDER))
        ]
        return {"anyOf": [text | {"title": "Address"}, *blocks]}


def _saved(value: Any) -> Any:
    try:
        return slug_of(value)
    except ValueError as error:
        raise PydanticCustomError("block", "{message}", {"message": f"should be {error}"}) from None


Output = Annotated[str, BeforeValidator(_saved), Field(min_length=1, title="Output"), _Pickers()]


class Service(Worded):
    """Where to, where from, how fast, how often."""

    output: Output = "output"
    """Where tiles, products and receipts go: a saved block (`gcs-bucket/name`, `local-file-system/name`), a bucket
    (`gs://bucket/prefix`), or a folder, local or mounted, absolute or from where the flow runs."""
    verify: Annotated[Verify, Field(title="Verify")] = "quick"
    """How what is stored already is held against its receipts: `quick` by size and time (folder) or checksum (bucket),
    `full` by reading every byte."""
    project: Annotated[str | None, Field(title="Earth Engine project")] = None
    """Google Cloud project whose quota is used. Empty = EARTHENGINE_PROJECT where the flow runs."""
    endpoint: Annotated[str | None, Field(title="Endpoint")] = None
    """Base URL. Empty = EARTHENGINE_ENDPOINT where the flow runs, else Earth Engine's high-volume endpoint."""
    credentials_file: Annotated[str | None, Field(title="Service-account key")] = None
    """Path of a key file where the flow runs. Empty = Application Default Credentials or `earthengine authenticate`."""
    requests_in_flight: Annotated[int, Field(ge=1, le=1000, title="Requests in flight")] = IN_FLIGHT
    """At most so many at once: the project's interactive quota (default of a project: 40)."""
    requests_per_second: Annotated[float, Field(gt=0, le=1000, title="Requests a second")] = PER_SECOND
    """At most so many may begin in a second (default of a project: 100)."""
    read_deadline: Annotated[float, Field(gt=0, le=3600, title="Deadline of a request")] = Deadlines.read_s
    """Seconds after which an answer is no longer awaited, and the request is repeated. Earth Engine may compute for
    300."""
    computation_limit: Annotated[float, Field(ge=0, le=3600, title="Longest computation")] = Deadlines.computing_s
    """Seconds that Earth Engine may go on with a request that was given up: so long it keeps its place in the quota."""
    workload_tag: Annotated[str, Field(pattern=f"^{WORKLOAD_TAG}$", title="Workload tag")] = "pixel-quarry"
    """Label of the run's requests in Cloud Monitoring, by which their cost is told apart: up to 63 lower-case letters,
    digits, dashes and underscores, a letter or digit first and last."""
    run_retries: Annotated[int, Field(ge=0, le=100, title="Retries of the run")] = 3
    """How often a run that fails for a passing reason (an outage, throttling) is started again by Prefect. It resumes:
    nothing is fetched twice. One that fails for a lasting reason is not started again."""
    run_retry_delay: Annotated[float, Field(ge=0, le=3600, title="Delay before a retry")] = 60.0
    """Seconds before the first retry of the run, twice as many before each further one (3600 at the most), half of it
    by chance. No slot of the quota is held meanwhile."""

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        scheme = re.match(r"\s*([a-z][a-z0-9+.-]+)://", self.output, re.IGNORECASE)
        if scheme:
            remedy = "Give gs://bucket/prefix, a folder, or a saved block"
            if scheme[1] != "gs":
                raise refused("output", self.output, f"nothing can be written to {scheme[1]}://", remedy)
            try:
                bucket_of(self.output)
            except StorageError:
                raise refused("output", self.output, "no bucket with a prefix of plain parts", remedy) from None
        return self

    @property
    def asks_earth_engine(self) -> bool:
        """Whether the run needs a project and a way to sign in."""
        return True

    def deadlines(self) -> Deadlines:
        """Return how long an answer is waited for."""
        return Deadlines(read_s=self.read_deadline, computing_s=self.computation_limit)

    def connection(self) -> Connection:
        """Return the connection, completed from the environment of this process.

        Raises:
            BadInputError: there is no project, or one of the values can't be.
        """
        project = self.project or os.environ.get("EARTHENGINE_PROJECT")
        if not project:
            raise BadInputError(
                "project",
                self.project,
                "no project",
                "Give the id of a Google Cloud project registered for Earth Engine, or set EARTHENGINE_PROJECT",
            )
        endpoint = self.endpoint or os.environ.get("EARTHENGINE_ENDPOINT") or HIGH_VOLUME
        return Connection(project=project, endpoint=endpoint, credentials_file=self.credentials_file)
