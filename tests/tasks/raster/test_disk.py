"""A disk that is full, at whatever byte: GDAL's errors are those of the disk, and no file is cut off in silence."""

import errno
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError

from tasks.raster.cog import MosaicTile, write_mosaic
from tasks.raster.disk import check_whole, disk_errors
from tasks.raster.raster import Raster
from tasks.raster.window import Window

SIDE = 512
GRID = GeoBox((SIDE, SIDE), Affine(30, 0, 0, 0, -30, 0), "EPSG:32622")
LIMITS = 24


def mosaic(folder):
    """A mosaic of noise with a mask."""
    values = np.random.default_rng(1).integers(0, 60_000, (1, SIDE, SIDE)).astype("uint16")
    raster = Raster(values=values, valid=values > 1000, bands=("B1",), geobox=GRID)
    return write_mosaic(
        [MosaicTile(window=Window.of(GRID.shape), source=lambda: raster)], GRID, folder / "m.tif", bands=["B1"]
    )


def outcomes(places):
    """Make a mosaic in each place; return its bytes, or the number of the disk's error."""
    for folder in places:
        try:
            yield mosaic(folder).read_bytes()
        except OSError as error:
            assert list(folder.iterdir()) == []
            yield error.errno


def check(found, whole, number):
    """First it does not fit, then it does."""
    found = list(found)
    failed = list(itertools.takewhile(lambda each: not isinstance(each, bytes), found))
    assert set(failed) == {number}
    assert set(found[len(failed) :]) == {whole}


LIMITED = f"""
import resource, signal, sys
from pathlib import Path
from tests.tasks.raster.test_disk import check, mosaic, outcomes

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
whole = mosaic(folder).read_bytes()
(folder / "m.tif").unlink()

def places():
    for part in range(1, {LIMITS} + 8):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) * part // {LIMITS}, resource.RLIM_INFINITY))
        yield folder
        (folder / "m.tif").unlink(missing_ok=True)

check(outcomes(places()), whole, int(sys.argv[2]))
"""


def test_a_file_that_may_not_grow_further_is_named_as_such_at_whatever_byte(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(errno.EFBIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_named_as_such_at_whatever_byte(tmp_path):
    whole = mosaic(tmp_path).read_bytes()
    disk = tmp_path / "disk"
    disk.mkdir()

    def places():
        for part in range(1, LIMITS + 8):
            size = 2 * len(whole) * part // LIMITS  # the plain copy and the compressed one are there at once
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk]
            if (mounted := subprocess.run(mount, check=False, capture_output=True)).returncode:
                pytest.skip(f"only a user who may mount has a disk to fill: {mounted.stderr.decode().strip()}")
            try:
                yield disk
            finally:
                subprocess.run(["umount", "--lazy", disk], check=True)

    check(outcomes(places()), whole, errno.ENOSPC)


@pytest.mark.parametrize("options", [{}, {"BIGTIFF": "YES"}, {"compress": "zstd"}, {"driver": "COG"}], ids=str)
def test_a_geotiff_is_whole_or_it_is_cut_off(tmp_path, options):
    path = tmp_path / "f.tif"
    values = np.random.default_rng(1).integers(0, 255, (2, 700, 700)).astype("uint8")
    profile = {"driver": "GTiff", "width": 700, "height": 700, "count": 2, "dtype": "uint8", "tiled": True} | options
    profile |= {"crs": f"EPSG:{GRID.crs.epsg}", "transform": GRID.affine}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    check_whole(path)
    size = path.stat().st_size
    for left in (size - 100, size - 5000, size // 2, 100, 7, 0):
        os.truncate(path, left)
        with pytest.raises(RasterioIOError, match=r"f\.tif is cut off"):
            check_whole(path)


def test_a_folder_that_is_deleted_meanwhile_and_what_is_no_error_of_the_disk(tmp_path):
    with pytest.raises(RasterioIOError, match="a word of GDAL"), disk_errors(tmp_path):
        raise RasterioIOError("a word of GDAL")
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path / "gone"):
        raise RasterioIOError("a word of GDAL")
    with pytest.raises(KeyError), disk_errors(tmp_path):
        raise KeyError("of the code")
