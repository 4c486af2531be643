"""Parameters of every flow: the output, the connection to Earth Engine, rates, deadlines and retries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from flows.advanced import Advanced
from flows.form_schema import block
from flows.profile import Source, filled_in, sources
from flows.validation import FlowParameters, form_error, matching
from tasks.earthengine.base_url import is_googles
from tasks.earthengine.connection import HIGH_VOLUME, Connection
from tasks.earthengine.deadlines import Deadlines
from tasks.errors.input import BadInputError
from tasks.errors.redaction import HIDDEN
from tasks.extraction.account import Account
from tasks.extraction.hedge import HedgePolicy
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
        Annotated[str, Field(title="Address")] | block("GCS Bucket", BUCKET) | block("Local File System", FOLDER),
        BeforeValidator(_saved),
        matching(r"(?s).+", "an address, and not empty"),
        Field(title="Output"),
    ]
    SavedConnection = Annotated[
        Annotated[str, Field(title="Name")] | block("Earth Engine Connection", CONNECTION) | None,
        BeforeValidator(_saved),
        matching(rf"{CONNECTION}/[a-z0-9-]+", f"{CONNECTION}/name"),
        Field(title="Earth Engine connection"),
    ]


class RunOptions(FlowParameters):
    """Output and connection to Earth Engine, and what is advanced: rates, deadlines and retries."""

    output: Output = "output"
    """Where tiles, products and receipts go: a saved block (`gcs-bucket/name`, `local-file-system/name`), a bucket
    (`gs://bucket/prefix`), or a folder, absolute or from where the flow runs."""
    connection: SavedConnection = None
    """A saved connection: project, endpoint, credentials, quota, workload tag. Empty = those of `advanced`, else
    the profile or the environment where the flow runs."""
    advanced: Annotated[Advanced, Field(title="Advanced")] = Advanced()
    """What few runs need: its defaults serve."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any], found: tuple[Source, ...] | None = None) -> Self:
        """Return the parameters from plain values, and from the profile where no value is given.

        Args:
            given: The values.
            found: Where to look for values that are not given. None = the profile.

        Raises:
            InputError: Values, or those of the profile, are refused. The message has one line for each.
        """
        filled, origins = filled_in(given, sources() if found is None else found)
        read = super().read(filled)
        read._origins.update(origins)  # noqa: SLF001 - its own
        return read

    @property
    def origins(self) -> Mapping[str, str]:
        """Where values that were not given come from, by their names."""
        return self._origins

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if reason := fault_of(self.output):
            remedy = "Give gs://bucket/prefix, a folder, or a saved block such as gcs-bucket/name"
            raise form_error("output", self.output, reason, remedy)
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.connection is not None:
            # A user who may start runs must not be able to send the credentials of a block to another endpoint.
            for field in ("project", "endpoint", "credentials_file"):
                if (value := getattr(self.advanced, field)) is not None:
                    shown = value if field == "project" else HIDDEN
                    reason = f"the connection {self.connection} already sets it"
                    raise form_error(field, shown, reason, f"Leave {field} empty, or give no connection")
        return self

    @property
    def asks_earth_engine(self) -> bool:
        """Whether the run needs a project and credentials."""
        return True

    def deadlines(self) -> Deadlines:
        """Return how long a request may take."""
        return Deadlines(read_s=self.advanced.read_deadline, computing_s=self.advanced.computation_limit)

    def hedge(self) -> HedgePolicy:
        """Return which requests are sent a second time."""
        return HedgePolicy(share=self.advanced.hedged_share)

    def connect(self) -> Account:
        """Return the account to use: from the saved connection, or from these fields and the environment.

        Raises:
            BadInputError: There is no project, or a value is refused.
        """
        given = self.advanced
        if self.connection is not None:
            from tasks.prefect_io.connection_block import (
                open_account,  # the import takes a second, and a run without a block does not need it
            )

            account = open_account(self.connection)
            if given.requests_in_flight is not None and given.requests_in_flight > account.quota:
                raise BadInputError(
                    "requests_in_flight",
                    given.requests_in_flight,
                    f"above the quota of {self.connection}, which is {account.quota}",
                    f"Give at most {account.quota}, or leave it empty",
                )
            run_in_flight = given.requests_in_flight or account.run_in_flight
        else:
            account, run_in_flight = Account(connection=self._from_environment()), given.requests_in_flight
        return replace(
            account,
            run_in_flight=run_in_flight,
            per_second=given.requests_per_second or account.per_second,
            workload_tag=given.workload_tag or account.workload_tag,
        )

    def _from_environment(self) -> Connection:
        given = self.advanced
        project = given.project or os.environ.get("EARTHENGINE_PROJECT")
        if not project:
            raise BadInputError(
                "project",
                given.project,
                "Earth Engine needs a Google Cloud project",
                "Give the id of a project that is registered for Earth Engine, keep it with `python -m flows profile "
                "--project ...`, or set EARTHENGINE_PROJECT. In flows.adhoc, that of ensure_client(...) or "
                "ee.Initialize(project=...) counts, too",
            )
        endpoint = given.endpoint or os.environ.get("EARTHENGINE_ENDPOINT") or HIGH_VOLUME
        connection = Connection(project=project, endpoint=endpoint, credentials_file=given.credentials_file)
        if given.endpoint and not is_googles(given.endpoint):
            # A user who may start runs must not be able to send the credentials of this machine to another endpoint.
            reason = "neither Google's nor on this machine, and the run would send credentials to it"
            remedy = (
                f"Give {HIGH_VOLUME} or a loopback address. To use another endpoint, set EARTHENGINE_ENDPOINT where "
                "the flow runs, or save a connection with it"
            )
            raise BadInputError("endpoint", given.endpoint, reason, remedy)
        return connection
