"""The quota of an Earth Engine project, as two concurrency limits on the Prefect server."""

from __future__ import annotations

from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.exceptions import ObjectNotFound

from deployments.provision.difference import Thing, Values
from tasks.prefect_io.quota_limit import BOUNDLESS, QuotaLimit


@dataclass(frozen=True)
class Quota(Thing):
    """A global concurrency limit."""

    limit: str
    """Name of the limit."""
    slots: int
    """Its slots."""
    may_lower: bool
    """Whether it may be set below its value on the server."""

    @property
    def name(self) -> str:
        """``limit`` and its name."""
        return f"limit {self.limit}"

    @property
    def declared(self) -> Values:
        """Its slots. They have no decay: only their holder gives them back."""
        return {"limit": self.slots, "active": True, "slot_decay_per_second": 0.0}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Return the declared values as they are on the server. Slots that runs have taken are not compared."""
        try:
            found = client.read_global_concurrency_limit_by_name(self.limit)
        except ObjectNotFound:
            return None
        return found.model_dump(include=set(self.declared))

    def objection(self, found: Values) -> str | None:
        """Return an objection to lowering the limit without `may_lower`: the runs that share it would become slower."""
        if self.slots >= found["limit"] or self.may_lower:
            return None
        return (
            f"{self.name} is {found['limit']} on the server, but {self.slots} is declared. Give --lower-limit to lower "
            f"it, or --requests-in-flight {found['limit']} to keep it"
        )

    def write(self, client: SyncPrefectClient) -> None:
        """Create or update the limit."""
        try:
            client.read_global_concurrency_limit_by_name(self.limit)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=self.limit, **self.declared))
        else:
            client.update_global_concurrency_limit(self.limit, GlobalConcurrencyLimitUpdate(**self.declared))


def quotas(project: str, slots: int, *, may_lower: bool) -> list[Quota]:
    """Return the limit that is the quota, and the limit on which runs show how many slots they could use.

    Args:
        project: The Earth Engine project.
        slots: The quota: requests in flight.
        may_lower: Whether a limit may be set below its value on the server.
    """
    limit = QuotaLimit(project)
    return [Quota(limit.name, slots, may_lower), Quota(limit.wanted, BOUNDLESS, may_lower)]
