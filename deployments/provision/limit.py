"""The quota of an Earth Engine project, as limits on the server."""

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
    slots: int
    may_lower: bool

    @property
    def name(self) -> str:
        """Its name."""
        return f"limit {self.limit}"

    @property
    def declared(self) -> Values:
        """So many slots, that come back with their holder alone."""
        return {"limit": self.slots, "active": True, "slot_decay_per_second": 0.0}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Read what is declared of it; the slots that are taken are the runs' own."""
        try:
            found = client.read_global_concurrency_limit_by_name(self.limit)
        except ObjectNotFound:
            return None
        return found.model_dump(include=set(self.declared))

    def objection(self, found: Values) -> str | None:
        """A limit is lowered on purpose alone: the runs that share it would slow down and say nothing."""
        if self.slots >= found["limit"] or self.may_lower:
            return None
        return (
            f"{self.name} is {found['limit']} on the server, and {self.slots} is declared. Give --lower-limit to lower "
            f"it, or --requests-in-flight {found['limit']} to keep it"
        )

    def write(self, client: SyncPrefectClient) -> None:
        """Create or update it."""
        try:
            client.read_global_concurrency_limit_by_name(self.limit)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=self.limit, **self.declared))
        else:
            client.update_global_concurrency_limit(self.limit, GlobalConcurrencyLimitUpdate(**self.declared))


def quotas(project: str, slots: int, *, may_lower: bool) -> list[Quota]:
    """Return the limit that is the quota, and the one by which runs tell what they could use of it."""
    limit = QuotaLimit(project)
    return [Quota(limit.name, slots, may_lower), Quota(limit.wanted, BOUNDLESS, may_lower)]
