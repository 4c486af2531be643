"""Laws of the bench's arithmetic: what is ideal, what counts as worst, what passes."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.bench import postgres
from tests.bench.cases import CASES
from tests.bench.table import Bar, combined, ideal_seconds, json_lines, judged, markdown, rows_in, run_figures
from tests.bench.tagged import dead_times


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


def test_dead_time_is_between_runs_of_one_thread():
    spans = [(1, 0.0, 1.0), (2, 0.5, 1.5), (2, 4.0, 5.0), (1, 1.25, 2.0), (1, 2.5, 3.0)]
    assert dead_times(spans) == [0.25, 0.5, 2.5]


def test_without_postgresql_its_cases_say_what_to_install(monkeypatch):
    assert CASES["one_1000"].missing() is None
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgres, "PLACES", "nowhere/*/initdb")
    assert "apt-get install postgresql" in (CASES["postgres_4000"].missing() or "")


HOLD = """
import sys
from tests.bench.postgres import cluster
with cluster() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(postgres.missing() is not None, reason=postgres.missing() or "")
def test_a_cluster_asks_for_its_password_and_ends_with_a_process_that_is_killed():
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    with held:
        try:
            assert held.stdout is not None
            url = held.stdout.readline().strip().replace("+asyncpg", "")
            folder = Path(asyncio.run(_ask(url, "SHOW data_directory"))).parent
            with pytest.raises(asyncpg.InvalidPasswordError):
                asyncio.run(_ask(url, "SELECT 1", password="another"))
        finally:
            held.kill()
    address = urlsplit(url)
    end = time.monotonic() + 60
    with contextlib.suppress(ConnectionRefusedError):
        while time.monotonic() < end:
            socket.create_connection((address.hostname, address.port)).close()
            time.sleep(0.1)
        pytest.fail("The cluster still answers")
    shutil.rmtree(folder)


async def _ask(url: str, query: str, **more) -> str:
    connection = await asyncpg.connect(url, **more)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
