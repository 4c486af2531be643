"""Laws of the bench's arithmetic: what is ideal, what counts as worst, what passes."""

import json

import pytest

from tests.bench.cases import CASES
from tests.bench.table import Bar, combined, ideal_seconds, json_lines, judged, markdown, rows_in, run_figures


def stats(**changes):
    counts = {
        "image.computePixels": {"200": 950, "429": 50},
        "value.compute": {"200": 10},
        "algorithms.list": {"200": 9},
    }
    return {
        "requests": counts,
        "pixel_requests": 1000,
        "throttled": 50,
        "peak_in_flight": 41,
        "repeated_requests": 2,
        "latency_seconds": 480.0,
    } | changes


def test_the_ideal_is_the_greater_of_what_latency_and_rate_allow():
    assert ideal_seconds(stats()) == pytest.approx(480 / 40)
    # 960 were let in: what was refused, and documents, are no work.
    assert ideal_seconds(stats(latency_seconds=4.0)) == pytest.approx(960 / 100)
    assert run_figures(stats(), 15.0)["efficiency"] == pytest.approx(12 / 15)


def test_figures_are_medians_and_mishaps_the_worst():
    row = combined([{"wall_s": w, "lost": lost, "reference_lost": lost} for w, lost in ((3.0, 0), (1.0, 1), (2.0, 0))])
    assert row == {"wall_s": 2.0, "lost": 1, "reference_lost": 1}


def test_a_bar_that_is_missed_or_not_measured_fails_its_case():
    bars = (Bar("efficiency", ">=", 0.9), Bar("lost", "==", 0))
    assert judged("a", "goal", bars, [{"efficiency": 0.9, "lost": 0}])["passed"]
    assert judged("a", "goal", bars, [{"efficiency": 0.89, "lost": 0}])["missed"] == ["efficiency >= 0.9"]
    assert judged("a", "goal", bars, [{"errors": 1}])["missed"] == ["efficiency >= 0.9", "lost == 0"]
    assert judged("a", "goal", bars, [{"efficiency": 1.0, "lost": 0}, {"error": "no server"}])["passed"] is False


def test_a_failed_case_is_shown_as_failed_and_rows_are_read_back():
    row = judged("one_1000", "quick", (Bar("efficiency", ">=", 0.9),), [{"efficiency": 0.5}])
    text = markdown([row])
    assert "**FAIL**" in text
    assert "Missed: efficiency >= 0.9" in text
    assert rows_in(f"{text}\n```json\n{json_lines([row])}\n```\n") == [json.loads(json_lines([row]))]


def test_every_case_has_a_goal_and_bars():
    assert list(CASES)[-1] == "reference"  # it shows what other cases have kept
    for case in CASES.values():
        assert case.goal
        assert case.bars
