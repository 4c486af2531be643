"""Laws of the size of answers: every file that Earth Engine may send for a request fits, and little more does."""

import io

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.io import MemoryFile

from tasks.plan.answer_size import MAX_REQUEST_BYTES, largest_answer
from tests.tasks.extraction.test_tile_fetcher import plan

SHAPES = [(1, 1), (16, 3000), (700, 513)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_npy_file_of_the_request_fits(shape):
    names = [f"a_rather_long_name_of_a_band_{i}" for i in range(5)]
    with io.BytesIO() as file:
        np.save(file, np.zeros(shape, [(name, "<f8") for name in names]))
        assert file.tell() <= largest_answer("NPY", shape, 5) <= MAX_REQUEST_BYTES + (1 << 20)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{"compress": "lzw"}, {"compress": "deflate"}, {"tiled": True, "blockxsize": 512}])
@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_every_geotiff_of_noise_fits(shape, options, interleave):
    noise = np.random.default_rng(0).random((3, *shape))
    options = {"blockysize": 512} | options if "tiled" in options else options
    with MemoryFile() as memory:
        size = {"count": 3, "height": shape[0], "width": shape[1], "dtype": "float64", "transform": Affine.scale(2)}
        with memory.open(driver="GTiff", interleave=interleave, **size, **options) as file:
            file.write(noise)
        assert len(memory.getbuffer()) <= largest_answer("GEO_TIFF", shape, 3) <= 2.1 * MAX_REQUEST_BYTES


@pytest.mark.parametrize("shape", SHAPES)
def test_every_picture_of_noise_fits(shape):
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype="uint8")
    for wire, options in (("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0})):
        with io.BytesIO() as file:
            Image.fromarray(noise).save(file, wire, **options)
            assert file.tell() <= largest_answer(wire, shape, 3)


def test_a_request_has_the_size_of_its_own_part():
    a_plan = plan()
    whole, part = a_plan.request(0), a_plan.request(0, a_plan.grid(5))
    assert whole.largest == largest_answer("NPY", (16, 16), 3)
    assert part.largest == largest_answer("NPY", (8, 8), 3) < whole.largest
