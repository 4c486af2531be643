"""The Earth Engine connection as a saved block: who pays, how to sign in, and the quota that all runs share."""

from __future__ import annotations

from typing import Annotated, Any

from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from prefect_gcp import GcpCredentials
from pydantic import AfterValidator, ConfigDict, Field, HttpUrl, model_validator

from tasks.earthengine.connection import HIGH_VOLUME, SCOPES, WORKLOAD_TAG, Connection
from tasks.errors.input import BadInputError, InputError
from tasks.extraction.account import TAG, Account
from tasks.extraction.permits import IN_FLIGHT, PER_SECOND


def _plain(project: str) -> str:
    """Check a project id, in the words of a run."""
    try:
        return Connection(project=project).project
    except InputError as error:
        raise ValueError(str(error)) from None


def _safe(endpoint: str) -> str:
    """Check an endpoint: no credentials in clear text to another machine."""
    try:
        return Connection(project="my-project", endpoint=endpoint).endpoint
    except InputError as error:
        raise ValueError(str(error)) from None


class EarthEngineConnection(Block):
    """A Google Cloud project that is registered for Earth Engine, the way to sign in, and its interactive quota.

    Flows take it as `connection`. Whoever may use the block spends the project's quota; the credentials stay with the
    Prefect server and the process that sends the requests.

    Example:
        ```python
        from tasks.prefect_io.connection_block import EarthEngineConnection

        EarthEngineConnection(project="my-project").save("pixel-quarry")
        ```
    """

    model_config = ConfigDict(use_attribute_docstrings=True, hide_input_in_errors=True)

    _block_type_name = "Earth Engine Connection"
    _block_type_slug = "earth-engine-connection"
    _description = "Project, endpoint, credentials and interactive quota for pixel requests to Google Earth Engine."
    _documentation_url = HttpUrl("https://developers.google.com/earth-engine/guides/usage")
    # Prefect takes no picture but by its address; this one comes with the type that holds the credentials.
    _logo_url = HttpUrl(str(GcpCredentials._logo_url))  # noqa: SLF001 - a block tells its picture so

    project: Annotated[str, AfterValidator(_plain), Field(title="Earth Engine project")]
    """Google Cloud project that is registered for Earth Engine: its quota is used."""
    endpoint: Annotated[str, AfterValidator(_safe), Field(title="Endpoint")] = HIGH_VOLUME
    """Base URL of the API; https, or a loopback address (the sandbox), which no credentials are sent to."""
    credentials: GcpCredentials | None = Field(default=None, title="Credentials")
    """A GCP Credentials block with a service-account key. Empty = Application Default Credentials, or those of
    `earthengine authenticate`, where the flow runs."""
    requests_in_flight: Annotated[int, Field(ge=1, le=1000, title="Requests in flight (quota)")] = IN_FLIGHT
    """The project's interactive quota (default of a project: 40): the limit of the tag `earthengine:<project>`, which
    all runs share. `python -m deployments.provision` sets it."""
    requests_per_second: Annotated[float, Field(gt=0, le=1000, title="Requests a second (quota)")] = PER_SECOND
    """At most so many requests of the project may begin in a second (default of a project: 100)."""
    lane_requests_in_flight: Annotated[int | None, Field(ge=1, le=1000, title="Requests in flight a lane")] = None
    """At most so many of one lane, and a run is one lane at a time. Empty = the whole quota, while no other run wants
    some of it."""
    workload_tag: Annotated[str, Field(pattern=f"^{WORKLOAD_TAG}$", title="Workload tag")] = TAG
    """Label of the requests in Cloud Monitoring: up to 63 lower-case letters, digits, dashes and underscores."""

    @model_validator(mode="after")
    def _lane_fits(self) -> EarthEngineConnection:
        if self.lane_requests_in_flight is not None and self.lane_requests_in_flight > self.requests_in_flight:
            raise ValueError(
                f"lane_requests_in_flight = {self.lane_requests_in_flight}: above requests_in_flight = "
                f"{self.requests_in_flight}. Give a lane at most the quota, or leave it empty."
            )
        return self


def open_account(slug: str) -> Account:
    """Return a saved connection.

    Args:
        slug: ``earth-engine-connection/name``.

    Raises:
        BadInputError: there is no such block, or its credentials can't be used here.
    """
    try:
        block: Any = EarthEngineConnection.load(slug.partition("/")[2])
    except (ValueError, RuntimeError, GoogleAuthError) as error:
        if isinstance(error.__cause__, ObjectNotFound):
            remedy = "`prefect block ls` lists those that are; `python -m deployments.provision` makes one"
            raise BadInputError("connection", slug, "no such block on the Prefect server", remedy) from None
        # What can't be read may be a key: of the cause, the type alone is told.
        remedy = "Mend the block or its credentials, or sign in there (`gcloud auth application-default login`)"
        reason = f"the block can't be used where the flow runs ({type(error).__name__})"
        raise BadInputError("connection", slug, reason, remedy) from None
    key = _key(slug, block.credentials)
    connection = Connection(project=block.project, endpoint=block.endpoint, block=slug, key=key)
    return Account(
        connection=connection,
        quota=block.requests_in_flight,
        per_second=block.requests_per_second,
        run_in_flight=block.lane_requests_in_flight,
        workload_tag=block.workload_tag,
    )


def _key(slug: str, credentials: Any) -> Any:
    """Return google.auth credentials with Earth Engine's scopes, which prefect-gcp does not ask for; None = default."""
    if credentials is None:
        return None
    try:
        if credentials.service_account_info is not None:
            info = credentials.service_account_info.get_secret_value()
            return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
        if credentials.service_account_file is not None:
            path = str(credentials.service_account_file)
            return service_account.Credentials.from_service_account_file(path, scopes=SCOPES)
    except (ValueError, OSError, GoogleAuthError) as error:
        remedy = "Put a service-account key (JSON) into the GCP Credentials block"
        reason = f"its credentials are no service-account key ({type(error).__name__})"
        raise BadInputError("connection", slug, reason, remedy) from None
    return None
