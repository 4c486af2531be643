"""The process in which GDAL and Arrow read the files of users. `tasks.raster.reader_process` starts it and asks it.

A file from outside can make these libraries crash, hang, take all memory, or read other files and hosts. In a process
of their own, they have only the drivers of `DRIVERS`, no network, and limits of memory and time that grow with the
file.
"""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors.input import InputError
from tasks.raster.geojson import one_line
from tasks.raster.layers import read_layers
from tasks.raster.staging import staged

if TYPE_CHECKING:
    import geopandas

DRIVERS = frozenset(
    {
        *("ESRI Shapefile", "FlatGeobuf", "GML", "GPKG", "GPX", "KML", "LIBKML", "MapInfo File", "OpenFileGDB"),
        *("ESRIJSON", "SQLite", "TopoJSON"),
    }
)
"""The drivers of GDAL that read files of users: none of them takes addresses for files."""
_UNKNOWN = "not recognized as being in a supported file format"  # GDAL then advises how to choose a driver
IDLE = 20.0
"""Seconds without a request after which the process ends."""
MEMORY, MEMORY_OF_BYTE = 400 << 20, 16
"""Bytes of memory for reading, and more for each byte of the file."""
CPU, CPU_OF_BYTE = 3.0, 1 / 2**20
"""Seconds of computing for reading, and more for each byte of the file. A megabyte takes 0.05 s."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A file to read."""

    file: Path
    """Path as the user gave it, for messages."""
    cwd: str
    """Folder in which a relative path begins."""
    folder: Path
    """An empty folder, see `tasks.raster.staging.staged`."""
    size: int
    """Bytes of the file. With a zip, of what it unpacks to."""
    what: str
    parquet: bool
    layer: str
    fitting: Collection[str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a request."""

    frame: geopandas.GeoDataFrame | None = None
    """The features. None = the file has no geometries."""
    notes: tuple[str, ...] = ()
    """Lines for the log."""
    error: str = ""
    """Why the file cannot be read, as its library has it."""
    refused: InputError | None = None


def _restrict() -> None:
    """Leave GDAL only the allowed drivers.

    Raises:
        RuntimeError: It has others.
    """
    import pyogrio

    skipped = set(pyogrio.list_drivers()) - DRIVERS
    pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(skipped))})
    pyogrio._ogr._register_drivers()  # noqa: SLF001 - drivers are skipped when they are registered, at import or here
    if left := set(pyogrio.list_drivers()) - DRIVERS:
        raise RuntimeError(f"GDAL has drivers that were to be skipped: {', '.join(sorted(left))}")


def _limit(size: int) -> None:
    """Limit the memory and the seconds of computing to what a file of this size may need."""
    _set_limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + CPU + CPU_OF_BYTE * size))
    with contextlib.suppress(OSError):  # macOS has neither this file nor the limit
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _set_limit(resource.RLIMIT_AS, used + MEMORY + MEMORY_OF_BYTE * size)


def _set_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):  # what the system does not limit
        resource.setrlimit(kind, (soft, hard))


def _read_parquet(file: Path) -> Any:
    import geopandas
    import pyarrow.parquet as pq

    if b"geo" not in (pq.read_metadata(file).metadata or {}):
        return None
    frame = geopandas.read_parquet(file, to_pandas_kwargs={"integer_object_nulls": True})
    # An index is a property, unless it is of numbers without a name, which only count rows.
    counts = frame.index.names == [None] and frame.index.dtype.kind in "iu"
    return frame.reset_index(drop=counts, allow_duplicates=True)


def answer(request: Request) -> Answer:
    """Read a file. Whatever fails is in the answer."""
    notes: list[str] = []
    try:
        with contextlib.chdir(request.cwd):
            if request.parquet:
                (path,) = staged(request.file, request.folder, what=request.what)
                return Answer(frame=_read_parquet(path))
            frame = read_layers(
                request.file,
                request.folder,
                what=request.what,
                layer=request.layer,
                fitting=request.fitting,
                note=notes.append,
            )
            return Answer(frame=frame, notes=tuple(notes))
    except InputError as error:
        return Answer(refused=error)
    except MemoryError:
        return Answer(error="it needs too much memory for its size")
    except Exception as error:  # noqa: BLE001 - each reader has its own errors, with the same meaning for the user
        text = one_line(error).replace(f"{request.folder}/", "")
        return Answer(error="its content has none of the formats that are read" if _UNKNOWN in text else text)


def main() -> None:
    """Answer requests until there are none, or the other side is gone."""
    import pyogrio  # noqa: F401 - with geopandas and Arrow, before memory is limited

    _restrict()
    _set_limit(resource.RLIMIT_CORE, 0)
    with Connection(int(sys.argv[1])) as connection, contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while connection.poll(IDLE):
            request = connection.recv()
            _limit(request.size)
            connection.send(answer(request))
