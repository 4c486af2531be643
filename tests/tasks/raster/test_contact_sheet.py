"""Pictures are for people: what is asserted is their size, their labels' order and what can't be drawn wrong."""

import io
from datetime import UTC, datetime
from math import inf, nan

import numpy as np
import pytest
from PIL import Image

from tasks.raster.contact_sheet import contact_sheet, shown_bands
from tasks.raster.series_plot import SeriesPoint, plot_series


@pytest.mark.parametrize(
    ("bands", "shown"),
    [
        (["B2", "B3", "B4", "B8"], ["B4", "B3", "B2"]),
        (["SR_B2", "SR_B3", "SR_B4"], ["SR_B4", "SR_B3", "SR_B2"]),
        (["x", "y", "z", "w"], ["x", "y", "z"]),
        (["NDVI", "EVI"], ["NDVI"]),
    ],
)
def test_natural_colour_is_shown_where_bands_are_known(bands, shown):
    assert shown_bands(bands) == shown


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_every_picture_is_on_the_sheet_once_in_its_proportions(count):
    colours = [(10 * n + 5, 0, 200) for n in range(count)]
    pictures = [(str(n), Image.new("RGBA", (20, 10), colour)) for n, colour in enumerate(colours)]
    sheet = Image.open(io.BytesIO(contact_sheet(pictures, cell=80)))
    pixels = np.asarray(sheet.convert("RGB"))
    for colour in colours:
        ys, xs = np.nonzero((pixels == colour).all(axis=-1))
        assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (80, 40)
        assert len(xs) == 80 * 40


def test_a_long_label_stays_above_its_own_picture():
    pictures = [(label, Image.new("RGB", (80, 80))) for label in ("a very long name\nof a point " * 9, "")]
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(pictures, cell=80))).convert("L"))
    width = 80 + 6
    rows, columns = np.nonzero(sheet[:14] < 128)
    assert rows.size
    assert columns.max() < width


def test_a_series_is_drawn_with_gaps_where_nothing_is_valid():
    points = [
        SeriesPoint(time=datetime(2020, 1, day, tzinfo=UTC), band=band, valid_share=share, mean=mean)
        for day, share, mean in [
            (1, 1.0, 5.0),
            (17, 0.0, None),
            (18, 1.0, inf),
            (19, 1.0, -inf),
            (20, 1.0, nan),
            (30, None, 7.0),
        ]
        for band in ("NDVI", "EVI")
    ]
    drawn = Image.open(io.BytesIO(plot_series(points, title="2020")))
    assert drawn.size == (900, 500)
    assert len(drawn.convert("RGB").getcolors(10**6)) > 50
