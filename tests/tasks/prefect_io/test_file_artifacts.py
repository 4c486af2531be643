"""Artifacts of files: short, with what opens them; text from outside stays text."""

import re

import pytest

from tasks.prefect_io import file_artifacts
from tasks.prefect_io.file_artifacts import FILES_SHOWN, OPENS, ROWS_SHOWN, show_outputs, show_series

HOSTILE = ["<img src=http://evil.example/a.png>", "[c](javascript:alert(1))", "a | b `c`", "http://evil.example"]


@pytest.fixture
def shown(monkeypatch):
    """What is published, by key."""
    made = {}
    for name in ("markdown_artifact", "table_artifact", "show_picture"):
        monkeypatch.setattr(
            file_artifacts, name, lambda data, *, key, description: made.update({key: (data, description)})
        )
    return made


def test_each_file_comes_with_what_opens_it(shown):
    show_outputs(
        {"mosaic": "/out/a/mosaic.tif", "table": "/out/s.csv", "manifest": "gs://b/m.parquet", "quicklook": "/q.png"}
        | {
            "folder": "/out/a",
            "output": "/out",
            "fingerprint": "f",
            "stored": 3,
            "left_out": {"id": "older.tif"},
            "index": None,
        }
    )
    assert shown["output"][0].splitlines()[2] == "`/out/a`"
    lines = shown["output"][0].splitlines()[6:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["mosaic", "table", "quicklook", "manifest"]
    assert [line.split(" | ")[2].strip("| ") for line in lines] == [
        OPENS[end] for end in (".tif", ".csv", ".png", ".parquet")
    ]
    assert "| `mosaic.tif` |" in lines[0]
    assert "(https://console.cloud.google.com/storage/browser/_details/b/m.parquet)" in lines[3]


def test_of_many_files_a_few_are_shown_and_the_others_counted(shown):
    show_outputs({"files": {f"day {n}": f"/out/{n}.tif" for n in range(1000)}, "folder": "/out"})
    lines = shown["output"][0].splitlines()[6:]
    assert len(lines) == FILES_SHOWN + 1
    assert f"and {1000 - FILES_SHOWN} more" in lines[FILES_SHOWN]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_of_files_and_cells_of_a_series_are_text(shown, text):
    show_outputs({"files": {text: f"/out/{text}/x.tif"}})
    show_series(f'feature,date,band,mean\n"{text}",2020-01-01,"{text}",1.5\n'.encode(), b"")
    (row,) = shown["series"][0]
    assert row.pop("mean") == 1.5
    code = re.compile(r"(?<!\\)`[^`]*`")  # what is in it is shown as it is
    for found in (code.sub("", shown["output"][0]), *row.values()):
        assert not any(markup in found for markup in ("<img", "[c](", " b `", " http://"))
        assert not found.startswith("http://")


@pytest.mark.parametrize(("head", "first"), [("date", 400), ("feature,date", 0)], ids=["one area", "features"])
@pytest.mark.parametrize("count", [3, 500])
def test_a_series_shows_a_readable_number_of_rows_and_says_so(shown, head, first, count):
    lines = [f"{'x,' * head.count(',')}{n},NDVI,0.123456789,-inf,image{n}" for n in range(count)]
    show_series("\n".join([f"{head},band,mean,min,image", *lines]).encode(), b"png")
    rows, words = shown["series"]
    assert len(rows) == min(count, ROWS_SHOWN)
    assert rows[0]["date"] == str(first if count > ROWS_SHOWN else 0)
    assert set(rows[0]) == {*head.split(","), "band", "mean", "min"}
    assert rows[0]["mean"] == 0.12346
    assert rows[0]["min"] == "-inf"
    part = f"the {'last' if head == 'date' else 'first'} 100 of 500 rows" if count > ROWS_SHOWN else "3 rows"
    assert words == f"{part}: all are in the table of the output"
    assert shown["series-plot"][0] == b"png"
