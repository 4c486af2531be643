"""What is simulated: the real products' grids, the real samples' landscape, clouds where they are said to be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import Point, box

from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.derived import COLLECTIONS, landsat
from deployments.sandbox.derived.clouds import Sky
from deployments.sandbox.raster import SINUSOIDAL_PROJ, Asset, Band, Grid, Pixels
from deployments.sandbox.scenes import SAMPLES, open_catalogue

S2, MODIS = "COPERNICUS/S2_SR_HARMONIZED", "MODIS/061/MOD13Q1"
L8, L9, SRTM = "LANDSAT/LC08/C02/T1_L2", "LANDSAT/LC09/C02/T1_L2", "USGS/SRTMGL1_003"

# Over both granules and the slanted edge: fields, forest, a bay of the reservoir.
PLACE = Grid(crs="EPSG:32721", transform=Affine(30, 0, 736005, 0, -30, 7206015), width=420, height=380)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return open_catalogue()


def band(asset: Asset, name: str) -> Band:
    assert asset.image is not None
    return next(b for b in asset.image.bands if b.id == name)


def read(asset: Asset, name: str, grid: Grid = PLACE) -> Pixels:
    return band(asset, name).read(grid)


def real(name: str) -> NDArray[np.float64]:
    """A band of the real Landsat 8 sample at the place, as reflectance; rasterio reads it."""
    with rasterio.open(SAMPLES / "landsat8_224078_20200518.tif") as dataset:
        left, top = ~dataset.transform @ (736005, 7206015 - 1e7)
        rows, cols = (round(top), round(top) + 380), (round(left), round(left) + 420)
        index = dataset.descriptions.index(name) + 1
        numbers = np.asarray(dataset.read(index, window=(rows, cols)), np.float64)
    return numbers * 2e-5 - 0.1


def test_every_asset_says_that_it_is_simulated(catalogue: Catalogue) -> None:
    for name in COLLECTIONS:
        top = catalogue.get(name)
        assets = (top,) if top.type == "IMAGE" else (top, *catalogue.children(name))
        for asset in assets:
            assert asset.properties["simulated"] == 1
            assert "Landsat" in asset.properties["simulated_from"]
            assert asset.name == f"projects/earthengine-public/assets/{asset.id}"
            assert asset.start_time is not None
            assert asset.end_time is not None
            if asset.type == "IMAGE":
                assert asset.image is not None
                assert asset.image.properties["simulated"] == 1
                assert asset.image.properties["system:index"] == asset.id.split("/")[-1]
                assert catalogue.get(asset.id) is asset


def test_modis_has_the_grid_and_the_dates_of_the_real_product(catalogue: Catalogue) -> None:
    images = catalogue.children(MODIS)
    days = [image.start_time for image in images]
    expected = [datetime(y, 1, 1, tzinfo=UTC) + timedelta(days=16 * n) for y in (2020, 2021) for n in range(23)]
    assert days == expected
    assert images[3].id == f"{MODIS}/2020_02_18"
    assert images[3].end_time == datetime(2020, 3, 5, tzinfo=UTC)
    ndvi = band(images[0], "NDVI")
    assert ndvi.projection.crs == "SR-ORG:6974"
    assert ndvi.dimensions == (172800, 86400)
    # A tile of 10 degrees is 4,800 pixels: the corner of h13v11 is the pixel (13 * 4800, 11 * 4800).
    corner = ndvi.projection.transform @ (13 * 4800, 11 * 4800)
    assert corner == pytest.approx((-20015109.354 + 13 * 1111950.5197, 10007554.677 - 11 * 1111950.5197), abs=0.01)


def around(lon: float, lat: float, asset: Asset, name: str, size: int = 120) -> Pixels:
    transform = band(asset, name).projection.transform
    x, y = Transformer.from_crs("EPSG:4326", SINUSOIDAL_PROJ, always_xy=True).transform(lon, lat)
    col, row = ~transform @ (x, y)
    corner = transform @ Affine.translation(int(col) - size // 2, int(row) - size // 2)
    return read(asset, name, Grid(crs="SR-ORG:6974", transform=corner, width=size, height=size))


def test_seasons_are_opposite_on_both_hemispheres(catalogue: Catalogue) -> None:
    images = catalogue.children(MODIS)

    def mean(year: int, month: int, lon: float, lat: float) -> float:
        image = next(i for i in images if i.start_time and i.start_time > datetime(year, month, 9, tzinfo=UTC))
        pixels = around(lon, lat, image, "NDVI")
        assert 0.01 < (pixels.mask > 0).mean() < 0.9  # only the footprint of the sample
        return float(pixels.values[pixels.mask > 0].mean()) / 10000

    paraguay, carolina = (-54.62, -25.18), (-78.69, 35.75)
    for year in (2020, 2021):
        assert mean(year, 2, *paraguay) > mean(year, 8, *paraguay) + 0.03
        assert mean(year, 1, *carolina) < mean(year, 7, *carolina) - 0.03
    assert mean(2020, 2, *paraguay) != mean(2021, 2, *paraguay)


def test_modis_pixels_without_a_clear_day_are_flagged_or_masked(catalogue: Catalogue) -> None:
    flags, counts = set(), set()
    for image in catalogue.children(MODIS)[::3]:
        quality, ndvi = (around(-54.62, -25.18, image, name) for name in ("SummaryQA", "NDVI"))
        np.testing.assert_array_equal(quality.mask, ndvi.mask)
        valid = ndvi.mask > 0
        flags |= set(np.unique(quality.values[valid]).tolist())
        counts.add(int(valid.sum()))
        red, near = (around(-54.62, -25.18, image, f"sur_refl_b0{n}").values / 1e4 for n in (1, 2))
        clear, cloudy = valid & (quality.values == 0), valid & (quality.values == 3)
        expected = np.maximum((near[clear] - red[clear]) / (near[clear] + red[clear]), -0.2)
        np.testing.assert_allclose(ndvi.values[clear] / 1e4, expected, atol=0.01)
        if cloudy.sum() > 20:
            assert red[cloudy].mean() > 2 * red[clear].mean()
    assert flags == {0, 1, 3}
    assert len(counts) > 1


def test_outside_the_samples_nothing_is_served(catalogue: Catalogue) -> None:
    sea = Grid(crs="EPSG:4326", transform=Affine(0.5, 0, -30, 0, -0.5, 0), width=40, height=20)
    for name in (f"{MODIS}/2020_05_08", SRTM):
        asset = catalogue.get(name)
        assert asset.image is not None
        assert asset.image.bands[0].read(sea).mask.max() == 0


def test_two_granules_a_date_overlap_and_agree(catalogue: Catalogue) -> None:
    images = catalogue.children(S2)
    days: dict[object, list[Asset]] = {}
    for image in images:
        assert image.start_time is not None
        days.setdefault(image.start_time.date(), []).append(image)
    assert len(days) >= 8
    overlap = Grid(crs="EPSG:32721", transform=Affine(10, 0, 736000, 0, -10, 7199000), width=300, height=500)
    for south, north in list(days.values())[::4]:
        assert (south.properties["MGRS_TILE"], north.properties["MGRS_TILE"]) == ("21JYM", "21JYN")
        assert south.geometry is not None
        assert south.geometry.intersects(north.geometry)
        for name in ("B4", "SCL"):
            one, other = read(south, name, overlap), read(north, name, overlap)
            np.testing.assert_array_equal(one.mask, other.mask)
            valid = one.mask > 0
            np.testing.assert_array_equal(one.values[valid], other.values[valid])
            assert valid.mean() > 0.5
        far = Grid(crs="EPSG:32721", transform=Affine(10, 0, 736000, 0, -10, 7188000), width=30, height=20)
        assert read(north, "B4", far).mask.max() == 0
        assert read(south, "B4", far).mask.min() == 1


def test_the_grids_of_sentinel_2_bands(catalogue: Catalogue) -> None:
    image = catalogue.get(f"{S2}/20200518T134211_20200518T134209_T21JYM")
    for name, metres in (("B2", 10), ("B8", 10), ("B11", 20), ("SCL", 20)):
        projection = band(image, name).projection
        assert projection.crs == "EPSG:32721"
        assert projection.transform == Affine(metres, 0, 699960, 0, -metres, 7200040)
        assert band(image, name).dimensions == (109800 // metres, 109800 // metres)
    assert band(image, "SCL").pyramiding == "SAMPLE"


def test_derived_collections_have_all_bands_of_the_real_ones(catalogue: Catalogue) -> None:
    """In the order of Google's pages of the datasets."""
    optical = [
        "B1",
        "B2",
        "B3",
        "B4",
        "B5",
        "B6",
        "B7",
        "B8",
        "B8A",
        "B9",
        "B11",
        "B12",
        "AOT",
        "WVP",
        "SCL",
        "TCI_R",
        "TCI_G",
        "TCI_B",
    ]
    masks = [
        "MSK_CLDPRB",
        "MSK_SNWPRB",
        "QA10",
        "QA20",
        "QA60",
        "MSK_CLASSI_OPAQUE",
        "MSK_CLASSI_CIRRUS",
        "MSK_CLASSI_SNOW_ICE",
    ]
    thermal = ["ST_B10", "ST_ATRAN", "ST_CDIST", "ST_DRAD", "ST_EMIS", "ST_EMSD", "ST_QA", "ST_TRAD", "ST_URAD"]
    landsat8 = [*(f"SR_B{n}" for n in range(1, 8)), "SR_QA_AEROSOL", *thermal, "QA_PIXEL", "QA_RADSAT"]
    expected = {S2: optical + masks, L8: landsat8, L9: landsat8}
    for collection, names in expected.items():
        for asset in catalogue.children(collection):
            assert asset.image is not None
            assert [b.id for b in asset.image.bands] == names
    for asset in (catalogue.children(S2)[0], catalogue.children(L8)[14]):
        assert asset.image is not None
        for each in asset.image.bands:
            pixels = each.read(PLACE)
            assert pixels.values.dtype == each.type.numpy, each.id
            assert pixels.mask.max() == 1, each.id


def test_cloud_bands_of_sentinel_2_agree_with_its_classes(catalogue: Catalogue) -> None:
    """On the pixels of 60 m that all of them have."""
    grid = Grid(crs="EPSG:32721", transform=Affine(60, 0, 736020, 0, -60, 7206040), width=150, height=150)
    for asset in catalogue.children(S2)[4:8]:
        found = {
            name: read(asset, name, grid) for name in ("QA60", "MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS", "B1", "B9")
        }
        valid = found["QA60"].mask > 0
        bits = found["QA60"].values
        assert set(np.unique(bits[valid])) <= {0, 1024, 2048}
        np.testing.assert_array_equal((bits == 1024)[valid], found["MSK_CLASSI_OPAQUE"].values[valid] == 1)
        np.testing.assert_array_equal((bits == 2048)[valid], found["MSK_CLASSI_CIRRUS"].values[valid] == 1)
        if valid.any() and (bits[valid] == 1024).any() and (bits[valid] == 0).any():
            blue = found["B1"].values
            assert blue[valid & (bits == 1024)].mean() > 2 * blue[valid & (bits == 0)].mean()


def test_surface_temperature_is_in_kelvin_and_colder_in_clouds(catalogue: Catalogue) -> None:
    for asset in catalogue.children(L8)[14:18]:
        numbers, quality = read(asset, "ST_B10"), read(asset, "QA_PIXEL")
        kelvin = numbers.values * 0.00341802 + 149
        valid = numbers.mask > 0
        clear, cloudy = valid & (quality.values == landsat.CLEAR), valid & (quality.values == landsat.CLOUDY)
        assert 285 < kelvin[clear].mean() < 312
        if cloudy.any():
            assert kelvin[cloudy].mean() < kelvin[clear].mean() - 10


def test_clouds_are_bright_move_and_are_in_their_classes(catalogue: Catalogue) -> None:
    seen, covers = [], []
    for image in catalogue.children(S2)[1::2]:
        blue, classes = read(image, "B2"), read(image, "SCL")
        valid = (blue.mask > 0) & (classes.mask > 0)
        cloudy = valid & (classes.values == 9)
        land = valid & np.isin(classes.values, (4, 5))
        shadow = valid & (classes.values == 3)
        covers.append((image.properties["CLOUDY_PIXEL_PERCENTAGE"], cloudy.sum()))
        seen.append(cloudy)
        if cloudy.sum() > 100 and land.sum() > 100:
            assert np.percentile(blue.values[cloudy], 5) > np.percentile(blue.values[land], 95)
        if shadow.sum() > 100 and land.sum() > 100:
            near = read(image, "B8").values
            assert np.median(near[shadow]) < np.median(near[land])
    assert len({mask.tobytes() for mask in seen}) > 5
    assert max(covers)[1] > 10 * max(1, min(covers)[1])
    assert min(cover for cover, _ in covers) < 5
    assert max(cover for cover, _ in covers) > 50


def test_a_masked_median_shows_the_real_landscape(catalogue: Catalogue) -> None:
    """Without clouds, what is left looks like the real picture: fields, forest, water."""
    stack = {"B2": [], "B3": [], "B4": [], "B8": []}  # type: dict[str, list[NDArray[np.float64]]]
    for image in catalogue.children(S2)[:12]:
        classes = read(image, "SCL")
        clear = (classes.mask > 0) & ~np.isin(classes.values, (3, 8, 9, 10))
        for name, layers in stack.items():
            pixels = read(image, name)
            layers.append(np.where(clear & (pixels.mask > 0), pixels.values / 1e4, np.nan))
    held = np.isfinite(stack["B2"]).any(axis=0)
    assert held.mean() > 0.9
    median = {name: np.nanmedian(np.array(layers)[:, held], axis=0) for name, layers in stack.items()}
    for name in ("B2", "B3", "B4"):
        truth = real(name)[held]
        good = truth > -0.05
        assert np.corrcoef(truth[good], median[name][good])[0, 1] > 0.9
    index = (median["B8"] - median["B4"]) / (median["B8"] + median["B4"])
    blue, red = real("B2")[held], real("B4")[held]
    water, forest = (blue - red > 0.034) & (red > 0), (red > 0) & (red < 0.023) & (blue - red < 0.029)
    assert min(water.sum(), forest.sum()) > 1000
    assert np.median(index[water]) < 0
    assert np.median(index[forest]) > 0.7


def test_landsat_on_the_day_of_the_sample_is_the_sample(catalogue: Catalogue) -> None:
    """Its own grid, no clouds: surface reflectance is the real picture, without haze, in Landsat's numbers."""
    image = catalogue.get(f"{L8}/LC08_224078_20200518")
    with rasterio.open(SAMPLES / "landsat8_224078_20200518.tif") as dataset:
        assert band(image, "SR_B2").projection.transform == dataset.transform
        assert band(image, "SR_B2").dimensions == (dataset.width, dataset.height)
        grid = Grid(crs="EPSG:32621", transform=dataset.transform, width=520, height=990)
        numbers, mask = dataset.read(3), dataset.read_masks(3)
    red = read(image, "SR_B4", grid)
    np.testing.assert_array_equal(red.mask, mask / 255)
    valid = mask > 0
    expected = np.maximum(numbers[valid] * 2e-5 - 0.1 - 0.002, 0.002)
    np.testing.assert_allclose(red.values[valid] * 2.75e-05 - 0.2, expected, atol=2e-5)
    assert set(np.unique(read(image, "QA_PIXEL", grid).values[valid])) == {21824, 21952}
    assert image.properties["CLOUD_COVER"] == 0


@pytest.mark.parametrize(("name", "days"), [(L8, 14), (L9, 8)])
def test_quality_bits_of_landsat_mark_what_is_not_clear(catalogue: Catalogue, name: str, days: int) -> None:
    images = catalogue.children(name)
    assert {image.properties["WRS_ROW"] for image in images} == {77, 78}
    assert len({image.start_time.date() for image in images if image.start_time}) == days
    clear_sky = catalogue.get(f"{L8}/LC08_224078_20200518")
    base = read(clear_sky, "SR_B2").values.astype(float)
    clouded = 0
    for image in images:
        if image.properties["WRS_ROW"] == 78:
            blue, flags = read(image, "SR_B2"), read(image, "QA_PIXEL").values
            valid = blue.mask > 0
            bad = (flags & 0b11111) > 0  # fill, dilated, cirrus, cloud, shadow
            changed = np.abs(blue.values - base) * 2.75e-05 > 0.02  # seasons move blue by less
            assert not (valid & changed & ~bad).any()
            clouded += int((valid & ((flags & 0b1000) > 0)).any())
    assert clouded > days // 2


def test_terrain_is_flat_on_the_water_and_higher_around_it(catalogue: Catalogue) -> None:
    asset = catalogue.get(SRTM)
    elevation = band(asset, "elevation")
    assert elevation.type.numpy == np.dtype("<i2")
    second = elevation.projection.transform.a
    assert second == pytest.approx(1 / 3600)
    pixels = read(asset, "elevation")
    blue, red = real("B2"), real("B4")
    valid = (pixels.mask > 0) & (red > -0.05)
    water, land = valid & (blue - red > 0.034), valid & (red > 0.03)
    assert np.median(pixels.values[water]) == 219
    assert (pixels.values[water] <= 225).mean() > 0.9
    assert np.percentile(pixels.values[land], 10) > 225
    assert pixels.values[land].std() > 5


def test_footprints_hold_what_is_valid(catalogue: Catalogue) -> None:
    # At this scale a pixel is a block of 640 m or 480 m, and valid where any part of it is.
    for asset in (*catalogue.children(S2)[:2], *catalogue.children(L8)[:1]):
        assert asset.geometry is not None
        assert asset.geometry.within(box(-55, -26, -54, -25))
        name = asset.image.bands[0].id if asset.image else ""
        grid = Grid(crs="EPSG:4326", transform=Affine(0.011, 0, -54.9, 0, -0.013, -25.0), width=50, height=50)
        valid = np.argwhere(read(asset, name, grid).mask > 0)
        assert len(valid) > 10
        for row, col in valid:
            assert asset.geometry.buffer(0.007).contains(Point(*(grid.transform @ (col + 0.5, row + 0.5))))


def test_what_is_derived_is_the_same_in_any_order(catalogue: Catalogue) -> None:
    image = catalogue.get(f"{S2}/20200418T134211_20200418T134209_T21JYM")
    loads = [band(image, name).read.func.__self__.load for name in ("B8", "B11")]  # type: ignore[attr-defined] # of functools.partial
    window = (3600, 20, 3700, 90)
    first = [load(window).values for load in loads]
    again = [load(window).values for load in reversed(loads)][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    part = loads[0]((3620, 30, 3650, 80)).values
    np.testing.assert_array_equal(part, first[0][10:60, 20:50])


def test_a_sky_covers_what_it_is_told_to() -> None:
    bounds = (0.0, 0.0, 20000.0, 40000.0)
    x, y = np.linspace(0, 20000, 90), np.linspace(0, 40000, 170)[:, None]
    for cover in (0.0, 0.1, 0.5):
        opacity = Sky(day=date(2020, 6, 7), cover=cover, bounds=bounds).opacity(x, y)
        assert opacity.shape == (170, 90)
        assert (opacity > 0).mean() == pytest.approx(cover, abs=0.03)
    one, other = (Sky(day=date(2020, 6, d), cover=0.5, bounds=bounds).opacity(x, y) for d in (7, 8))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.9


def test_the_missions_are_eight_days_apart() -> None:
    eight, nine = landsat.MISSIONS
    assert (date(2020, 5, 18) - eight.first).days % 16 == 0
    assert (nine.first - eight.first).days % 16 == 8
