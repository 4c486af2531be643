"""The Earth Engine connection as a saved block: the project that pays, its credentials, and the quota of all runs."""

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
    """Check a project id, with the same error message as in a run."""
    try:
        return Connection(project=project).project
    except InputError as error:
        raise ValueError(str(error)) from None


def _safe(endpoint: str) -> str:
    """Check an endpoint: credentials must not go to another machine in clear text."""
    try:
        return Connection(project="my-project", endpoint=endpoint).endpoint
    except InputError as error:
        raise ValueError(str(error)) from None


class EarthEngineConnection(Block):
    """A Google Cloud project that is registered for Earth Engine, the way to sign in, and its interactive quota.

    It is the parameter `connection` of the flows. Everyone who may use the block can spend the project's quota. The
    credentials stay on the Prefect server and in the process that sends the requests.

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
    # Prefect shows a logo only by its URL; this is the logo of the block type for the credentials.
    _logo_url = HttpUrl(str(GcpCredentials._logo_url))  # noqa: SLF001 - Prefect has no public attribute for it

    project: Annotated[str, AfterValidator(_plain), Field(title="Earth Engine project")]
    """Google Cloud project that is registered for Earth Engine. Requests use its quota."""
    endpoint: Annotated[str, AfterValidator(_safe), Field(title="Endpoint")] = HIGH_VOLUME
    """Base URL of the API: https, or a loopback address (the sandbox), to which no credentials are sent."""
    credentials: GcpCredentials | None = Field(default=None, title="Credentials")
    """A GCP Credentials block with a service-account key. Empty = Application Default Credentials, or those of
    `earthengine authenticate`, where the flow runs."""
    requests_in_flight: Annotated[int, Field(ge=1, le=1000, title="Requests in flight (quota)")] = IN_FLIGHT
    """The project's interactive quota (Google's default: 40), which all runs share. It is the limit of the tag
    `earthengine:<project>`, which `python -m deployments.provision` sets."""
    requests_per_second: Annotated[float, Field(gt=0, le=1000, title="Requests a second (quota)")] = PER_SECOND
    """Most requests that all runs together may begin in a second (Google's default for a project: 100)."""
    lane_requests_in_flight: Annotated[int | None, Field(ge=1, le=1000, title="Requests in flight of one run")] = None
    """Most requests that one run may have in flight. Empty = the whole quota, as long as no other run needs a part."""
    workload_tag: Annotated[str, Field(pattern=f"^{WORKLOAD_TAG}$", title="Workload tag")] = TAG
    """Label of the requests in Cloud Monitoring: up to 63 lower-case letters, digits, dashes and underscores."""

    @model_validator(mode="after")
    def _lane_fits(self) -> EarthEngineConnection:
        if self.lane_requests_in_flight is not None and self.lane_requests_in_flight > self.requests_in_flight:
            raise ValueError(
                f"lane_requests_in_flight = {self.lane_requests_in_flight}: above requests_in_flight = "
                f"{self.requests_in_flight}. Give at most the quota, or leave it empty."
            )
        return self


def open_account(slug: str) -> Account:
    """Return the account that a saved connection describes.

    Args:
        slug: Slug of the block, ``earth-engine-connection/name``.

    Raises:
        BadInputError: There is no such block, or its credentials cannot be used here.
    """
    try:
        block: Any = EarthEngineConnection.load(slug.partition("/")[2])
    except (ValueError, RuntimeError, GoogleAuthError) as error:
        if isinstance(error.__cause__, ObjectNotFound):
            remedy = "`prefect block ls` lists the saved blocks. `python -m deployments.provision` creates one"
            raise BadInputError("connection", slug, "no such block on the Prefect server", remedy) from None
        # The text of the error may contain a part of the key, so only its type is shown.
        remedy = (
            "Fix the block or its credentials, or sign in on the machine of the flow "
            "(`gcloud auth application-default login`)"
        )
        reason = f"the block cannot be used where the flow runs ({type(error).__name__})"
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
    """Return google.auth credentials with Earth Engine's scopes, which prefect-gcp does not request.

    None = the block holds no key: use the default credentials of the machine.
    """
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
        reason = f"its credentials are not a service-account key ({type(error).__name__})"
        raise BadInputError("connection", slug, reason, remedy) from None
    return None
