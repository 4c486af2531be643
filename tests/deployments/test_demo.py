"""What the demo prints of the results of its flows."""

import pytest

from deployments.demo import lines
from flows.patches import PatchesResult
from flows.region import RegionResult
from flows.timeseries import TimeseriesResult

WHERE = {"output": "out", "folder": "out/x", "fingerprint": "0", "stored": 2, "empty": 0, "failed": 0, "missing": 0}


@pytest.mark.parametrize("kind", [RegionResult, TimeseriesResult, PatchesResult])
def test_a_result_without_files_is_printed(kind):
    assert lines(kind(**WHERE)) == ["  folder     out/x"]


def test_many_files_are_one_line():
    result = TimeseriesResult(**WHERE, files={"2020-01-01": "out/a.tif", "2020-01-17": "out/b.tif"}, table="out/t.csv")
    assert lines(result) == [
        "  folder     out/x",
        "  files      2 files, such as out/a.tif",
        "  table      out/t.csv",
    ]
