"""Pictures are for people: stated is what lies where, which way up, at which scale, and in which words."""

import io
import re
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import numpy as np
import pytest
from affine import Affine
from matplotlib.text import Text
from odc.geo.geobox import GeoBox
from PIL import Image

from tasks.raster import house_style, map_sheet
from tasks.raster.colours import Key, Quantity, colour_key
from tasks.raster.house_style import Heading
from tasks.raster.map_sheet import Panel
from tasks.raster.thumbnail import Thumbnail, shown_bands

NORTH_UP = GeoBox((60, 100), Affine(30, 0, 600_000, 0, -30, 5_000_000), "EPSG:32633")
RED, BLUE = (250, 10, 10, 255), (10, 10, 250, 255)
PLAIN, TITLE = Key(bands=()), Heading("A title")


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


def filled(height, width, colour=RED):
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 4))


def drawn(panels, *, box=NORTH_UP, key=PLAIN, heading=TITLE, longest=400):
    png = map_sheet.map_sheet(panels, key=key, heading=heading, box=box, longest=longest)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def extent(picture, colour):
    """Top, left, height and width of what has a colour."""
    ys, xs = np.nonzero((np.abs(picture - colour[:3]) < 30).all(axis=-1))
    return ys.min(), xs.min(), np.ptp(ys) + 1, np.ptp(xs) + 1


def words(monkeypatch, panels, **more):
    """The words on a picture."""
    seen = []
    encoded = house_style.encoded

    def looking(figure, **given):
        figure.draw_without_rendering()
        texts = [each.get_text().replace("\n", " ") for each in figure.findobj(Text) if each.get_visible()]
        seen.extend(filter(None, texts))
        return encoded(figure, **given)

    monkeypatch.setattr(map_sheet.style, "encoded", looking)
    drawn(panels, **more)
    return seen


@pytest.mark.parametrize("count", [1, 2, 5, 36])
def test_every_panel_is_on_the_sheet_once_in_its_proportions(count):
    colours = [(250 - 5 * n, 5 * n, 60, 255) for n in range(count)]
    picture = drawn([Panel("", filled(60, 100, each), (60, 100)) for each in colours], longest=100)
    for colour in colours:
        ys, xs = np.nonzero((picture == colour[:3]).all(axis=-1))
        assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (pytest.approx(100, abs=3), pytest.approx(60, abs=3))


def test_panels_of_other_sizes_have_the_same_scale():
    picture = drawn([Panel("a", filled(60, 100), (60, 100)), Panel("b", filled(30, 50, BLUE), (30, 50))], longest=200)
    *_, height, width = extent(picture, RED)
    *_, other_height, other_width = extent(picture, BLUE)
    assert (other_height, other_width) == (pytest.approx(height / 2, abs=2), pytest.approx(width / 2, abs=2))


@pytest.mark.parametrize("e", [-30, 30], ids=["north up", "south up"])
@pytest.mark.parametrize("a", [30, -30], ids=["east right", "east left"])
def test_a_picture_is_the_right_side_up(a, e):
    """The north-western quarter is blue, wherever the first pixel lies."""
    pixels = filled(60, 100).copy()
    rows, columns = slice(0, 30) if e < 0 else slice(30, 60), slice(0, 50) if a > 0 else slice(50, 100)
    pixels[rows, columns] = BLUE
    picture = drawn(
        [Panel("", pixels, (60, 100))], box=GeoBox((60, 100), Affine(a, 0, 600_000, 0, e, 5_000_000), "EPSG:32633")
    )
    top, left, height, width = extent(picture, BLUE)
    other_top, other_left, *_ = extent(picture[top + height + 1 :, left : left + width], RED)
    assert (top, left) == (extent(picture, RED)[0], pytest.approx(house_style.MARGIN, abs=2))
    assert (other_top, other_left) == (pytest.approx(0, abs=1), pytest.approx(0, abs=1))


def test_pixels_are_drawn_as_whole_pixels():
    """A checkerboard that is enlarged twice has no mixed colours, and all its squares have one size."""
    board = np.where((np.indices((60, 100)).sum(axis=0) % 2)[..., np.newaxis], RED, BLUE).astype(np.uint8)
    picture = drawn([Panel("", board, (60, 100))], longest=200)
    top, left, height, width = extent(picture, RED)
    inside = picture[top + 2 : top + height - 2, left + 2 : left + width - 2]
    assert {tuple(pixel) for pixel in inside.reshape(-1, 3).tolist()} == {RED[:3], BLUE[:3]}
    assert abs((inside[..., 0] > 100).mean() - 0.5) < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (20, 10_000), (10_000, 20), (3, 2), (1, 900)], ids=str)
def test_odd_shapes_are_drawn_large_enough_to_be_seen(shape, monkeypatch):
    box = GeoBox(shape, NORTH_UP.affine, NORTH_UP.crs)
    thumb = tuple(min(side, 400) for side in shape)
    panels = [Panel("", filled(*thumb), shape)]
    *_, height, width = extent(drawn(panels, box=box), RED)
    assert min(height, width) >= 18
    assert max(height, width) >= 200
    said = " ".join(words(monkeypatch, panels, box=box))
    assert ("so that it can be seen" in said) == (max(shape) > 20 * min(shape))


def test_the_scale_bar_is_as_long_as_it_says(monkeypatch):
    """100 pixels of 30 m are 400 pixels of the picture, so that 500 m are 67."""
    panels = [Panel("", filled(60, 100), (60, 100))]
    assert "500 m" in words(monkeypatch, panels)
    picture = drawn(panels)
    top, _, height, _ = extent(picture, RED)
    below = picture[top + height + 3 :]
    ink = (below < 60).all(axis=-1).sum(axis=1)
    assert ink.max() == pytest.approx(500 / 30 * 4, abs=2)


@pytest.mark.parametrize(
    ("crs", "affine", "length"),
    [
        ("EPSG:4326", Affine(0.001, 0, 10, 0, -0.001, 60), "2 km"),
        ("EPSG:4326", Affine(0.001, 0, 179.95, 0, -0.001, 0), "2 km"),
        ("EPSG:3031", Affine(1000, 0, 500_000, 0, -1000, 1_000_000), "20 km"),
    ],
    ids=["degrees at 60 N", "degrees across 180", "polar"],
)
def test_lengths_are_those_on_the_ground(crs, affine, length, monkeypatch):
    said = words(monkeypatch, [Panel("", filled(60, 100), (60, 100))], box=GeoBox((60, 100), affine, crs))
    assert length in said
    assert "N" in said


def test_a_square_on_the_ground_is_a_square_in_the_picture():
    """At 60 degrees north, a degree of longitude is half as long as one of latitude."""
    box = GeoBox((50, 100), Affine(0.001, 0, 10, 0, -0.001, 60), "EPSG:4326")
    *_, height, width = extent(drawn([Panel("", filled(50, 100), (50, 100))], box=box), RED)
    assert height == pytest.approx(width, rel=0.02)


def test_one_scale_for_a_continent_holds_at_the_centre_and_the_picture_says_so(monkeypatch):
    panels = [Panel("", filled(60, 100), (60, 100))]
    box = GeoBox((60, 100), Affine(0.5, 0, -20, 0, -0.5, 60), "EPSG:4326")
    assert any("at the centre" in text for text in words(monkeypatch, panels, box=box))
    assert not any("at the centre" in text for text in words(monkeypatch, panels))


def test_names_are_shown_as_they_are(monkeypatch):
    """Two $ are no formula, a long name is cut, a letter of no font is written as its code."""
    names = ["$\\alpha_1$ $x$", "_hidden", "long " * 40, "𓀀", "tab\tand\nline", "\u202eevil"]
    panels = [Panel(name, filled(60, 100), (60, 100)) for name in names]
    said = words(monkeypatch, panels, heading=Heading("$a$ 𓀀", ("$b_$",)), longest=200)
    for text in ("$\\alpha_1$ $x$", "_hidden", "\\u13000", "tab and line", "\\u202eevil", "$a$ \\u13000", "$b_$"):
        assert text in said
    assert [text for text in said if text.startswith("long") and text.endswith("…")]


def test_the_legend_says_what_the_colours_mean(monkeypatch):
    valid = np.ones((1, 60, 100), bool)
    valid[:, :15] = False
    ramp = Thumbnail(np.arange(6000.0).reshape(1, 60, 100), valid, (60, 100))
    key = colour_key([ramp], bands=["LST"], quantity=Quantity("surface temperature", "K", 0.02))
    said = words(monkeypatch, [Panel("", key.rgba(ramp), (60, 100))], key=key)
    assert "LST: surface temperature (K) = stored value x 0.02" in " ".join(said)
    assert "no data: 25 %" in said
    classes = Thumbnail(np.resize([4.0, 7.0], (1, 60, 100)), np.ones((1, 60, 100), bool), (60, 100))
    key = colour_key([classes], bands=["class"])
    said = words(monkeypatch, [Panel("", key.rgba(classes), (60, 100))], key=key)
    assert {"4", "7", "class"} <= set(said)
    assert not any(text.startswith("no data") for text in said)


@pytest.mark.parametrize("valid", [0, 1], ids=["nothing valid", "one pixel valid"])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_picture_without_data_is_a_picture(valid, bands, monkeypatch):
    mask = np.zeros((bands, 6, 9), bool)
    mask[:, :1, :valid] = True
    look = Thumbnail(np.zeros((bands, 6, 9), np.uint8), mask, (6, 9))
    key = colour_key([look], bands=list("abc")[:bands])
    share = "100 %" if not valid else "98 %"
    assert f"no data: {share}" in words(monkeypatch, [Panel("", key.rgba(look), (6, 9))], key=key)


def test_same_pixels_same_bytes_whatever_the_user_set_for_matplotlib():
    panels = [Panel("a", filled(60, 100), (60, 100))] * 2
    plain = drawn(panels)
    made = [map_sheet.map_sheet(panels, key=PLAIN, heading=Heading("t"), box=NORTH_UP, longest=90)]
    with mpl.rc_context({"text.color": "red", "font.size": 30, "figure.facecolor": "black", "axes.facecolor": "black"}):
        made.append(map_sheet.map_sheet(panels, key=PLAIN, heading=Heading("t"), box=NORTH_UP, longest=90))
        assert (drawn(panels) == plain).all()
    assert made[0] == made[1]
    assert set(Image.open(io.BytesIO(made[0])).info) <= {"dpi"}
    assert not re.search(rb"[Mm]atplotlib|20\d\d-", made[0])


def test_pictures_may_be_drawn_in_many_threads():
    panels = [Panel(str(n), filled(60, 100), (60, 100)) for n in range(4)]

    def made(_):
        return map_sheet.map_sheet(panels, key=PLAIN, heading=TITLE, box=NORTH_UP, longest=90)

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(made, range(12)))) == 1
