"""A schedule can be rehearsed: images that come later, images that were processed anew, and back again."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Transformer

from deployments.sandbox.derived import modis
from deployments.sandbox.edition import Edition, brighter
from deployments.sandbox.knobs import Knobs
from deployments.sandbox.raster import SINUSOIDAL_PROJ
from deployments.sandbox.scenes import open_catalogue
from tests.deployments.sandbox.conftest import TYPES, Server, initialized, serving

PUBLIC = "/v1/projects/earthengine-public/assets"
OWN = "projects/sandbox/assets"
MODIS, L8 = modis.ID, "LANDSAT/LC08/C02/T1_L2"
MARCH, SCENE = f"{MODIS}/2020_03_05", f"{L8}/LC08_224077_20200518"
OFF = {"until": None, "changed": None}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of two images, and an image by itself; none is square."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "many").mkdir()
    for n, name in enumerate(("many/a_20200101", "many/b_20210101", "alone_20210101")):
        values = np.random.default_rng(n).integers(0, 255, (9, 7)).astype("u1")
        path, grid = folder / f"{name}.tif", Affine(10, 0, 500_003, 0, -20, 7)
        with rasterio.open(
            path, "w", driver="GTiff", count=1, height=9, width=7, dtype="uint8", crs="EPSG:32632", transform=grid
        ) as file:
            file.write(values, 1)
    return folder


@pytest.fixture(scope="module")
def served(scenes: Path) -> Iterator[Server]:
    with serving(open_catalogue(scenes), Knobs()) as server:
        yield server


@pytest.fixture(scope="module")
def ee(served: Server) -> Iterator[Any]:
    with initialized(served.url) as client:
        yield client


@pytest.fixture
def real(served: Server) -> Iterator[Server]:
    """The catalogue as it is shipped, with all knobs off before and after each test."""
    yield served
    served.turn(**OFF)


def place() -> dict[str, Any]:
    """31 x 23 pixels of MODIS, off its chunks, with land, haze and the edge of what is valid."""
    x, y = Transformer.from_crs("EPSG:4326", SINUSOIDAL_PROJ, always_xy=True).transform(-54.52, -25.22)
    col, row = (int(c) for c in ~modis.PROJECTION.transform @ (x, y))
    corner = modis.PROJECTION.transform @ Affine.translation(col - 15, row - 11)
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    transform = {n: v for n, v in zip(names, corner[:6], strict=True) if v}
    return {"dimensions": {"width": 31, "height": 23}, "affineTransform": transform, "crsCode": modis.PROJECTION.crs}


def pixels(ee: Any, asset: str, **more: Any) -> Any:
    asked = {"assetId": asset, "fileFormat": "NUMPY_NDARRAY", "grid": place()}
    return ee.data.getPixels(asked | more)


def computed(ee: Any, image: Any) -> Any:
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": place()})


def everything(ee: Any, real: Server) -> dict[str, bytes]:
    """What the sandbox says of some images, of their collection and of what is made of them, as it sends it."""
    collection = ee.ImageCollection(MODIS)
    said = {"listing": real.get(f"{PUBLIC}/{MODIS}:listAssets"), "collection": real.get(f"{PUBLIC}/{MODIS}")}
    ids = [f"{MODIS}/{day}" for day in ("2020_02_18", "2020_03_05", "2020_03_21")]
    grid = {"fileFormat": "NPY", "grid": place()}
    for i in [*ids, SCENE]:
        said[i] = real.get(f"{PUBLIC}/{i}")
    for i in ids:
        said[f"pixels {i}"] = real.post(f"{PUBLIC}/{i}:getPixels", grid)
    for name, image in {"mean": collection.select("NDVI").mean(), "one": ee.Image(ids[0]).select("EVI")}.items():
        body = {"expression": json.loads(ee.serializer.toJSON(image, for_cloud_api=True))}
        said[name] = real.post("/v1/projects/p/image:computePixels", body | grid)
    info = ee.serializer.toJSON(collection.limit(6), for_cloud_api=True)
    said["info"] = real.post("/v1/projects/p/value:compute", {"expression": json.loads(info)})
    return {name: answer.content for name, answer in said.items()}


# Until -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", [MODIS, L8, f"{OWN}/many"])
@pytest.mark.parametrize("until", ["2019-12-31", "2020-03-05", "2020-03-06", "2020-12-31", "2022-07-01"])
def test_what_starts_later_is_in_no_listing_and_no_expression(
    ee: Any, real: Server, collection: str, until: str
) -> None:
    whole = ee.data.listAssets(collection)["assets"]
    expected = [asset for asset in whole if asset["startTime"] < until]
    assert real.turn(until=until).json()["until"] == until
    assert ee.data.listAssets(collection)["assets"] == expected
    assert ee.data.listImages({"parent": collection})["images"] == expected
    images = ee.ImageCollection(collection)
    indices = [asset["id"].rpartition("/")[2] for asset in expected]
    after = images.filterDate(until, "2100-01-01")
    mapped = images.map(lambda image: image.set("seen", 1)).filter(ee.Filter.eq("seen", 1)).size()
    found = ee.List([images.aggregate_array("system:index"), images.size(), mapped, after.size(), images.first()])
    *told, first = found.getInfo()
    assert told == [indices, len(expected), len(expected), 0]
    assert (first is None) if not expected else (first["properties"]["system:index"] == indices[0])


def test_the_collection_ends_with_the_last_image_that_is_there(ee: Any, real: Server) -> None:
    real.turn(until="2020-03-05")
    asset = ee.data.getAsset(MODIS)
    assert (asset["startTime"], asset["endTime"]) == ("2020-01-01T00:00:00Z", "2020-03-05T00:00:00Z")
    assert ee.ImageCollection(MODIS).get("date_range").getInfo() == [1577836800000, 1583366400000]
    real.turn(until="2019-01-01")
    assert {"startTime", "endTime"}.isdisjoint(ee.data.getAsset(MODIS))


@pytest.mark.parametrize(("until", "status"), [("2020-03-05", 404), ("2020-03-06", 200)])
def test_an_image_that_is_not_there_is_missing(ee: Any, real: Server, until: str, status: int) -> None:
    unknown = f"{MODIS}/2020_03_04"
    name, url = f"projects/earthengine-public/assets/{MARCH}", f"{PUBLIC}/{MARCH}"
    real.turn(until=until)
    for ask in (real.get, lambda path: real.post(path + ":getPixels", {"fileFormat": "NPY", "grid": place()})):
        answer = ask(url)
        assert answer.status_code == status
        if status == 404:
            assert (
                answer.json()["error"]["message"] == f'Asset "{name}" does not exist or doesn\'t allow this operation.'
            )
            hint = re.compile(r" Of Earth Engine's public catalogue[^\"]*")  # only for what is never there
            shown = hint.sub("", ask(f"{PUBLIC}/{unknown}").text)
            assert answer.json() == json.loads(shown.replace(unknown, MARCH))
    if status == 404:
        with pytest.raises(ee.EEException, match=f"Image asset '{MARCH}' not found"):
            ee.Image(MARCH).bandNames().getInfo()


def test_images_by_themselves_are_always_there(ee: Any, real: Server) -> None:
    listed = ee.data.listAssets(OWN)["assets"]
    real.turn(until="1990-01-01")
    assert ee.data.listAssets(OWN)["assets"] == listed
    for name in ("USGS/SRTMGL1_003", f"{OWN}/alone_20210101"):
        assert ee.data.getAsset(name)["type"] == "IMAGE"


# Changed -----------------------------------------------------------------------------------------------------


def test_turning_changes_what_it_says_and_turning_back_restores_every_byte(ee: Any, real: Server) -> None:
    before = everything(ee, real)
    assert len(set(before.values())) == len(before)
    summaries = {"listing", "mean", "info"}
    turned: tuple[tuple[dict[str, str], set[str]], ...] = (
        ({"until": "2020-03-05"}, summaries | {"collection", SCENE} | {name for name in before if "_03_" in name}),
        ({"changed": MARCH}, summaries | {MARCH, f"pixels {MARCH}"}),
        (
            {"changed": f"{MARCH}, projects/earthengine-public/assets/{SCENE}"},
            summaries | {MARCH, f"pixels {MARCH}", SCENE},
        ),
    )
    for knobs, differing in turned:
        real.turn(**knobs)
        now = everything(ee, real)
        assert {name for name in before if now[name] != before[name]} == differing
        assert everything(ee, real) == now
        real.turn(**OFF)
        assert everything(ee, real) == before


def test_a_changed_image_was_updated_later(ee: Any, real: Server) -> None:
    before, listed = ee.data.getAsset(MARCH), ee.data.listAssets(MODIS)["assets"]
    version = ee.Image(MARCH).get("system:version").getInfo()
    real.turn(changed=MARCH)
    after = ee.data.getAsset(MARCH)
    assert after["updateTime"] > before["updateTime"]
    assert {**after, "updateTime": ""} == {**before, "updateTime": ""}
    assert ee.data.listAssets(MODIS)["assets"] == [after if asset["id"] == MARCH else asset for asset in listed]
    instant = ee.Date(after["updateTime"]).millis().getInfo()
    first = ee.ImageCollection(MODIS).filterDate("2020-03-05", "2020-03-06").first()
    told = ee.List([ee.Image(MARCH).get("system:version"), first.get("system:version")]).getInfo()
    assert told == [instant * 1000] * 2
    assert told[0] > version


def test_a_changed_image_has_other_values_below_the_same_mask(ee: Any, real: Server) -> None:
    image, mask = ee.Image(MARCH), ee.Image(MARCH).mask().toFloat()
    filtered = ee.ImageCollection(MODIS).filterDate("2020-03-05", "2020-03-06").first()
    before, masks = pixels(ee, MARCH), computed(ee, mask)
    valid = masks["NDVI"] > 0
    assert 0.2 < valid.mean() < 1
    real.turn(changed=MARCH)
    after = pixels(ee, MARCH)
    assert after.dtype == before.dtype
    for name in before.dtype.names:
        same = name.endswith("QA")
        assert ((after[name] == before[name]) == (same | ~valid)).all(), name
    np.testing.assert_array_equal(computed(ee, mask), masks)
    for other in (image, filtered):
        np.testing.assert_array_equal(computed(ee, other), after)
    np.testing.assert_array_equal(
        computed(ee, image.select("NDVI").toInt32().multiply(2))["NDVI"], after["NDVI"].astype("i4") * 2
    )
    smooth = computed(ee, image.select("NDVI").resample("bilinear"))["NDVI"]
    assert np.abs(smooth[valid] / after["NDVI"][valid] - 1).max() < 0.01  # at the centres of its pixels


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_type_keeps_its_range(kind: str) -> None:
    band = TYPES[kind]

    @given(arrays(band.numpy, (3, 2), elements=None if kind != "i8" else st.integers(-(2**40), 2**40)))
    def check(values: Any) -> None:
        changed = brighter(values, band)
        finite = np.isfinite(values.astype("f8"))
        assert changed.dtype == values.dtype
        assert (changed != values)[finite].all()
        if band.max is not None and band.min is not None:
            assert ((changed >= band.min) & (changed <= band.max)).all()

    check()


# Knobs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"until": "March"}, "'until' cannot be 'March'"),
        ({"changed": f"{MODIS}/2020_03_06"}, f"'changed' cannot be '{MODIS}/2020_03_06'"),
        ({"changed": f"{MARCH},"}, "'changed' cannot be ''"),
        ({"changed": MODIS}, f"'changed' cannot be '{MODIS}'"),
        ({"changed": [MARCH]}, "it must be str | None, such as MODIS/"),
        ({"until": "2020-01-01", "changed": "none", "p_500": 0.1}, "'changed' cannot be 'none'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_turns(real: Server, knobs: dict[str, Any], words: str) -> None:
    before = real.get("/sandbox/knobs").json()
    answer = real.turn(**knobs)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert real.get("/sandbox/knobs").json() == before
    assert len(real.get(f"{PUBLIC}/{MODIS}:listAssets").json()["assets"]) == 46


def test_an_image_may_change_before_it_is_there(real: Server) -> None:
    real.turn(until="2020-03-05")
    assert real.turn(changed=MARCH).json()["until"] == "2020-03-05"
    assert real.get(f"{PUBLIC}/{MARCH}").status_code == 404
    real.turn(until="2020-03-06")
    assert real.get(f"{PUBLIC}/{MARCH}").json()["updateTime"] == "2024-01-02T00:00:00Z"


@pytest.mark.parametrize("pixel", [True, False])
def test_a_request_sees_one_edition(serve: Callable[..., Server], *, pixel: bool) -> None:
    """The knob turns while an expression is evaluated, after the first of its two look-ups."""
    server = serve()
    memory, looked = server.catalogue, server.catalogue.children

    def children(name: str) -> Any:
        server.sandbox.engine.catalogue = Edition(memory, Knobs(until="2023-05-01"))
        return looked(name)

    memory.children = children

    def invoked(name: str, **arguments: Any) -> dict[str, Any]:
        return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}

    def size() -> dict[str, Any]:
        loaded = invoked("ImageCollection.load", id={"constantValue": "TEST/many"})
        return invoked("Collection.size", collection=loaded)

    both = {"arrayValue": {"values": [size(), size()]}}
    for expected in ([7, 7], [3, 3]):
        if pixel:
            body = {"result": "0", "values": {"0": invoked("Image.constant", value=both)}}
            grid = {"dimensions": {"width": 1, "height": 1}, "affineTransform": {"scaleX": 1, "scaleY": -1}}
            asked = {"expression": body, "fileFormat": "NPY", "grid": grid | {"crsCode": "EPSG:4326"}}
            answer = server.post("/v1/projects/p/image:computePixels", asked)
            assert list(np.load(io.BytesIO(answer.content))[0, 0]) == expected
        else:
            asked = {"expression": {"result": "0", "values": {"0": both}}}
            assert server.post("/v1/projects/p/value:compute", asked).json()["result"] == expected
