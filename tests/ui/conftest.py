"""What the tests of the UI share: all of `make up`, and Debian's Chromium."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tenacity
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as TooLateError

from tests.bench.server import free_port

ROOT = Path(__file__).parents[2]
# What was seen, for whoever looks at it afterwards.
SEEN = ROOT / ".cache" / "screenshots"
PATIENCE_MS = 60_000
# The machine's network may be closed, and Chromium would ask for much.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code == 503


@tenacity.retry(
    retry=tenacity.retry_if_exception(_is_busy),
    wait=tenacity.wait_fixed(2),
    stop=tenacity.stop_after_delay(90),
    reraise=True,
)
def ask(url: str, method: str, body: object) -> object:
    """Send JSON, and return what is answered.

    Prefect's server answers 503 while SQLite is locked by another writer, and its own client asks again. So do we.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or "null")


@pytest.fixture(scope="session")
def up(tmp_path_factory):
    """A server, the sandbox and a worker, as `make up` starts them, at free ports and with data of their own."""
    folder, port, sandbox_port = tmp_path_factory.mktemp("up"), free_port(), free_port()
    command = [sys.executable, "-m", "deployments.up"]
    place = ["--port", str(port), "--sandbox-port", str(sandbox_port), f"--folder={folder}"]
    output = folder / "output"
    try:
        subprocess.run([*command, "start", *place, f"--output={output}"], cwd=ROOT, check=True)
        yield SimpleNamespace(
            url=f"http://127.0.0.1:{port}", sandbox=f"http://127.0.0.1:{sandbox_port}", folder=folder, output=output
        )
    finally:
        subprocess.run([*command, "stop", *place], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "There is no Chromium: `apt-get install chromium`."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


def looks(wanted: re.Pattern[str]) -> Iterator[None]:
    """Look again, as long as a person would: a count of looks is over too soon where pages come quickly.

    Raises:
        AssertionError: it was never seen.
    """
    end = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end:
        yield
    raise AssertionError(f"not seen within {PATIENCE_MS // 1000} s: {wanted.pattern}")


class Ui:
    """The Prefect UI as a person uses it."""

    def __init__(self, page: Page, up: SimpleNamespace) -> None:
        self.page, self.up = page, up
        self._run: str | None = None
        """The run that was started last."""

    def open_deployment(self, name: str) -> None:
        """Find a deployment in the list, and open it."""
        self.page.goto(f"{self.up.url}/deployments")
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def open_form(self, name: str, *, first: str = "Plan only") -> None:
        """Open the form of a deployment's run, until a field is there."""
        self.open_deployment(name)
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()
        expect(self.field(first)).to_be_visible()

    def field(self, title: str) -> Locator:
        """A field of the form by its title."""
        exactly = re.compile(rf"^{re.escape(title)}( \(Optional\))?$")
        label = self.page.locator(".schema-form-property__label", has_text=exactly)
        return self.page.locator(".schema-form-property").filter(has=label).last

    def fill(self, title: str, value: str) -> None:
        """Type or paste a value into a field."""
        self.field(title).locator("textarea, input").last.fill(value)

    def errors(self, run: str) -> int:
        """How many lines of a run's log are errors: all that `Level: error` shows."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}, "level": {"ge_": 40}}}
        for _ in looks(re.compile("an error")):  # the log comes after the state
            if found := ask(f"{self.up.url}/api/logs/filter", "POST", wanted):
                return len(found)
        return 0

    def choose(self, field: Locator, option: str) -> None:
        """Choose from a field's list, by the keyboard: it closes after a click that is quicker than a hand's."""
        field.locator(".p-select-button__control").click()
        self.page.keyboard.press("ArrowDown")
        self.page.locator(".p-select-option", has_text=option).last.click()

    def submit(self) -> None:
        """Send the form."""
        self._known = self._runs()
        self.page.get_by_role("button", name="Submit").click()

    def view_run(self) -> str:
        """Open the run that was just started, and return its id."""
        # The button is shown twice, one over the other, and for seconds only. On a busy machine it is gone before it is
        # clicked, or is clicked as it goes: the run is then opened by its id.
        with contextlib.suppress(TooLateError):
            self.page.get_by_role("button", name="View run").last.click(timeout=15_000)
            self.page.wait_for_url("**/runs/flow-run/*", timeout=10_000)
        run = self._started(30)
        if run is None:  # a busy server refuses to make the run: the form is still open, and is sent again
            self.page.get_by_role("button", name="Submit").click()
            run = self._started(60)
        assert run is not None
        if run not in self.page.url:
            self.page.goto(f"{self.up.url}/runs/flow-run/{run}")
        self._run = run
        return run

    def _started(self, seconds: float) -> str | None:
        """The id of the run that was started since the form was sent, None if there is none after some seconds."""
        found = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda runs: not runs),
            wait=tenacity.wait_fixed(1),
            stop=tenacity.stop_after_delay(seconds),
            retry_error_callback=lambda _: set(),
        )(lambda: self._runs() - self._known)
        return next(iter(found), None)

    def _runs(self) -> set[str]:
        """The ids of all runs but those of schedules."""
        found = ask(f"{self.up.url}/api/flow_runs/filter", "POST", {"limit": 200})
        return {run["id"] for run in found if not run["auto_scheduled"]}

    def expect_state(self, name: str) -> None:
        """Wait until the page of a run shows a state."""
        for _ in range(5):
            # Only the page of a run has this tab: the address changes before the page does.
            expect(self.page.get_by_text("Task Runs", exact=True)).to_be_visible()
            expect(self.page.locator(".state-badge", has_text=name).first).to_be_visible()
            if self._run is None or self._run in self.page.url:
                return
            # The form goes to the page of its deployment as it closes, also after the run's page was opened.
            self.page.goto(f"{self.up.url}/runs/flow-run/{self._run}")
        raise AssertionError(f"the page of the run {self._run} does not stay")

    def open_artifacts(self, *, until: re.Pattern[str]) -> None:
        """Open the artifacts of the run that is shown, until there is such a text: the UI seldom asks by itself."""
        for _ in looks(until):
            self.page.reload()
            self.page.get_by_text("Artifacts", exact=True).click()
            with contextlib.suppress(TooLateError):
                self.page.get_by_text(until).first.wait_for(timeout=2_000)
                return

    def open_limit(self, name: str, *, until: re.Pattern[str]) -> Locator:
        """Open the global limits, until so many slots of one are taken, and return its row: the UI asks but once."""
        row = self.page.locator("tr", has_text=re.compile(rf"{re.escape(name)}(?!:)"))
        for _ in looks(until):
            self.page.goto(f"{self.up.url}/concurrency-limits")
            self.page.get_by_text("Global", exact=True).click()
            expect(row).to_be_visible()
            if until.search(row.locator("td").nth(2).inner_text()):
                break
        return row

    def open_artifact(self, run: str, key: str) -> None:
        """Open an artifact of a run."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
        for _ in looks(re.compile(key)):  # a task of the run may be shown as Completed before the run is
            if found := ask(f"{self.up.url}/api/artifacts/filter", "POST", wanted):
                break
        (artifact,) = found
        self.page.goto(f"{self.up.url}/artifacts/artifact/{artifact['id']}")

    def turn(self, **knobs: object) -> None:
        """Turn knobs of the sandbox."""
        ask(f"{self.up.sandbox}/sandbox/knobs", "PATCH", knobs)

    def pixel_requests(self) -> int:
        """How many the sandbox has seen."""
        with urllib.request.urlopen(f"{self.up.sandbox}/sandbox/statistics") as answer:
            return json.load(answer)["pixel_requests"]

    def look(self, name: str) -> None:
        """Keep what is seen; with SCREENSHOTS=keep also for the READMEs, if one of them shows it."""
        SEEN.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SEEN / f"{name}.png")
        kept = f"tests/ui/screenshots/{name}.png"
        if os.environ.get("SCREENSHOTS") == "keep" and any(
            kept in (ROOT / page).read_text() for page in ("README.md", "deployments/README.md")
        ):
            (ROOT / kept).parent.mkdir(exist_ok=True)
            with Image.open(SEEN / f"{name}.png") as picture:  # in 128 colours it has a quarter of the bytes
                picture.convert("RGB").quantize(128).save(ROOT / kept, optimize=True)


@pytest.fixture
def ui(browser, up):
    """A new page; no knob is turned before or after."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    ui = Ui(context.new_page(), up)
    ui.turn(latency_median=0.0)
    yield ui
    ui.turn(latency_median=0.0)
    context.close()
