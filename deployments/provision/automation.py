"""Automations: what the Prefect server does when a run dies or fails."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import SendNotification
from prefect.events.filters import AutomationFilter, AutomationFilterName
from prefect.events.schemas.automations import Automation as Found
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from deployments.provision.difference import Thing, Values

FAILURE = "pixel-quarry: a run failed"
TAG = "pixel-quarry"
# If neither PREFECT_UI_URL nor PREFECT_API_URL is set on the server, it cannot make a link: then UI_URL is used.
_BODY = """\
{{ flow.name }}/{{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}
{{ flow_run|ui_url or "UI_URL/runs/flow-run/" ~ flow_run.id }}
Stored tiles are kept. To resume, run it again with the same parameters: only the missing tiles are fetched."""


@dataclass(frozen=True)
class Automation(Thing):
    """An automation. There must be only one with its name."""

    core: AutomationCore

    @property
    def name(self) -> str:
        """``automation`` and its name."""
        return f"automation {self.core.name}"

    @property
    def declared(self) -> Values:
        """Its trigger and its actions, and that there is one copy."""
        return {**_values(self.core), "copies": 1}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Return the values of the oldest automation with the name, and the number of copies."""
        found = self._found(client)
        return {**_values(found[0]), "copies": len(found)} if found else None

    def write(self, client: SyncPrefectClient) -> None:
        """Create the automation or update the oldest one, and delete the other copies."""
        found = self._found(client)
        if not found:
            client.create_automation(self.core)
        for kept in found[:1]:
            client.update_automation(kept.id, AutomationCore(**self.core.model_dump(exclude={"owner_resource"})))
        for younger in found[1:]:
            client.delete_automation(younger.id)

    def _found(self, client: SyncPrefectClient) -> list[Found]:
        ours = AutomationFilter(name=AutomationFilterName(any_=[self.core.name]))
        return client.read_automations(automations=ours, sort=AutomationSort.CREATED_DESC, limit=100)[::-1]


def _values(core: AutomationCore) -> Values:
    values = core.model_dump(include={"description", "enabled", "trigger"})
    return values | {"actions": dict(enumerate(action.model_dump() for action in core.actions))}


def failure_notification(block_id: UUID, ui: str) -> AutomationCore:
    """Return the automation that sends a notification when a run of a deployment fails or crashes.

    Args:
        block_id: Id of a saved notification block, such as a Slack or custom webhook.
        ui: URL of the Prefect UI.
    """
    trigger = EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"},
        expect={"prefect.flow-run.Failed", "prefect.flow-run.TimedOut", "prefect.flow-run.Crashed"},
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )
    subject = "Pixel Quarry: {{ flow_run.name }} is {{ flow_run.state.name }}"
    send = SendNotification(block_document_id=block_id, subject=subject, body=_BODY.replace("UI_URL", ui))
    description = "Sends a notification when a run of a deployment of Pixel Quarry ends Failed or Crashed."
    return AutomationCore(name=FAILURE, description=description, trigger=trigger, actions=[send])
