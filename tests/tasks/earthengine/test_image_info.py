"""Laws of metadata: what Earth Engine would not answer is refused by name, in bounds of memory and pages."""

import json
from datetime import date

import ee
import pytest

from tasks.earthengine import metadata
from tasks.earthengine.errors import EarthEngineError, Rejected, TooHeavy, Transient
from tasks.earthengine.image_info import from_asset, from_value
from tasks.earthengine.metadata import get_asset, list_computed, list_images
from tests.tasks.earthengine.test_transport import answer, serving

BAND = {
    "id": "B1",
    "dataType": {"precision": "INT", "range": {"max": 65535}},
    "grid": {
        "crsCode": "EPSG:32633",
        "dimensions": {"width": 100, "height": 50},
        "affineTransform": {"scaleX": 30, "translateX": 500000, "scaleY": -30, "translateY": 4000000},
    },
}
ASSET = {"type": "IMAGE", "name": "projects/p/assets/x", "id": "projects/p/assets/x", "bands": [BAND]}
COMPUTED = {
    "type": "Image",
    "bands": [
        {
            "id": "B1",
            "data_type": {"type": "PixelType", "precision": "int", "min": 0, "max": 65535},
            "crs": "EPSG:32633",
            "crs_transform": [30, 0, 500000, 0, -30, 4000000],
            "dimensions": [100, 50],
        }
    ],
}


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def changed(value, path, new):
    """Return a copy of JSON values with another value at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]] if path[1:] else None, path[1:], new)
    return copy


WRONG = [None, 7, "text", [], [None], {}, {"a": 1}, True, float("nan"), 10**400, deep(900)]
PATHS = [
    *[("id",), ("name",), ("type",), ("updateTime",), ("startTime",), ("endTime",), ("properties",), ("geometry",)],
    *[("bands",), ("bands", 0), ("bands", 0, "id"), ("bands", 0, "dataType"), ("bands", 0, "dataType", "range")],
    *[("bands", 0, "dataType", "precision"), ("bands", 0, "dataType", "range", "max"), ("bands", 0, "grid")],
    *[("bands", 0, "grid", "crsCode"), ("bands", 0, "grid", "dimensions"), ("bands", 0, "grid", "affineTransform")],
    *[("bands", 0, "grid", "dimensions", "width"), ("bands", 0, "grid", "affineTransform", "scaleX")],
]
COMPUTED_PATHS = [
    *[("id",), ("type",), ("properties",), ("bands",), ("bands", 0), ("bands", 0, "id"), ("bands", 0, "data_type")],
    *[("bands", 0, "data_type", "precision"), ("bands", 0, "data_type", "max"), ("bands", 0, "crs")],
    *[("bands", 0, "crs_transform"), ("bands", 0, "dimensions"), ("bands", 0, "dimensions", 1)],
    *[("bands", 0, "crs_transform", 2), ("bands", 0, "origin")],
]


def outcome(read, value):
    """Return the message of the typed error that a value is refused with; empty if it is metadata."""
    try:
        read(value)
    except Transient as error:
        return str(error)
    return ""


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_an_asset_of_other_types_is_metadata_or_a_typed_error(path):
    for wrong in WRONG:
        assert len(outcome(from_asset, changed(ASSET, path, wrong))) < 400


@pytest.mark.parametrize("path", COMPUTED_PATHS, ids=str)
def test_a_computed_image_of_other_types_is_metadata_or_a_typed_error(path):
    for wrong in WRONG:
        if path == ("type",):
            with pytest.raises(TypeError):
                from_value(changed(COMPUTED, path, wrong))
        else:
            assert len(outcome(from_value, changed(COMPUTED, path, wrong))) < 400


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("bands", 0, "grid", "dimensions", "width"), 10**12),
        (("bands", 0, "grid", "dimensions", "width"), 0),
        (("bands", 0, "grid", "dimensions", "width"), 1.5),
        (("startTime",), "0001-01-01T00:00:00+01:00"),
        (("properties",), {"a": deep(2000)}),
        (("geometry",), {"coordinates": deep(2000)}),
    ],
)
def test_what_no_image_has_is_refused(path, value):
    with pytest.raises(Transient, match="Earth Engine's answer is not an asset"):
        from_asset(changed(ASSET, path, value))


def test_a_transform_without_numbers_is_no_grid():
    for number in (float("nan"), float("inf"), -float("inf")):
        (band,) = from_asset(changed(ASSET, ("bands", 0, "grid", "affineTransform", "scaleX"), number)).bands
        assert not band.has_own_grid


def test_json_that_is_nested_too_deeply_or_has_too_many_values_is_refused(monkeypatch):
    monkeypatch.setattr(metadata, "MOST_VALUES", 10_000)
    for content, kind in ((b"[" * 5_000 + b"]" * 5_000, Transient), (b"[" + b"0," * 10_001 + b"0]", TooHeavy)):
        with serving(answer(content)) as (connection, _), pytest.raises(kind):
            metadata._call.__wrapped__(connection, "GET", "projects/p/assets/x")


def listing(connection):
    return list(
        list_images(connection, "projects/p/assets/c", start=date(2020, 1, 1), end=date(2021, 1, 1), region=None)
    )


@pytest.mark.parametrize("content", [{"assets": 7}, {"assets": [7]}, {"assets": {"a": 1}}, {"assets": [{}]}])
def test_a_page_of_something_else_is_a_typed_error(content):
    with serving(answer(json.dumps(content).encode())) as (connection, _), pytest.raises(Transient):
        listing(connection)


def test_a_listing_has_an_end(monkeypatch):
    monkeypatch.setattr(metadata, "MOST_PAGES", 5)
    page = answer(json.dumps({"assets": [ASSET], "nextPageToken": "again"}).encode())
    with serving(page) as (connection, server):
        with pytest.raises(Rejected, match="more than 5 pages"):
            listing(connection)
        assert len(server.seen) == 5


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(monkeypatch):
    monkeypatch.setattr(metadata, "MOST_VALUES", 900)

    def reply(sock, head, body):
        size = int(head.split(b"pageSize=")[1].split(b"&")[0])
        sock.sendall(answer(json.dumps({"assets": [ASSET] * size}).encode()))

    with serving(reply) as (connection, server):
        assert len(listing(connection)) == 31
        assert len(server.seen) == 6


def test_an_asset_that_is_none_is_named(connection):
    with serving(answer(b'{"type":"IMAGE"}')) as (elsewhere, _), pytest.raises(EarthEngineError, match="not an asset"):
        get_asset(elsewhere, "projects/p/assets/x")


@pytest.mark.parametrize("content", [{}, {"result": 7}, {"result": [7]}, {"result": [COMPUTED] * 1000}])
def test_a_computed_listing_of_something_else_is_a_typed_error(connection, content):
    from tasks.earthengine.connection import ensure_client

    ensure_client(connection)
    collection = ee.ImageCollection("projects/p/assets/c")
    with serving(answer(json.dumps(content).encode())) as (elsewhere, _), pytest.raises(Transient):
        list(list_computed(elsewhere, collection))
