"""Files that a user names: they reach no host, no other file, and never hang or take the memory of the run."""

import json
import os
import re
import signal
import socket
import sqlite3
import threading
import zipfile
from pathlib import Path

import geopandas
import pyogrio
import pytest
import shapely

from tasks.errors.input import InputError
from tasks.raster import reader_process, staging, user_file
from tasks.raster.file_reader import DRIVERS
from tasks.raster.points import read_points
from tasks.raster.region import read_region

SECRET = "51.5"  # a coordinate that only the secret file has
SECRET_GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"n": "s3cr3t"}, "geometry": {"type": "Point", "coordinates": [51.5, 51.5]}}
    ],
}


class Host:
    """A port that notes who connects."""

    def __init__(self) -> None:
        self.contacts = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.contacts += 1
            connection.recv(1 << 16)
            body = json.dumps(SECRET_GEOJSON).encode()
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            connection.close()


@pytest.fixture
def host():
    host = Host()
    yield host
    host.socket.close()
    assert host.contacts == 0


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "secret.geojson"
    path.write_text(json.dumps(SECRET_GEOJSON))
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


def vrt(source: object, *, more: str = "") -> str:
    layer = f"<OGRVRTLayer name='secret'><SrcDataSource{more}>{source}</SrcDataSource></OGRVRTLayer>"
    return f"<OGRVRTDataSource>{layer}</OGRVRTDataSource>"


KML = "<kml xmlns='http://www.opengis.net/kml/2.2'><Document>{}</Document></kml>"
PLACE = "<Placemark><name>{}</name><Point><coordinates>1,2</coordinates></Point></Placemark>"
GML = (
    "<ogr:FeatureCollection xmlns:ogr='http://ogr.maptools.org/' xmlns:gml='http://www.opengis.net/gml' "
    "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:xlink='http://www.w3.org/1999/xlink' {}>{}"
    "<gml:featureMember><ogr:p><ogr:g><gml:Point srsName='EPSG:4326'><gml:pos>2 1</gml:pos></gml:Point></ogr:g>"
    "</ogr:p></gml:featureMember></ogr:FeatureCollection>"
)
TEXTS = {
    "vrt": lambda _, path: vrt(path),
    "vrt-url": lambda url, _: vrt(f"{url}/a.geojson"),
    "vrt-curl": lambda url, _: vrt(f"/vsicurl/{url}/a.geojson"),
    "vrt-in-kml": lambda _, path: KML.format(f"<!-- {vrt(path)} -->" + PLACE.format("a")),
    "vrt-before-kml": lambda _, path: f"<!-- {vrt(path)} -->" + KML.format(PLACE.format("a")),
    "wfs": lambda url, _: f"<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>",
    "oapif": lambda url, _: f"<OGROAPIFDataSource><URL>{url}/oapif</URL></OGROAPIFDataSource>",
    "oapif-json": lambda url, _: json.dumps({"links": [{"rel": "data", "href": f"{url}/collections"}]}),
    "gdalg": lambda _, path: json.dumps(
        {"type": "gdal_streamed_alg", "command_line": f"gdal vector pipeline ! read {path} ! write a"}
    ),
    "crs-link": lambda url, _: json.dumps(
        SECRET_GEOJSON | {"crs": {"type": "link", "properties": {"href": f"{url}/crs", "type": "proj4"}}}
    ),
    "crs-url": lambda url, _: json.dumps(
        SECRET_GEOJSON | {"crs": {"type": "name", "properties": {"name": f"{url}/crs"}}}
    ),
    "crs-file": lambda _, path: json.dumps(
        SECRET_GEOJSON | {"crs": {"type": "name", "properties": {"name": f"+init={path}:1 +type=crs"}}}
    ),
    "esrijson": lambda url, _: json.dumps(
        {
            "geometryType": "esriGeometryPoint",
            "spatialReference": {"wkt": f"{url}/crs", "href": f"{url}/crs"},
            "exceededTransferLimit": True,
            "features": [{"attributes": {}, "geometry": {"x": 1, "y": 2}}],
        }
    ),
    "topojson": lambda url, _: json.dumps(
        {
            "type": "Topology",
            "crs": {"type": "link", "properties": {"href": f"{url}/crs"}},
            "objects": {"a": {"type": "Point", "coordinates": [1, 2], "href": f"{url}/a"}},
            "arcs": [],
        }
    ),
    "kml-link": lambda url, _: KML.format(
        f"<NetworkLink><Link><href>{url}/a.kml</href></Link></NetworkLink>" + PLACE.format("a")
    ),
    "kml-link-file": lambda _, path: KML.format(f"<NetworkLink><Link><href>{path}</href></Link></NetworkLink>"),
    "kml-entity": lambda url, path: (
        f"<!DOCTYPE k [<!ENTITY a SYSTEM 'file://{path}'><!ENTITY b SYSTEM '{url}/b'>]>"
        + KML.format(PLACE.format("&a;&b;"))
    ),
    "kml-dtd": lambda url, _: f"<!DOCTYPE k SYSTEM '{url}/k.dtd'>" + KML.format(PLACE.format("a")),
    "gpx-entity": lambda url, path: (
        f"<!DOCTYPE k [<!ENTITY a SYSTEM 'file://{path}'><!ENTITY b SYSTEM '{url}/b'>]><gpx version='1.1'>"
        "<wpt lat='2' lon='1'><name>&a;&b;</name></wpt></gpx>"
    ),
    "gml-schema": lambda url, _: GML.format(f"xsi:schemaLocation='http://a {url}/a.xsd'", ""),
    "gml-stream": lambda url, _: GML.format(
        f"xsi:schemaLocation='http://a /vsicurl_streaming/{url}/a.xsd http://b /vsicurl/{url}/b.xsd'", ""
    ),
    "gml-xlink": lambda url, _: GML.format("", f"<gml:featureMember xlink:href='{url}/a.gml#x'/>"),
    "gml-crs": lambda url, _: GML.format("", "").replace("EPSG:4326", f"{url}/crs"),
    "wps": lambda url, _: f"<WFS_Capabilities version='2.0.0'><Get xlink:href='{url}/wfs'/></WFS_Capabilities>",
    "csw": lambda url, _: f"<OGRCSWDataSource><URL>{url}/csw</URL></OGRCSWDataSource>",
    "path": lambda _, path: f"{path}",
    "curl-path": lambda url, _: f"/vsicurl/{url}/a.geojson",
}


def outcome(path: object, read=read_points) -> str:
    """What a reader made of a file: its features or its refusal, as text."""
    try:
        found = read(path)
    except InputError as error:
        return str(error)
    return found.to_json() if isinstance(found, geopandas.GeoDataFrame) else str(found)


def refusal(path: object, read=read_points) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", TEXTS)
def test_no_text_leads_to_a_host_or_another_file(kind, host, secret, folder):
    """Under any suffix and in a zip. The driver is taken by the content, so that a VRT may be called ``a.kml``."""
    text = TEXTS[kind](host.url, secret)
    for suffix in (".vrt", ".json", ".kml", ".gml.zip"):
        path = folder / f"a{suffix}"
        if suffix.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.gml", text)
        else:
            path.write_text(text)
        found = outcome(path)
        assert "s3cr3t" not in found, suffix
        assert SECRET not in found, suffix
        assert "pixel-quarry-" not in found, "the folder in which GDAL reads is not the user's matter"


@pytest.mark.parametrize(
    "path",
    [
        "/vsicurl/{url}/a.geojson",
        "/vsizip//vsicurl/{url}/a.zip",
        "/vsizip/{secret}",
        "{url}/a.geojson",
        "WFS:{url}/wfs",
        "OAPIF:{url}/oapif",
        "GeoJSON:{url}/a",
        "ESRIJSON:{url}/a",
        "GPKG:{secret}:a",
        "PG:host=127.0.0.1 port={port}",
        "MySQL:a,host=127.0.0.1,port={port}",
        "s3://bucket/a.gpkg",
        "zip+http://{url}/a.zip",
        "file://{secret}",
        vrt("{secret}"),
    ],
)
def test_an_address_is_no_path(path, host, secret):
    text = path.format(url=host.url, port=host.url.rpartition(":")[2], secret=secret)
    for read in (read_points, read_region):
        assert "s3cr3t" not in refusal(text, read)


def test_the_name_of_a_file_is_not_read_as_something_else(folder, secret):
    """pyogrio takes ``a!b`` for a file in an archive, and cuts a name at a semicolon."""
    place = geopandas.GeoDataFrame({"n": ["mine"]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326")
    place.to_file(folder / "plain.gpkg")
    for name in ("a!b.gpkg", "a;b.gpkg", "GPKG:a.gpkg:b", "a?b.gpkg", "a#b.gpkg", "a%2Fb.gpkg"):
        (folder / "plain.gpkg").rename(folder / name)
        assert read_points(folder / name)["n"].tolist() == ["mine"], name
        (folder / name).rename(folder / "plain.gpkg")


def database(path: Path, *statements: str) -> Path:
    """A GeoPackage with one point, and what the statements add."""
    geopandas.GeoDataFrame({"n": ["mine"]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326").to_file(path, layer="a")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = 1")
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


VIEWS = {
    "virtual": "INSERT INTO sqlite_master VALUES('table', 'v', 'v', 0, "
    "'CREATE VIRTUAL TABLE v USING VirtualOGR(''{0}'')')",
    "function": "CREATE VIEW v AS SELECT fid, gdal_get_pixel_value('{0}', 1, 'georef', 1, 2) AS n, geom FROM a",
    "extension": "CREATE VIEW v AS SELECT fid, load_extension('{0}') AS n, geom FROM a",
    "readfile": "CREATE VIEW v AS SELECT fid, readfile('{0}') AS n, geom FROM a",
    "blob": "CREATE VIEW v AS SELECT fid, BlobFromFile('{0}') AS n, geom FROM a",
}


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("suffix", [".gpkg", ".sqlite"])
def test_a_database_reads_no_other_file(kind, suffix, secret, folder, host):
    for source in (secret, f"/vsicurl/{host.url}/a.geojson"):
        path = folder / f"{Path(str(source)).stem}.gpkg"
        database(
            path,
            VIEWS[kind].format(str(source)),
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('v', 'features', 'v', 4326)",
            "INSERT INTO gpkg_geometry_columns VALUES ('v', 'geom', 'POINT', 4326, 0, 0)",
        )
        path = path.rename(path.with_suffix(suffix))
        for layer in ("", "v", "*"):
            found = outcome(path, lambda given, layer=layer: read_points(given, layer))
            assert "s3cr3t" not in found
            assert SECRET not in found


# What is no regular file -------------------------------------------------------------------------------------


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".geojson", ".gpkg", ".parquet", ".zip", ".gdb", ".shp", ""])
@pytest.mark.parametrize("read", [read_points, read_region])
def test_a_pipe_or_a_device_is_refused_and_does_not_wait(suffix, read, folder):
    device = folder / f"device{suffix}"
    device.symlink_to("/dev/zero")
    link = folder / f"link{suffix}"
    link.symlink_to(pipe(folder / f"pipe{suffix}"))
    for path in (folder / f"pipe{suffix}", link, device):
        assert "device, a pipe or a socket" in refusal(path, read)


@pytest.mark.parametrize("part", [".dbf", ".shx", ".prj", ".cpg", ".DBF"])
def test_the_files_beside_a_shapefile_are_checked_too(part, folder):
    geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326").to_file(folder / "a.shp")
    (folder / "a").with_suffix(part).unlink(missing_ok=True)
    pipe((folder / "a").with_suffix(part))
    assert "device, a pipe or a socket" in refusal(folder / "a.shp")


def test_a_folder_is_of_regular_files(folder, secret):
    geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326").to_file(folder / "a.shp")
    assert len(read_points(folder)) == 1
    pipe(folder / "b.dbf")
    assert "'b.dbf' in it is missing, or is a device" in refusal(folder)


def test_a_link_to_a_regular_file_is_read(folder):
    place = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326")
    place.to_file(folder / "a.gpkg")
    place.to_file(folder / "a.geojson")
    for suffix in (".gpkg", ".geojson"):
        (folder / f"b{suffix}").symlink_to(folder / f"a{suffix}")
        assert read_points(folder / f"b{suffix}")["n"].tolist() == [1]


def test_a_folder_of_another_format_is_refused(folder):
    for name in ("a.csv", "a.geojson", "a.parquet"):
        (folder / name).mkdir()
        assert outcome(folder / name).startswith("points = ")


def test_what_the_kernel_shows_as_files_is_empty(folder):
    for name in ("a.csv", "a.geojson", "a.gpkg"):
        (folder / name).symlink_to("/proc/self/environ")
        assert "PATH" not in refusal(folder / name)


@pytest.mark.parametrize(
    "crs",
    [
        "+init={0}:1 +type=crs",
        '+init="{0}:1"',
        "+proj=longlat +datum=WGS84 +nadgrids=@{0} +type=crs",
        "+proj=longlat +nadgrids={0}",
        '+proj=longlat +ellps=intl +nadgrids="{0}" +type=crs',
        (
            'GEOGCS["a",DATUM["b",SPHEROID["c",6378388,297],EXTENSION["PROJ4_GRIDS","{0}"]],'
            'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
        ),
    ],
)
def test_a_crs_names_no_file(crs, folder):
    """PROJ opens it, and a pipe would hang the run."""
    text = crs.format(pipe(folder / "grid"))
    given = {"type": "Point", "coordinates": [1, 2], "crs": {"type": "name", "properties": {"name": text}}}
    assert refusal(given).startswith("points.crs = ")
    assert "it names a file" in refusal([0, 0, 1, 1], lambda box: read_region(box, text))
    (folder / "a.geojson").write_text(json.dumps(given))
    assert refusal(folder / "a.geojson").startswith("points.crs = ")


LOCAL = (
    'PROJCS["a",GEOGCS["b",DATUM["c",SPHEROID["d",0.001,0]],PRIMEM["Greenwich",0],UNIT["degree",0.01745]],'
    'PROJECTION["Unknown_Projection"],UNIT["metre",1]]'
)


def test_a_crs_without_a_way_to_degrees_is_refused(folder):
    place = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.box(1, 2, 3, 4)], crs="EPSG:32633")
    place.to_file(folder / "a.shp")
    (folder / "a.prj").write_text(LOCAL)
    assert refusal(folder / "a.shp", read_region).partition(" = ")[0] in {"crs", "region"}
    place.set_geometry(place.centroid).to_file(folder / "a.shp")
    (folder / "a.prj").write_text(LOCAL)
    assert refusal(folder / "a.shp").partition(" = ")[0] in {"crs", "points"}


# Size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("a.gpkg", 512), ("a.shp", 512), ("a.parquet", 512), ("a.geojson", 256)])
def test_a_file_has_a_limit_of_size(name, limit, folder):
    (folder / name).touch()
    os.truncate(folder / name, (limit << 20) + (1 << 20))
    message = refusal(folder / name)
    assert f"it has {limit + 1} MB, and at most {limit} MB are read, because of memory" in message
    if limit == 256:
        assert f"at most {limit} MB" in refusal((folder / name).rename(folder / "a.csv"))


@pytest.mark.parametrize("name", ["a.zip", "a.kmz"])
def test_what_a_zip_unpacks_to_has_the_same_limit(name, folder):
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("a.kml", "")
        archive.writestr("readme.md", "")
        archive.infolist()[0].file_size, archive.infolist()[1].file_size = 513 << 20, 1 << 31
    assert "it has 513 MB, and at most 512 MB" in refusal(folder / name)


def test_a_zip_that_declares_less_than_it_holds_is_cut(folder, monkeypatch):
    monkeypatch.setattr(staging, "LIMIT", 1000)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("a.kml", bytes(5000))
        archive.infolist()[0].file_size = 10
    (folder / "stage").mkdir()
    with pytest.raises((InputError, zipfile.BadZipFile)):
        staging.staged(folder / "a.zip", folder / "stage", what="points")
    assert sum(path.stat().st_size for path in (folder / "stage").iterdir()) <= 1000


def test_a_zip_or_a_folder_of_many_files_is_refused(folder, monkeypatch):
    monkeypatch.setattr(staging, "ENTRIES", 2)
    monkeypatch.setattr(user_file, "ENTRIES", 2)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.kml", "")
    with pytest.raises(InputError, match="it holds more than 2 files"):
        staging.staged(folder / "a.zip", folder, what="points")
    for number in range(3):
        (folder / f"{number}.dbf").touch()
    assert "it holds more than 2 files" in refusal(folder)


def test_a_zip_is_unpacked_in_its_own_folder(folder, secret):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("../../../outside.kml", KML.format(PLACE.format("outside")))
        archive.writestr("/absolute.kml", KML.format(PLACE.format("absolute")))
        link = zipfile.ZipInfo("link.geojson")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(secret))
    (folder / "stage").mkdir()
    found = staging.staged(folder / "a.zip", folder / "stage", what="points")
    assert [path.relative_to(folder / "stage").as_posix() for path in found] == [
        "absolute.kml",
        "link.geojson",
        "outside.kml",
    ]
    assert (folder / "stage" / "link.geojson").read_text() == str(secret)
    assert not (folder / "stage" / "link.geojson").is_symlink()
    assert "s3cr3t" not in outcome(folder / "a.zip")


def test_json_that_is_nested_too_deeply_is_refused(folder):
    (folder / "a.geojson").write_text('{"type": "Feature", "a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    for read in (read_points, read_region):
        assert "nested too deeply" in refusal(folder / "a.geojson", read)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(folder / "a.geojson", "a.geojson")
    assert "points = " in refusal(folder / "a.zip")


# The process that reads --------------------------------------------------------------------------------------


def test_the_process_has_the_allowed_drivers_and_no_secret(folder, monkeypatch):
    monkeypatch.setenv("EARTH_ENGINE_SECRET", "s3cr3t")
    monkeypatch.setenv("OGR_SQLITE_LOAD_EXTENSIONS", "/tmp/a.so")
    monkeypatch.setattr(reader_process, "_PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(reader_process, "START", 0.2)
    reader_process._end()
    environments = []
    popen = reader_process.subprocess.Popen
    monkeypatch.setattr(
        reader_process.subprocess,
        "Popen",
        lambda *args, **more: environments.append(more["env"]) or popen(*args, **more),
    )
    (folder / "a.gpkg").touch()
    assert "it was not read" in refusal(folder / "a.gpkg")
    assert {"EARTH_ENGINE_SECRET", "OGR_SQLITE_LOAD_EXTENSIONS"}.isdisjoint(environments[0])
    assert {"GeoJSON", "OGR_VRT", "WFS", "HTTP", "CSV", "GDALG", "ADBC"}.isdisjoint(DRIVERS)


def test_a_process_that_hangs_or_dies_is_replaced(folder, monkeypatch):
    geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326").to_file(folder / "a.gpkg")
    assert len(read_points(folder / "a.gpkg")) == 1
    first = reader_process._reader.process
    os.kill(first.pid, signal.SIGSTOP)
    monkeypatch.setattr(reader_process, "WAIT", 0.2)
    assert "it was not read in 0 s" in refusal(folder / "a.gpkg")
    assert first.returncode == -signal.SIGKILL
    monkeypatch.undo()
    assert len(read_points(folder / "a.gpkg")) == 1
    reader_process._reader.process.kill()
    reader_process._reader.process.wait()
    assert len(read_points(folder / "a.gpkg")) == 1


def test_entities_that_grow_are_cut_off(folder):
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 12))
    text = f"<!DOCTYPE k [<!ENTITY e0 '0123456789'>{entities}]>" + KML.format(PLACE.format("&e11;"))
    for name in ("a.kml", "a.gml", "a.gpx"):
        (folder / name).write_text(text)
        assert refusal(folder / name).startswith("points = ")


def test_a_file_that_needs_too_much_memory_is_refused(folder):
    """A Parquet file of 100 kB that unpacks to 500 MB."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    geometry = shapely.Point(1, 2).wkb
    place = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326")
    place.to_parquet(folder / "a.parquet")
    geo = pq.read_schema(folder / "a.parquet").metadata
    rows = 1 << 18
    table = pa.table({"geometry": pa.array([geometry] * rows), "n": pa.array(["x" * 2000] * rows)})
    pq.write_table(table.replace_schema_metadata({b"geo": geo[b"geo"]}), folder / "a.parquet", compression="zstd")
    assert (folder / "a.parquet").stat().st_size < 1 << 20
    assert "memory" in refusal(folder / "a.parquet")
    place.to_parquet(folder / "a.parquet")
    assert len(read_points(folder / "a.parquet")) == 1


# Elsewhere ---------------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[3]


def test_nothing_else_opens_files_of_users():
    """pyogrio and the readers of geopandas are called in the process alone, and rasterio opens only GeoTIFF."""
    readers = {"layers.py", "file_reader.py"}
    opened = r'pyogrio|fiona|geopandas\.read_|rasterio\.open\((?!.*(driver=|"w"))'
    for path in [*(ROOT / "tasks").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        text = path.read_text()
        if path.name not in readers:
            assert not re.search(opened, text), path


def test_drivers_are_named_as_gdal_names_them():
    assert set(pyogrio.list_drivers()) >= DRIVERS
