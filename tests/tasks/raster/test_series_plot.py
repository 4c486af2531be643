"""Plots are for people: stated is that each band is in its own unit, and that odd numbers and names are drawn."""

import io
from datetime import UTC, datetime, timedelta
from math import inf, nan

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from tasks.raster import house_style, series_plot
from tasks.raster.colours import Quantity
from tasks.raster.house_style import Heading
from tasks.raster.series_plot import SeriesPoint, plot_series

START = datetime(2020, 1, 1, tzinfo=UTC)


def points_of(days, bands=("NDVI",), areas=(None,)):
    return [
        SeriesPoint(time=START + timedelta(days=day), band=band, valid_share=share, mean=mean, area=area, counted=1)
        for area in areas
        for day, share, mean in days
        for band in bands
    ]


def figure_of(monkeypatch, points, **more):
    """The figure of a plot."""
    kept = []
    encoded = house_style.encoded

    def keeping(figure, **given):
        kept.append(figure)
        return encoded(figure, **given)

    monkeypatch.setattr(series_plot.style, "encoded", keeping)
    plot_series(points, **({"heading": Heading("A title")} | more))
    return kept[0]


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_a_series_is_drawn_with_gaps_where_nothing_is_valid():
    days = [(0, 1.0, 5.0), (16, 0.0, None), (17, 1.0, inf), (18, 1.0, -inf), (19, 1.0, nan), (29, None, 7.0)]
    png = plot_series(points_of(days, ("NDVI", "EVI")), heading=Heading("2020"))
    drawn = Image.open(io.BytesIO(png))
    assert drawn.width < 760
    assert len(drawn.convert("RGB").getcolors(10**6)) > 50
    assert png == plot_series(points_of(days, ("NDVI", "EVI")), heading=Heading("2020"))
    assert set(drawn.info) <= {"dpi"}


def test_each_quantity_has_axes_of_its_own_in_its_unit(monkeypatch):
    quantities = {
        "NDVI": Quantity("vegetation index", "", 1e-4),
        "EVI": Quantity("vegetation index", "", 1e-4),
        "LST": Quantity("surface temperature", "K", 0.02, -1.0),
    }
    points = points_of([(0, 1.0, 5000.0), (9, 1.0, 6000.0)], ("NDVI", "LST", "EVI", "QA"))
    index, kelvin, raw, share = figure_of(monkeypatch, points, quantities=quantities).axes
    assert [line.get_ydata().tolist() for line in index.lines] == [pytest.approx([0.5, 0.6])] * 2
    assert kelvin.lines[0].get_ydata().tolist() == pytest.approx([99, 119])
    assert raw.lines[0].get_ydata().tolist() == [5000, 6000]
    assert [axes.get_ylabel() for axes in (index, kelvin, raw, share)] == [
        "vegetation index\nstored value x 0.0001",
        "surface temperature (K)\nstored value x 0.02 - 1",
        "stored value",
        "valid pixels, %",
    ]


@pytest.mark.parametrize("dates", [0, 1, 500])
def test_any_number_of_dates_is_drawn(dates, monkeypatch):
    figure = figure_of(monkeypatch, points_of([(3 * day, 0.5, float(day)) for day in range(dates)]))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [dates] * bool(dates)


def test_names_are_shown_as_they_are(monkeypatch):
    names = ["_hidden", "$a_1$ $b$", "long " * 20, "𓀀"]
    points = points_of([(0, 1.0, 1.0)], areas=range(4))
    said = words(figure_of(monkeypatch, points, names=names, heading=Heading("$x_$ 𓀀")))
    assert {"'_hidden'", "$a_1$ $b$", "\\u13000", "$x_$ \\u13000"} <= set(said)
    assert [text for text in said if text.startswith("long") and text.endswith("…")]


def test_lines_that_are_many_differ(monkeypatch):
    points = points_of([(0, 1.0, 1.0), (1, 1.0, 2.0)], ("a", "b", "c"), areas=range(10))
    figure = figure_of(monkeypatch, points, names=[str(n) for n in range(10)])
    looks = {(tuple(np.atleast_1d(line.get_color())), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 30


def test_a_plot_of_means_says_so(monkeypatch):
    points = points_of([(0, 1.0, 1.0)], areas=range(11))
    said = words(figure_of(monkeypatch, points, names=[str(n) for n in range(11)]))
    assert any("Mean of all 11 features" in text for text in said)
