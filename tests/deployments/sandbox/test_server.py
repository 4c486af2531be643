"""The server over real sockets: routes, strictness, pixels, compression, and the process around it."""

from __future__ import annotations

import gzip
import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from deployments.sandbox.__main__ import main
from deployments.sandbox.process import running
from deployments.sandbox.raster import Asset, Grid, Pixels
from deployments.sandbox.refusal import Refusal

ASSET = "/v1/projects/earthengine-public/assets/TEST/image"
PIXELS = ASSET + ":getPixels"
COMPUTE = "/v1/projects/p/image:computePixels"
MODIS = "MODIS/061/MOD13Q1"
SHEARED = Affine(30, 4, 500_013, -6, -20, 4_000_017)
Truth = Callable[[str], tuple[NDArray[np.float64], NDArray[np.float32]]]


def grid(transform: Affine, width: int, height: int, crs: str = "EPSG:32633") -> dict[str, Any]:
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    return {
        "dimensions": {"width": width, "height": height},
        "affineTransform": dict(zip(names, transform[:6], strict=True)),
        "crsCode": crs,
    }


def expression(asset: str = "TEST/image", function: str = "Image.load") -> dict[str, Any]:
    call = {"functionName": function, "arguments": {"id": {"constantValue": asset}}}
    return {"result": "0", "values": {"0": {"functionInvocationValue": call}}}


def array(response: requests.Response) -> NDArray[Any]:
    assert response.status_code == 200, response.text
    loaded: NDArray[Any] = np.load(io.BytesIO(response.content))
    return loaded


def refusal(response: requests.Response, status: int) -> str:
    """Return the message of a refusal, after a look at its shape."""
    assert response.headers["content-type"].startswith("application/json")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, status)
    names = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}
    assert error["status"] == names[status]
    return str(error["message"])


# Pixels ------------------------------------------------------------------------------------------------------


def test_native_pixels_are_the_stored_ones(server: Any, truth: Truth) -> None:
    whole = array(server.post(PIXELS, {"fileFormat": "NPY"}))
    assert whole.shape == (37, 53)
    assert set(whole.dtype.names or ()) == {"u1", "u2", "u4", "i1", "i2", "i4", "i8", "f4", "f8"}
    for name in whole.dtype.names or ():
        values, mask = truth(name)
        np.testing.assert_array_equal(whole[name], np.where(mask > 0, values, 0))


def test_a_window_is_the_slice_of_the_whole_and_outside_is_zero(server: Any, truth: Truth) -> None:
    window = grid(SHEARED @ Affine.translation(45, 30), 13, 11)
    part = array(server.post(PIXELS, {"fileFormat": "NPY", "bandIds": ["i2", "u1"], "grid": window}))
    assert part.dtype.names == ("i2", "u1")  # in the order asked for
    for name in part.dtype.names:
        values, mask = truth(name)
        expected = np.zeros((11, 13))
        expected[:7, :8] = np.where(mask > 0, values, 0)[30:, 45:]
        np.testing.assert_array_equal(part[name], expected)


def test_formats_agree_on_pixels(server: Any, truth: Truth) -> None:
    window = grid(SHEARED @ Affine.translation(3, 2), 17, 9)
    values, mask = (part[2:11, 3:20] for part in truth("i2"))
    answer = server.post(PIXELS, {"fileFormat": "GEO_TIFF", "bandIds": ["i2"], "grid": window})
    with MemoryFile(answer.content) as file, file.open() as dataset:
        np.testing.assert_array_equal(dataset.read(1, masked=True).mask, mask == 0)
        np.testing.assert_array_equal(dataset.read(1, masked=True).filled(0), np.where(mask > 0, values, 0))
        assert dataset.transform == SHEARED @ Affine.translation(3, 2)
        assert dataset.crs == rasterio.CRS.from_epsg(32633)
    options = {"ranges": [{"min": -255, "max": 255}]}
    for how, kind in (("PNG", "png"), ("JPEG", "jpeg"), ("AUTO_JPEG_PNG", "png")):
        body = {"fileFormat": how, "bandIds": ["i2"], "grid": window, "visualizationOptions": options}
        assert server.post(PIXELS, body).headers["content-type"] == f"image/{kind}"


def test_computed_pixels_equal_stored_ones(server: Any) -> None:
    window = grid(SHEARED @ Affine.translation(45, 30), 13, 11)
    body = {"fileFormat": "NPY", "bandIds": ["i2", "f8"], "grid": window}
    stored, computed = server.post(PIXELS, body), server.post(COMPUTE, body | {"expression": expression()})
    assert stored.content == computed.content


def test_a_remembered_expression_sees_a_changed_catalogue(serve: Callable[..., Any]) -> None:
    server = serve()
    body = {"fileFormat": "NPY", "bandIds": ["u2"], "expression": expression()}
    first = array(server.post(COMPUTE, body))
    catalogue = server.catalogue
    old = catalogue.get
    catalogue.updated += timedelta(seconds=1)

    def more(asset: Asset) -> Asset:
        def read(grid: Grid) -> Pixels:
            held = u2.read(grid)
            return Pixels(held.values + 1, held.mask)

        assert asset.image is not None
        u2 = next(band for band in asset.image.bands if band.id == "u2")
        return replace(asset, image=replace(asset.image, bands=(replace(u2, read=read),)))

    catalogue.get = lambda name: more(old(name))
    second = array(server.post(COMPUTE, body))
    np.testing.assert_array_equal(second["u2"], np.where(first["u2"] > 0, first["u2"] + 1, 0))


def test_a_value_is_computed(server: Any) -> None:
    call = {
        "functionName": "Number.add",
        "arguments": {"left": {"constantValue": 3}, "right": {"constantValue": 4.5}},
    }
    body = {"expression": {"result": "0", "values": {"0": {"functionInvocationValue": call}}}}
    answer = server.post("/v1/projects/p/value:compute", body)
    assert answer.json() == {"result": 7.5}
    names = {"functionName": "Image.bandNames", "arguments": {"image": expression()["values"]["0"]}}
    body = {"expression": {"result": "0", "values": {"0": {"functionInvocationValue": names}}}}
    assert server.post("/v1/projects/p/value:compute", body).json()["result"][:2] == ["u1", "u2"]


# Refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (PIXELS, {"encoding": "NPY"}, 400, 'Unknown name "encoding": Cannot find field.'),
        (
            PIXELS,
            {"bandIds": ["u1", "B9"]},
            400,
            "Image.select: Band pattern 'B9' did not match any bands. Available bands: [u1, u2, u4, ",
        ),
        (
            PIXELS,
            {"fileFormat": "NPY", "grid": grid(SHEARED, 40_818, 1)},
            400,
            "Pixel grid dimensions (40818x1) must be less than or equal to 32768.",
        ),
        (
            PIXELS,
            {"fileFormat": "NPY", "bandIds": ["f8"], "grid": grid(SHEARED, 4096, 2048)},
            400,
            "Total request size (75497472 bytes) must be less than or equal to 50331648 bytes.",
        ),
        (PIXELS, {"fileFormat": "TF_RECORD_IMAGE"}, 400, "only image exports"),
        (PIXELS, {"fileFormat": "PNG"}, 400, "1 or 3 bands, not 9"),
        (ASSET + "_not:getPixels", {}, 404, "TEST/image_not' does not exist"),
        ("/v1/projects/earthengine-public/assets/TEST/many:getPixels", {}, 400, "is not an image"),
        (COMPUTE, {"fileFormat": "NPY"}, 400, "'result' and 'values'"),
        (COMPUTE, {"expression": expression(function="Image.loadFrom")}, 400, "Image.loadFrom"),
        ("/v1/projects/p/image:export", {}, 400, "Method projects.image.export is not supported by the sandbox."),
        ("/v1/projects/p/table:computeFeatures", {}, 400, "projects.table.computeFeatures"),
        ("/v1/projects/p/maps", {}, 400, "projects.maps.create"),
        ("/v1/projects/p/thumbnails", {}, 400, "projects.thumbnails.create"),
        ("/v1/projects/p/assets", {}, 400, "projects.assets.create"),
        (ASSET + ":getIamPolicy", {}, 400, "projects.assets.getIamPolicy"),
        ("/v1/projects/p/image:nothing", {}, 404, "Method not found: POST /v1/projects/p/image:nothing"),
        ("/v1alpha/projects/p/image:computePixels", {}, 404, "Method not found"),
    ],
)
def test_refusals_name_what_is_wrong(server: Any, path: str, body: Any, status: int, message: str) -> None:
    assert message in refusal(server.post(path, body), status)


def test_other_verbs_are_refused_by_name(server: Any) -> None:
    assert "projects.assets.delete" in refusal(server.session.delete(server.url + ASSET, timeout=20), 400)
    assert "projects.assets.listFeatures" in refusal(server.get(ASSET + ":listFeatures"), 400)
    assert "operations/X' not found" in refusal(server.get("/v1/projects/p/operations/X"), 404)
    assert "Method not found" in refusal(server.get("/v2"), 404)


def test_a_payload_over_ten_megabytes_is_refused(server: Any) -> None:
    limit = 10_485_760
    for size, status in ((limit, 200), (limit + 1, 400)):
        body = json.dumps({"fileFormat": "NPY", "bandIds": ["u1"]}).encode().ljust(size)
        answer = server.session.post(server.url + PIXELS, data=body, timeout=60)
        assert answer.status_code == status
    assert refusal(answer, 400) == f"Request payload size exceeds the limit: {limit} bytes."


def test_a_fault_of_our_own_is_an_answer(serve: Callable[..., Any]) -> None:
    server = serve()

    def broken(name: str) -> Any:
        raise ZeroDivisionError(name)

    server.catalogue.get = broken
    answer = server.get(ASSET)
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "Internal error encountered. The reason is in the sandbox's log."


# Metadata ----------------------------------------------------------------------------------------------------


def test_asset_and_listing_agree(server: Any) -> None:
    asset = server.get(ASSET).json()
    assert asset["bands"][1]["grid"] == {
        "crsCode": "EPSG:32633",
        "dimensions": {"width": 53, "height": 37},
        "affineTransform": {
            "scaleX": 30,
            "shearX": 4,
            "translateX": 500013,
            "shearY": -6,
            "scaleY": -20,
            "translateY": 4000017,
        },
    }
    many = "/v1/projects/earthengine-public/assets/TEST/many"
    whole = server.get(many + ":listAssets").json()["assets"]
    assert len(whole) == 7
    assert whole[2] == server.get(f"{many}/2023_03").json()
    assert server.get(many + ":listImages", view="BASIC", pageSize=2).json()["images"][1]["name"] == whole[1]["name"]
    found = server.get(many + ":listImages", filter='properties.SENSOR="B"', startTime="2023-04-30T00:00:00Z")
    assert [image["properties"]["system:index"] for image in found.json()["images"]] == ["2023_04", "2023_06"]
    assert "Invalid filter" in refusal(server.get(many + ":listAssets", filter="SENSOR >"), 400)
    assert "does not exist" in refusal(server.get(ASSET + "s:listAssets"), 404)
    assert server.get("/v1/projects/sandbox:listAssets").json()["assets"][0]["id"] == "projects/sandbox/assets/image"


def test_documents_are_served(server: Any) -> None:
    document = server.get("/$discovery/rest", version="v1").json()
    assert document["version"] == "v1"
    assert document["rootUrl"] == server.url + "/"
    assert "v1alpha" not in json.dumps(document)
    assert len(server.get("/v1/projects/p/algorithms").json()["algorithms"]) > 900
    assert server.get("/v1/projects/p/config").json() == {"name": "projects/p/config"}
    assert server.get("/v1/projects/p/operations").json() == {}
    assert "v1alpha" in refusal(server.get("/$discovery/rest", version="v1alpha"), 404)


def test_compression_is_for_those_who_accept_it(server: Any) -> None:
    body = {"fileFormat": "NPY", "bandIds": ["u2"]}
    packed = server.post(PIXELS, body)
    plain = server.post(PIXELS, body, **{"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) == len(plain.content)
    small = server.post(PIXELS, body | {"grid": grid(SHEARED, 3, 2)})
    assert "content-encoding" not in small.headers
    raw = server.session.get(server.url + "/v1/projects/p/algorithms", stream=True, timeout=20)
    assert len(json.loads(gzip.decompress(raw.raw.read()))["algorithms"]) > 900


# The process -------------------------------------------------------------------------------------------------


def test_the_process_serves_and_ends() -> None:
    with running(max_concurrent=5, seed=3, gzip=False, until="2020-01-20", changed=f"{MODIS}/2020_01_01") as url:
        assert url.startswith("http://127.0.0.1:")
        knobs = requests.get(url + "/sandbox/knobs", timeout=20).json()
        assert (knobs["max_concurrent"], knobs["seed"], knobs["gzip"], knobs["qps"]) == (5, 3, False, None)
        parent = f"{url}/v1/projects/earthengine-public/assets/{MODIS}"
        listed = requests.get(parent + ":listAssets", timeout=20).json()["assets"]
        assert [image["startTime"][:10] for image in listed] == ["2020-01-01", "2020-01-17"]
        assert listed[0]["updateTime"] > listed[1]["updateTime"]
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=20)


def test_a_knob_that_does_not_exist_is_refused_before_anything_starts() -> None:
    with pytest.raises(Refusal, match="no knob 'max_concurent'"), running(max_concurent=3):
        pass


def sandbox(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.sandbox", *arguments]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)


def test_bad_arguments_are_told_in_one_line(tmp_path: Any, capsys: Any) -> None:
    for arguments, message in (
        (["--p-500", "2"], "Knob 'p_500' cannot be 2.0"),
        (["--until", "soon"], "Knob 'until' cannot be 'soon'"),
        (["--changed", f"{MODIS}/none"], f"Knob 'changed' cannot be '{MODIS}/none'"),
        (["--max-concurrent", "many"], "invalid int value: 'many'"),
        (["--scenes", str(tmp_path / "none")], "there is no such folder"),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = sandbox("--port", str(port))
        assert ended.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr.splitlines()[-1]


def test_who_listens_to_others_is_warned() -> None:
    for host, warnings in (("127.0.0.1", 0), ("0.0.0.0", 1)):
        ended = sandbox("--port=0", "--until-eof", f"--host={host}")
        assert ended.returncode == 0
        assert "http://" in ended.stdout
        assert [f"{host} port " in line and "without credentials" in line for line in ended.stderr.splitlines()] == (
            [True] * warnings
        )


def test_the_process_ends_with_its_parent() -> None:
    """Its parent's end closes its standard input."""
    command = [sys.executable, "-m", "deployments.sandbox", "--port=0", "--until-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(60) == 0
