"""Answers with pixels and metadata, as a server or a network may break them: what the tile fetcher reads."""

from __future__ import annotations

import functools
import gzip
import io
import json
import math
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from tasks.earthengine.connection import Connection
from tasks.earthengine.deadlines import Deadlines
from tasks.earthengine.image_info import from_asset, from_value
from tasks.earthengine.transport import PixelRequest, fetch
from tasks.extraction.tile_file import assemble, decode, encode
from tasks.plan.choices import FileFormat
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import RegionTiles
from tasks.raster.crs import crs_of
from tasks.raster.stitch import Piece
from tasks.raster.tiling import Tiling
from tasks.raster.window import Window
from tests.fuzz.fuzzed import Fuzzed

SIDE, BANDS = 48, ("a", "b", "c")
BOX = GeoBox((SIDE, SIDE), Affine(30, 0, 500_010, 0, -30, 4_000_020), crs_of("EPSG:32633"))
NUMBERS = (0, 1, 2, 7, 8, 16, 255, 256, 32_767, 65_535, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
STOPPED = Deadlines(connect_s=2, read_s=2, computing_s=0)


@functools.lru_cache
def plan(wire: FileFormat) -> Plan:
    """Return a plan of one tile whose answers have this format."""
    stored: dict[str, Any] = {"NPY": {}, "GEO_TIFF": {"masks": "nodata"}}.get(wire, {"visualization": "{}"})
    kept: FileFormat = "GEO_TIFF" if wire == "NPY" else wire
    sent = (*BANDS, "valid_0") if wire == "NPY" else BANDS
    source = Source(
        name="image",
        expression='{"result":"0","values":{"0":{"constantValue":1}}}',
        version="unpinned",
        wire=wire,
        wire_bands=sent,
        wire_dtypes=("int16",) * len(sent),
    )
    return Plan(
        name="region",
        sources=(source,),
        tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(BOX, SIDE)),
        bands=tuple(Band(id=name, dtype="int16") for name in BANDS),
        tile_format=TileFormat(file_format=kept, **stored),
    )


def read_pixels(made: tuple[FileFormat, bytes]) -> object:
    """Decode, assemble, measure and encode an answer as the tile fetcher does."""
    wire, data = made
    a_plan = plan(wire)
    pixels = decode(a_plan, 0, data)
    whole = assemble(a_plan, 0, [Piece(window=Window.of(a_plan.grid(0).shape), content=pixels)])
    with encode(a_plan, 0, "0" * 64, whole) as file:
        return [len(each) for _, each in file.objects]


# Answers that are whole --------------------------------------------------------------------------------------------


def npy(choose: random.Random) -> bytes:
    """Return a whole answer in NPY."""
    kind = choose.choice(["<i2", "<u1", "<f4", "<f8", "<i8", ">i2", "<u4"])
    array = np.zeros((SIDE, SIDE), [(name, kind) for name in BANDS] + [("valid_0", "u1")])
    noise = np.random.default_rng(choose.randrange(2**32))
    for name in BANDS:
        array[name] = noise.integers(0, 100, array.shape)
    array["valid_0"] = choose.choice([0, 7, 255, 5])
    with io.BytesIO() as file:
        np.lib.format.write_array(file, array, version=choose.choice([(1, 0), (2, 0), (3, 0)]))
        return file.getvalue()


def geotiff(choose: random.Random) -> bytes:
    """Return a whole answer in GeoTIFF."""
    dtype = choose.choice(["int16", "float32", "float64", "uint8"])
    options: dict[str, Any] = {"interleave": choose.choice(["band", "pixel"]), "compress": choose.choice(CODECS)}
    if choose.random() < 0.5:
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 32}
    options |= choose.choice([{}, {}, {"bigtiff": "YES"}, {"endianness": "BIG"}])
    noise = np.random.default_rng(choose.randrange(2**32)).integers(0, 100, (len(BANDS), SIDE, SIDE)).astype(dtype)
    size = {"width": SIDE, "height": SIDE, "count": len(BANDS), "dtype": dtype}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            crs=CRS.from_epsg(32633),
            transform=BOX.affine,
            nodata=choose.choice([None, 5]),
            **size,
            **options,
        ) as file:
            file.write(noise)
            if choose.random() < 0.3:
                file.write_mask(noise[0] > 50)
            if choose.random() < 0.3:
                file.descriptions = BANDS
        return bytes(memory.getbuffer())


CODECS = ("none", "lzw", "deflate", "packbits", "zstd", "lzma")


def picture(choose: random.Random, wire: str) -> bytes:
    """Return a whole answer in PNG or JPEG."""
    noise = np.random.default_rng(choose.randrange(2**32)).integers(0, 255, (SIDE, SIDE, 3), dtype="uint8")
    with io.BytesIO() as file:
        Image.fromarray(noise).save(file, wire)
        return file.getvalue()


# How they are broken -----------------------------------------------------------------------------------------------


def broken(choose: random.Random, data: bytes, head: int = 400) -> bytes:
    """Return bytes with a few changes, most of them where the headers are."""
    made = bytearray(data)
    for _ in range(choose.choice([0, 1, 1, 1, 2, 3, 8, 40])):
        end = min(len(made), head) if choose.random() < 0.8 else len(made)
        at = choose.randrange(max(1, end))
        match choose.randrange(8):
            case 0:
                made[at : at + 1] = bytes([choose.randrange(256)])
            case 1 | 2:  # a number of 16 or 32 bits
                width, order = choose.choice([2, 4, 4, 8]), choose.choice(["little", "little", "big"])
                number = choose.choice(NUMBERS) % 2 ** (8 * width)
                made[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]  # two literals
            case 3:
                del made[at : at + choose.choice([1, 2, 12, 100])]
            case 4:
                made[at:at] = bytes(choose.randrange(256) for _ in range(choose.choice([1, 4, 12])))
            case 5:  # a part again: a tag, a chunk, a digit
                width = choose.choice([1, 12, 20, 64])
                made[at:at] = made[at : at + width] * choose.choice([1, 1, 3, 200])
            case 6:  # a part elsewhere: a directory that points at another
                other, width = choose.randrange(max(1, end)), choose.choice([2, 4, 12])
                made[at : at + width] = made[other : other + width]
            case _:
                made = made[: choose.randrange(len(made) + 1)] if choose.random() < 0.2 else made
    return bytes(made)


def broken_npy(choose: random.Random, folder: Path) -> tuple[FileFormat, bytes]:
    """Return an answer in NPY with changes in its bytes, or another header."""
    data = npy(choose)
    if choose.random() < 0.5:
        return "NPY", broken(choose, data, head=140)
    kinds = ["<i2", "<i8", "O", "V0", "|S100000000", "<c16", "U9", "<M8[ns]", "f2", "?", "<f16", 7, None, ["<i2"]]
    fields: list[Any] = [(name, choose.choice(["<i2", "<i2", choose.choice(kinds)])) for name in (*BANDS, "valid_0")]
    if choose.random() < 0.2:
        fields[0] = ("a", "<i2", choose.choice([(2,), (10**9,), (10**6, 10**6), -1]))
    shape = choose.choice(
        [
            (SIDE, SIDE),
            (SIDE, SIDE),
            (SIDE,),
            (),
            (-1, SIDE),
            (10**12, 10**12),
            (SIDE, 10**400),
            (0, 0),
            ("48", 48),
            [48, 48],
        ]
    )
    descr: Any = choose.choice(
        [fields, fields, fields, "<i2", "O", {"names": BANDS}, (fields, (3,)), "[" * 90 + "]" * 90]
    )
    text = f"{{'descr': {descr}, 'fortran_order': {choose.choice(FLAGS)}, 'shape': {shape}, }}"
    text = choose.choice([text, text, text, text * 2, text[:-3], "(" * 300 + text, "-" * 2_000 + "1", f"{text}\0"])
    head = broken(choose, text.encode()) if choose.random() < 0.2 else text.encode()
    version = choose.choice([1, 1, 2, 3, 4, 255])
    size = len(head) if choose.random() < 0.9 else choose.choice(NUMBERS)
    size %= 2 ** (16 if version == 1 else 32)
    return "NPY", b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(2 if version == 1 else 4, "little") + head + data[
        -8_000:
    ]


FLAGS = (False, False, False, True, None, 1)


def broken_geotiff(choose: random.Random, folder: Path) -> tuple[FileFormat, bytes]:
    """Return an answer in GeoTIFF with changes in its bytes, most of them in its directories."""
    data = geotiff(choose)
    if choose.random() < 0.3:
        return "GEO_TIFF", broken(choose, data)
    made = bytearray(data)
    for _ in range(choose.choice([1, 1, 2, 3])):
        _break_tag(choose, made)
    return "GEO_TIFF", bytes(made)


def _break_tag(choose: random.Random, made: bytearray) -> None:
    """Change the type, the count or the value of one tag, or where the next directory is."""
    order: Any = "little" if made[:2] == b"II" else "big"
    big = int.from_bytes(made[2:4], order) == 43
    offset, wide, entry = (8, 8, 20) if big else (4, 2, 12)
    first = int.from_bytes(made[8:16] if big else made[4:8], order)
    count = int.from_bytes(made[first : first + wide], order)
    if not 0 < count < 100:
        return
    end = first + wide + count * entry
    if choose.random() < 0.1:
        made[end : end + offset] = choose.choice([first, end, 8, 16, len(made) - 4]).to_bytes(offset, order)
        return
    at = first + wide + choose.randrange(count) * entry
    number = choose.choice([*NUMBERS, len(made), first, len(made) - 8]) % 2**32
    match choose.randrange(4):
        case 0:
            tags = (254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 330, 338, 339, 347, 42113)
            made[at : at + 2] = choose.choice(tags).to_bytes(2, order)
        case 1:
            made[at + 2 : at + 4] = choose.choice([1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 18, 99]).to_bytes(2, order)
        case 2:
            made[at + 4 : at + 4 + offset] = number.to_bytes(offset, order)
        case _:
            made[at + 2 : at + 4] = (4).to_bytes(2, order)
            made[at + 4 + offset : at + 8 + offset] = number.to_bytes(4, order)


def broken_picture(choose: random.Random, folder: Path) -> tuple[FileFormat, bytes]:
    """Return an answer in PNG or JPEG with changes in its bytes, and often the end of a whole one."""
    wire: FileFormat = choose.choice(["PNG", "JPEG"])
    data = picture(choose, wire)
    return wire, broken(choose, data[:-12], head=choose.choice([40, 700])) + data[-12:]


# HTTP --------------------------------------------------------------------------------------------------------------


def broken_http(choose: random.Random, folder: Path) -> bytes:
    """Return what a server sends before it closes the connection."""
    body = npy(choose)
    status = choose.choice(
        ["200 OK"] * 5 + ["400 Bad Request", "429 Slow", "503 Away", "302 Found", "100 Continue", "999 X"]
    )
    if not status.startswith("200"):
        error = {
            "code": 400,
            "message": choose.choice(TEXTS) * choose.choice([1, 1, 20_000]),
            "details": [{"reason": 7}],
        }
        body = choose.choice(
            [json.dumps({"error": error}).encode(), b"[" * 100_000, b"<html>" * 9_000, b"\xff\xfe" * 50]
        )
    head = [f"HTTP/1.1 {status}"]
    match choose.randrange(6):
        case 0:
            body = gzip.compress(body)
            head.append("Content-Encoding: gzip")
        case 1:
            body = gzip.compress(bytes(choose.choice([10**6, 10**8])), 1)
            head.append("Content-Encoding: gzip")
        case 2:
            head.append(f"Content-Encoding: {choose.choice(['br', 'deflate', 'gzip, gzip', 'GZIP', ''])}")
        case _:
            pass
    if choose.random() < 0.4:
        size = choose.choice([1, 2, 1_000, len(body)])
        parts = [body[at : at + size] for at in range(0, min(len(body), 20_000 * size), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        head.append("Transfer-Encoding: chunked")
    if choose.random() < 0.8:
        head.append(f"Content-Length: {choose.choice([len(body)] * 3 + [0, 10**12, -1, '1' * 5_000, 'x', '5, 6'])}")
    if choose.random() < 0.3:
        head.append(
            f"Retry-After: {choose.choice(['1e400', 'nan', '-5', 'Mon, 99 Foo 20 +99999999999999', 'x' * 60_000])}"
        )
    data = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    return broken(choose, data, head=200) if choose.random() < 0.6 else data


TEXTS = (
    "daily ",
    "permission ",
    "-----BEGIN ",
    "user memory limit exceeded ",
    "https://a?b=c ",
    "\ud83d\ude00",
    "\x1b[31m",
    "'\"",
)


def read_http(data: bytes) -> object:
    """Read what a server sends as an answer with pixels, and then as metadata."""
    request = PixelRequest(asset=None, body=b'{"fileFormat":"NPY"}', largest=1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, data), daemon=True).start()
        connection = Connection(project="my-project", endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        return len(fetch(connection, request, deadlines=STOPPED).body)


def _serve(server: socket.socket, data: bytes) -> None:
    try:
        client, _ = server.accept()
        with client:
            client.settimeout(5)
            client.recv(65_536)
            client.sendall(data)
    except OSError:
        pass


# Metadata ----------------------------------------------------------------------------------------------------------

_GRID = {
    "dimensions": {"width": 9, "height": 9},
    "crsCode": "EPSG:32633",
    "affineTransform": {"scaleX": 1, "scaleY": -1},
}
_RANGE = {"precision": "INT", "range": {"min": 0, "max": 255}}
ASSET: dict[str, Any] = {
    "type": "IMAGE",
    "name": "projects/p/assets/x",
    "id": "projects/p/assets/x",
    "updateTime": "2020-01-01T00:00:00Z",
    "startTime": "2020-01-01T00:00:00Z",
    "properties": {"a": 1, "b": "c"},
    "geometry": {"type": "Point", "coordinates": [0, 0]},
    "bands": [{"id": "B1", "dataType": _RANGE, "grid": _GRID}],
}
VALUE: dict[str, Any] = {
    "type": "Image",
    "id": "x",
    "properties": {"system:time_start": 1.6e12, "system:index": "x"},
    "bands": [
        {
            "id": "B1",
            "data_type": {"type": "PixelType", "precision": "int", "min": 0, "max": 255},
            "crs": "EPSG:32633",
            "crs_transform": [30, 0, 0, 0, -30, 0],
            "dimensions": [9, 9],
            "origin": [1, 1],
        }
    ],
}


def broken_metadata(choose: random.Random, folder: Path) -> tuple[Callable[[Any], object], Any]:
    """Return the JSON of an asset or of a computed image with other values in some places."""
    read, value = choose.choice([(from_asset, ASSET), (_image, VALUE)])
    made = json.loads(json.dumps(value))
    for _ in range(choose.choice([1, 1, 2, 5])):
        _break_value(choose, made)
    return read, made


def _image(value: Any) -> object:
    try:
        return from_value(value)
    except TypeError:  # the documented error for what is no image
        return None


def _break_value(choose: random.Random, value: Any) -> None:
    places = [(value, key) for key in value]
    for container, key in places:  # grows meanwhile: all places of all levels
        inner = container[key]
        if len(places) < 5_000:
            places.extend((inner, each) for each in _keys(inner))
    container, key = choose.choice(places)
    deep: Any = []
    for _ in range(choose.choice([3, 20, 900])):
        deep = [deep]
    other = [
        None,
        True,
        0,
        -1,
        1.5,
        10**12,
        10**400,
        math.nan,
        math.inf,
        "",
        "x",
        "NaN",
        "9" * 5_000,
        [],
        {},
        [7],
        {"a": 7},
        deep,
    ]
    match choose.randrange(4):
        case 0 if isinstance(container, dict):
            del container[key]
        case 1 if isinstance(container, list) and len(container) < 100:
            container.extend(container * choose.choice([1, 1_000]))
        case _:
            container[key] = choose.choice(other)


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


def read_metadata(made: tuple[Callable[[Any], object], Any]) -> object:
    """Read metadata from JSON values."""
    read, value = made
    return read(value)


KINDS = {
    "npy": Fuzzed(broken_npy, read_pixels),
    "geotiff": Fuzzed(broken_geotiff, read_pixels),
    "picture": Fuzzed(broken_picture, read_pixels),
    "answer": Fuzzed(broken_http, read_http),
    "metadata": Fuzzed(broken_metadata, read_metadata),
}
