"""The page of what the sandbox offers: everything is there, with a picture of its pixels and a job that can be made."""

import io
import json
import re

import numpy as np
import pytest
import requests
from PIL import Image

from deployments.sandbox.derived import COLLECTIONS
from deployments.sandbox.process import running
from deployments.sandbox.scenes import ROOT, open_catalogue
from deployments.up.announce import EXAMPLES, announce, markdown
from flows.parameters import RegionParameters, TimeseriesParameters
from tasks.earthengine.recipes import BUILT_IN

ASSETS = sorted({*COLLECTIONS, *(asset.id for asset in open_catalogue().children(ROOT))})
ALL = [*ASSETS, *sorted(BUILT_IN)]


def get(url):
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, timeout=60)
        answer.raise_for_status()
        return answer


@pytest.fixture(scope="module")
def sandbox():
    with running() as url:
        announce(url)
        yield url


@pytest.fixture(scope="module")
def offers(sandbox):
    return {offer["id"]: offer for offer in get(f"{sandbox}/sandbox/offers").json()}


def test_everything_is_offered(offers):
    assert set(offers) == set(ALL)
    assert set(EXAMPLES) == set(BUILT_IN)


@pytest.mark.parametrize("name", ALL)
def test_each_has_a_picture_of_pixels(name, sandbox, offers):
    with Image.open(io.BytesIO(get(f"{sandbox}/{offers[name]['picture']}").content)) as picture:
        red, green, blue, alpha = np.moveaxis(np.asarray(picture), -1, 0)
    shown = alpha > 0
    assert shown.mean() > 0.3
    assert np.ptp(np.stack([red, green, blue])[:, shown].astype(int)) > 100


@pytest.mark.parametrize("name", ALL)
def test_each_example_is_a_job(name, offers):
    parameters = json.loads(offers[name]["example"])
    model = TimeseriesParameters if "start" in parameters else RegionParameters
    assert parameters["image"] == name
    given = model.model_validate(parameters)
    assert set(given.bands) <= {band for band, _ in offers[name]["bands"]}
    west, south, east, north = offers[name]["box"]
    assert west < parameters["region"][0] < parameters["region"][2] < east
    assert south < parameters["region"][1] < parameters["region"][3] < north


def test_the_page_shows_each_and_needs_no_other_host(sandbox):
    page = get(f"{sandbox}/").text
    assert sorted(re.findall(r'<article id="([^"]+)"', page)) == sorted(ALL)
    assert {url for url in re.findall(r"https?://[^\s<\"']+", page) if not url.startswith(sandbox)} == set()


def test_the_artifact_links_the_page_and_each_picture(sandbox, offers):
    text = markdown(list(offers.values()), sandbox)
    assert f"({sandbox}/)" in text
    assert [f"({sandbox}/{offer['picture']})" in text for offer in offers.values()] == [True] * len(ALL)


def test_an_announcement_that_is_no_announcement_is_refused(sandbox, offers):
    for body in ("[]", "{", json.dumps({"x": {}})):
        answer = requests.put(f"{sandbox}/sandbox/recipes", data=body, timeout=10)
        assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert get(f"{sandbox}/sandbox/offers").json() == list(offers.values())


def test_a_picture_of_nothing_is_refused(sandbox):
    answer = requests.get(f"{sandbox}/sandbox/pictures/no/such", timeout=10)
    assert answer.status_code == 404
    assert "The sandbox offers no no/such." in answer.text
