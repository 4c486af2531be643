"""Text from users and from Earth Engine is text in the UI: nothing of it becomes an element, or is loaded."""

import pytest
import tenacity
from playwright.sync_api import expect

from tests.ui.conftest import ask

pytestmark = pytest.mark.ui

HOST = "evil.example"
IMAGE = f"<img src=http://{HOST}/a.png>"
IDS = [
    IMAGE,
    f"![b](http://{HOST}/b.png)",
    "[c](javascript:alert(1))",
    "<script>alert('d')</script>",
    "e | f `g` *h*",
    "\x1b[31mi\u202ej\u200bk",
    f"http://{HOST}/l",
]


def start(ui, name, **fields):
    """Start a run of a deployment with other fields, and return its id."""
    (deployment,) = ask(f"{ui.up.url}/api/deployments/filter", "POST", {"deployments": {"name": {"any_": [name]}}})
    given = {**deployment["parameters"], **fields}
    made = ask(f"{ui.up.url}/api/deployments/{deployment['id']}/create_flow_run", "POST", {"parameters": given})
    ended = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda run: run["state_type"] not in {"COMPLETED", "FAILED", "CRASHED"}),
        wait=tenacity.wait_fixed(1),
        stop=tenacity.stop_after_delay(400),
    )
    ended(lambda: ask(f"{ui.up.url}/api/flow_runs/{made['id']}", "GET", None))
    ui.page.goto(f"{ui.up.url}/runs/flow-run/{made['id']}")
    return made["id"]


def elements(ui):
    """What of the texts became an element: links, pictures and scripts that lead to the host or run code."""
    found = f"script:has-text('alert'), img[src*='{HOST}'], a[href*='{HOST}'], a[href^='javascript']"
    return ui.page.locator(found).count()


def test_markup_of_users_is_text_in_artifacts_names_and_logs(ui):
    requests = []
    ui.page.on("request", lambda request: requests.append(request.url))
    points = [
        {
            "type": "Feature",
            "properties": {"id": each},
            "geometry": {"type": "Point", "coordinates": [-54.6, -25.5 + n / 50]},
        }
        for n, each in enumerate(IDS)
    ]
    run = start(ui, "patches", points={"type": "FeatureCollection", "features": points})
    ui.expect_state("Completed")
    ui.open_artifact(run, "patches")
    expect(ui.page.get_by_text(IMAGE, exact=True).first).to_be_visible()
    for shown in (*IDS[1:5], r"\x1b[31mi\u202ej\u200bk", IDS[6]):
        expect(ui.page.get_by_text(shown, exact=True).first).to_be_visible()
    assert elements(ui) == 0
    ui.look("markup_in_an_artifact")

    start(ui, "region", region=f"/{IMAGE}\x1b[31m\u202e<script>alert('d')</script>")
    ui.expect_state("Failed")
    expect(ui.page.get_by_text(IMAGE).first).to_be_visible()
    # The log makes a link of any address, with the address as its text.
    assert ui.page.locator(f"script:has-text('alert'), img[src*='{HOST}'], a[href^='javascript']").count() == 0
    body = ui.page.locator("body").inner_text()
    assert "\x1b" not in body
    assert "\u202e" not in body
    ui.look("markup_in_a_log")
    assert not [url for url in requests if HOST in url]
