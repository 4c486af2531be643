"""Artifacts of a run: no two share a key. What comes again takes the place of the former, or gets a key of its own."""

import json
from collections import Counter

import pytest
from prefect import flow
from prefect.states import Failed

from tasks.prefect_io import publishing
from tasks.prefect_io.impatience import image_artifact, markdown_artifact, progress_artifact, table_artifact
from tests.flows.conftest import published

PUBLISHED = {
    "text": (markdown_artifact, ["one", "two"]),
    "table": (table_artifact, [[{"a": 1}], [{"a": 2}, {"a": 3}]]),
    "picture": (image_artifact, ["data:image/png;base64,AA==", "data:image/png;base64,AB=="]),
}


@flow(retries=1, retry_delay_seconds=0)
def publishing_again(in_another_process: bool) -> object:
    """Publish everything once for each attempt."""
    attempt = publishing.flow_run.run_count - 1
    if attempt and in_another_process:
        publishing._ids.clear()
    progress_artifact(key="progress", description=f"attempt {attempt}")
    for key, (publish, values) in PUBLISHED.items():
        publish(values[attempt], key=key, description=f"attempt {attempt}")
    if not attempt:
        raise ValueError("Try again.")
    return Failed(message="over")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("in_another_process", [False, True])
def test_a_run_has_each_key_once_and_shows_what_was_published_last(in_another_process):
    found = published(publishing_again(in_another_process, return_state=True))
    assert Counter(each.key for each in found) == dict.fromkeys([*PUBLISHED, "progress", "progress-2"], 1)
    shown = {each.key: (each.data, each.description) for each in found}
    for key, (_, values) in PUBLISHED.items():
        data = json.dumps(values[1]) if key == "table" else values[1]
        assert shown[key] == (data, "attempt 1")
    assert [shown[key][1] for key in ("progress", "progress-2")] == ["attempt 0", "attempt 1"]
