"""What a scientist does in the Prefect UI, in a real browser, against all of `make up`."""

import json
import re

import pytest
import rasterio
from playwright.sync_api import expect

pytestmark = [pytest.mark.ui, pytest.mark.timeout(400)]


def test_a_form_is_filled_in_and_its_run_is_watched_to_the_end(ui):
    ui.open_deployment("region")
    ui.page.get_by_text("Description", exact=True).click()
    expect(ui.page.get_by_text("A region of one image")).to_be_visible()
    ui.look("description")

    ui.open_form("region")
    ui.look("form")
    # Blocks are picked, numbers and words are typed.
    connection = ui.field("Earth Engine connection")
    connection.get_by_role("button", name="Earth Engine Connection").click()
    ui.choose(connection, "pixel-quarry")
    ui.fill("Scale", "40")
    ui.fill("Tile size", "128")
    ui.fill("Label", "itaipu")
    connection.scroll_into_view_if_needed()
    ui.look("form_pickers")

    ui.turn(latency_median=5.0)
    ui.submit()
    run = ui.view_run()
    ui.expect_state("Running")
    ui.open_artifacts(until=re.compile(r"\d+ of 21 tiles"))
    ui.look("progress")
    ui.turn(latency_median=0.0)
    ui.expect_state("Completed")
    ui.open_artifacts(until=re.compile("^coverage$"))
    expect(ui.page.get_by_text("region itaipu sentinel2_median 32721 40m 21 tiles").first).to_be_visible()
    ui.page.wait_for_timeout(1_000)  # until the graph stands still
    ui.look("completed")

    for key in ("quicklook", "coverage"):
        ui.open_artifact(run, key)
        picture = ui.page.locator("img[src^='data:image/png']").first
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 300
        ui.look(key)
    for key, words in {"plan": "requests to make", "summary": "best possible at the quota", "output": "mosaic"}.items():
        ui.open_artifact(run, key)
        expect(ui.page.get_by_role("table")).to_contain_text(words)
        ui.look(key)
    folder = ui.page.locator("code", has_text="region-itaipu-sentinel2_median-40m-").first.inner_text()
    expect(ui.page.locator("code", has_text=re.compile(r"^mosaic\.tif$"))).to_be_visible()
    with rasterio.open(f"{folder}/mosaic.tif") as file:
        assert (file.crs, file.res, file.count) == ("EPSG:32721", (40, 40), 4)


@pytest.mark.parametrize(
    ("title", "value", "words"),
    [
        ("Tile size", "5", "tile_size = 5: 5 is less than the minimum of 16"),
        ("CRS", "EPSG:1", "crs = 'EPSG:1': PROJ does not know this CRS"),
    ],
)
def test_a_wrong_value_is_refused_by_the_run_in_our_words_before_anything_is_spent(ui, title, value, words):
    before = ui.pixel_requests()
    ui.open_form("region")
    ui.fill(title, value)
    ui.submit()
    run = ui.view_run()
    ui.expect_state("Failed")
    expect(ui.page.get_by_text(words).first).to_be_visible()
    ui.look("refused_by_the_run")
    assert ui.errors(run) == 1
    assert ui.pixel_requests() == before


@pytest.mark.parametrize("name", ["region", "timeseries", "patches", "audit", "doctor"])
def test_a_form_is_short_before_what_is_advanced_and_offers_no_null(ui, name):
    ui.open_form(name, first="Output")
    fields = ui.page.locator(".schema-form-properties").first.locator("> .schema-form-property")
    boxes = [fields.nth(number).bounding_box() for number in range(fields.count())]
    assert boxes[-1]["y"] - boxes[0]["y"] < 2000
    expect(fields.last.locator(".schema-form-property__label").first).to_contain_text("Advanced")
    expect(ui.page.get_by_text('Property is type "None"')).to_have_count(0)
    ui.look(f"form_{name}")


TRIANGLE = [[-54.6, -25.3], [-54.58, -25.3], [-54.58, -25.28], [-54.6, -25.3]]
JOBS = {
    "region": {
        "Image": "USGS/SRTMGL1_003",
        "Recipe parameters": "none",
        "Bands": "all",
        "CRS": "native",
        "Scale": "0",
        "Region": json.dumps({"type": "Polygon", "coordinates": [TRIANGLE]}),
    },
    "timeseries": {"Image": "MODIS/061/MOD13Q1", "Bands": "NDVI", "Label": "a year"},
    "patches": {"Points": "{folder}/points.csv", "Patch size": "16", "Label": "plots"},
}


@pytest.mark.parametrize("name", list(JOBS))
def test_a_job_is_filled_in_without_json_that_is_typed(ui, name):
    """A polygon is pasted; a series, a table of points and a recipe need plain words."""
    (ui.up.folder / "points.csv").write_text("plot,lon,lat\nA,-54.6,-25.2\nB,-54.62,-25.22\n")
    ui.open_form(name)
    for title, value in JOBS[name].items():
        ui.fill(title, value.replace("{folder}", str(ui.up.folder)))
    ui.submit()
    ui.view_run()
    ui.expect_state("Completed")
    ui.look(f"job_{name}")


def test_a_dry_run_shows_a_map_of_the_grid(ui):
    before = ui.pixel_requests()
    ui.open_form("patches")
    ui.field("Plan only").get_by_role("switch").click()
    ui.submit()
    run = ui.view_run()
    ui.expect_state("Completed")
    ui.open_artifact(run, "grid")
    expect(ui.page.locator("img[src^='data:image/png']").first).to_be_visible()
    ui.look("grid")
    assert ui.pixel_requests() == before


def test_a_run_is_cancelled(ui):
    ui.turn(latency_median=3.0)
    ui.open_form("region")
    ui.fill("Scale", "15")
    ui.submit()
    run = ui.view_run()
    ui.expect_state("Running")
    ui.page.get_by_role("button", name="Cancel", exact=True).click()
    ui.page.get_by_role("button", name="Confirm").click()
    ui.expect_state("Cancelled")
    ui.look("cancelled")
    assert run


def test_batches_are_mapped_tasks_with_the_tag_and_cached_when_they_are_stored(ui):
    """Natively: the second time Prefect answers them, and no slot of the quota is taken."""
    states = []
    for _ in range(2):
        ui.open_form("region")
        ui.fill("Scale", "50")
        ui.turn(latency_median=0.0 if states else 8.0)
        ui.submit()
        ui.view_run()
        if not states:
            ui.expect_state("Running")
            run = ui.page.url
            limit = ui.open_limit("tag:earthengine:my-project", until=re.compile(r"^[1-9]\d*$"))
            expect(limit.locator("td").nth(1)).to_have_text("40")
            ui.look("slots")
            ui.page.goto(run)
        ui.turn(latency_median=0.0)
        ui.expect_state("Completed")
        ui.page.get_by_text("Task Runs", exact=True).click()
        batch = ui.page.locator(".state-list-item", has_text=re.compile(r"tiles 0-\d+"))
        expect(batch).to_be_visible()
        batch.scroll_into_view_if_needed()
        states.append(batch.inner_text())
        ui.look(f"batches_{len(states)}")
    assert "Completed" in states[0]
    assert "earthengine:my-project" in states[0]
    assert "Cached" in states[1]
    assert "earthengine:my-project" not in states[1]
