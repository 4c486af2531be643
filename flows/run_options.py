"""Parameters of every flow: the output, the connection to Earth Engine, rates, deadlines and retries."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from flows.form_schema import block
from flows.validation import FlowParameters, form_error, refusal
from tasks.earthengine.connection import HIGH_VOLUME, WORKLOAD_TAG, Connection, ConnectionReference, is_googles
from tasks.earthengine.deadlines import Deadlines
from tasks.errors.input import BadInputError
from tasks.errors.redaction import HIDDEN
from tasks.extraction.account import Account
from tasks.extraction.hedge import HEDGE, HedgePolicy
from tasks.plan.choices import Verify
from tasks.prefect_io.block_slugs import CONNECTION, slug_of
from tasks.storage.address import BUCKET, FOLDER, fault_of


def _saved(value: Any) -> Any:
    """Return the slug of a saved block, or of a reference to one from a picker. Return text unchanged."""
    try:
        slug = slug_of(value)
    except ValueError as error:
        raise PydanticCustomError("block", "{message}", {"message": str(error)}) from None
    if slug is not None and not isinstance(slug, str):
        raise PydanticCustomError("block", "should be text, or a saved block")
    return slug


if TYPE_CHECKING:
    Output = str
    SavedConnection = str | None
else:  # a picker sends a reference to a block, and its slug is kept
    Output = Annotated[
        Annotated[str, Field(min_length=1, title="Address")]
        | block("GCS Bucket", BUCKET)
        | block("Local File System", FOLDER),
        BeforeValidator(_saved),
        Field(title="Output"),
    ]
    SavedConnection = Annotated[
        Annotated[str, Field(pattern=rf"^{CONNECTION}/[a-z0-9-]+$", title="Name")]
        | block("Earth Engine Connection", CONNECTION)
        | None,
        BeforeValidator(_saved),
        Field(title="Earth Engine connection"),
    ]


class RunOptions(FlowParameters):
    """Output, connection to Earth Engine, rates, deadlines and retries."""

    output: Output = "output"
    """Where tiles, products and receipts go: a saved block (`gcs-bucket/name`, `local-file-system/name`), a bucket
    (`gs://bucket/prefix`), or a folder, local or mounted, absolute or from where the flow runs."""
    verify: Annotated[Verify, Field(title="Verify")] = "quick"
    """How what is stored already is held against its receipts: `quick` by size and time (folder) or checksum (bucket),
    `full` by reading every byte."""
    connection: SavedConnection = None
    """A saved connection, such as `earth-engine-connection/pixel-quarry`: project, endpoint, credentials, quota and
    workload tag. Empty = the fields below, else the environment where the flow runs."""
    project: Annotated[str | None, Field(title="Earth Engine project")] = None
    """Google Cloud project whose quota is used. Empty = that of the connection, else EARTHENGINE_PROJECT where the flow
    runs."""
    endpoint: Annotated[str | None, Field(title="Endpoint")] = None
    """Base URL. Empty = that of the connection, else EARTHENGINE_ENDPOINT where the flow runs, else Earth Engine's
    high-volume endpoint."""
    credentials_file: Annotated[str | None, Field(title="Service-account key")] = None
    """Path of a key file where the flow runs. Empty = that of the connection, else Application Default Credentials or
    `earthengine authenticate`."""
    requests_in_flight: Annotated[int | None, Field(ge=1, le=1000, title="Requests in flight")] = None
    """At most so many of this run at once. Empty = as the connection has it, else 40, the interactive quota that a
    project has by default."""
    requests_per_second: Annotated[float | None, Field(gt=0, le=1000, title="Requests a second")] = None
    """At most so many of the whole project may begin in a second. Empty = as the connection has it, else 100."""
    read_deadline: Annotated[float, Field(gt=0, le=3600, title="Deadline of a request")] = Deadlines.read_s
    """Seconds after which an answer is no longer awaited, and the request is repeated. Earth Engine may compute for
    300."""
    computation_limit: Annotated[float, Field(ge=0, le=3600, title="Longest computation")] = Deadlines.computing_s
    """Seconds that Earth Engine may go on with a request that was given up: so long it keeps its place in the quota."""
    hedged_share: Annotated[float, Field(ge=0, le=0.01, title="Requests sent twice")] = HEDGE.share
    """Largest share of the requests that are sent a second time at the end of the run, because they take far longer
    than the others (10 s, and 5 times the 99th percentile). The first answer counts, and Earth Engine may compute both.
    One request is allowed in any run; 0 = none."""
    workload_tag: Annotated[Annotated[str, Field(pattern=f"^{WORKLOAD_TAG}$")] | None, Field(title="Workload tag")] = (
        None
    )
    """Label of the run's requests in Cloud Monitoring, by which their cost is told apart: up to 63 lower-case letters,
    digits, dashes and underscores, a letter or digit first and last. Empty = that of the connection, else
    `pixel-quarry`."""
    run_retries: Annotated[int, Field(ge=0, le=100, title="Retries of the run")] = 3
    """How often a run that fails for a passing reason (an outage, throttling) is started again by Prefect. It resumes:
    nothing is fetched twice. One that fails for a lasting reason is not started again."""
    run_retry_delay: Annotated[float, Field(ge=0, le=3600, title="Delay before a retry")] = 60.0
    """Seconds before the first retry of the run, twice as many before each further one (3600 at the most), half of it
    by chance. No slot of the quota is held meanwhile."""

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if reason := fault_of(self.output):
            remedy = "Give gs://bucket/prefix, a folder, or a saved block such as gcs-bucket/name"
            raise form_error("output", self.output, reason, remedy)
        return self

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        """Refuse an endpoint with a password, or a key in place of its path: parameters are stored and shown."""
        try:
            ConnectionReference(
                project="my-project", endpoint=self.endpoint or HIGH_VOLUME, credentials_file=self.credentials_file
            ).check()
        except BadInputError as error:
            raise refusal(error) from None
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.connection is not None:
            # A user who may start runs must not be able to send the credentials of a block to another endpoint.
            for field in ("project", "endpoint", "credentials_file"):
                if getattr(self, field) is not None:
                    shown = getattr(self, field) if field == "project" else HIDDEN
                    reason = f"the connection {self.connection} already sets it"
                    raise form_error(field, shown, reason, f"Leave {field} empty, or give no connection")
        return self

    @property
    def asks_earth_engine(self) -> bool:
        """Whether the run needs a project and credentials."""
        return True

    def deadlines(self) -> Deadlines:
        """Return how long a request may take."""
        return Deadlines(read_s=self.read_deadline, computing_s=self.computation_limit)

    def hedge(self) -> HedgePolicy:
        """Return which requests are sent a second time."""
        return HedgePolicy(share=self.hedged_share)

    def connect(self) -> Account:
        """Return the account to use: from the saved connection, or from these fields and the environment.

        Raises:
            BadInputError: There is no project, or a value is refused.
        """
        if self.connection is not None:
            from tasks.prefect_io.connection_block import (
                open_account,  # the import takes a second, and a run without a block does not need it
            )

            account = open_account(self.connection)
            if self.requests_in_flight is not None and self.requests_in_flight > account.quota:
                raise BadInputError(
                    "requests_in_flight",
                    self.requests_in_flight,
                    f"above the quota of {self.connection}, which is {account.quota}",
                    f"Give at most {account.quota}, or leave it empty",
                )
            run_in_flight = self.requests_in_flight or account.run_in_flight
        else:
            account, run_in_flight = Account(connection=self._from_environment()), self.requests_in_flight
        return replace(
            account,
            run_in_flight=run_in_flight,
            per_second=self.requests_per_second or account.per_second,
            workload_tag=self.workload_tag or account.workload_tag,
        )

    def _from_environment(self) -> Connection:
        project = self.project or os.environ.get("EARTHENGINE_PROJECT")
        if not project:
            raise BadInputError(
                "project",
                self.project,
                "Earth Engine needs a Google Cloud project",
                "Give the id of a project that is registered for Earth Engine, or set EARTHENGINE_PROJECT",
            )
        endpoint = self.endpoint or os.environ.get("EARTHENGINE_ENDPOINT") or HIGH_VOLUME
        connection = Connection(project=project, endpoint=endpoint, credentials_file=self.credentials_file)
        if self.endpoint and not is_googles(self.endpoint):
            # A user who may start runs must not be able to send the credentials of this machine to another endpoint.
            reason = "neither Google's nor on this machine, and the run would send credentials to it"
            remedy = (
                f"Give {HIGH_VOLUME} or a loopback address. To use another endpoint, set EARTHENGINE_ENDPOINT where "
                "the flow runs, or save a connection with it"
            )
            raise BadInputError("endpoint", self.endpoint, reason, remedy)
        return connection
