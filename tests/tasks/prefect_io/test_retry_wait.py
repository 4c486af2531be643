"""A run that waits for its retry has a line in its log every minute."""

import logging
import threading

from tasks.prefect_io import retry_wait
from tasks.prefect_io.progress import duration_text


def test_a_run_says_what_it_waits_for_until_it_starts(monkeypatch):
    monkeypatch.setattr(retry_wait, "LINE_S", 0.01)
    lines, three = [], threading.Event()

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())
            if len(lines) >= 3:
                three.set()

    handler = Lines()
    log = logging.getLogger("pixel_quarry")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        retry_wait.begin_wait("a run", retry="retry 2 of 3", delay_s=105)
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "retry-wait")
        assert three.wait(30)
        retry_wait.end_wait("a run")
        thread.join(30)
        assert not thread.is_alive()
    finally:
        log.removeHandler(handler)
    assert lines[0] == "The run waits for retry 2 of 3: it starts in 1 minute and 45 seconds."
    retry_wait.end_wait("a run")  # a run that does not wait


def test_durations_are_as_exact_as_they_are_short():
    assert [duration_text(seconds) for seconds in (0, 12.53, 59.96, 75, 105, 600, 12_000)] == [
        *("0.0 s", "12.5 s", "60.0 s", "1 minute and 15 seconds", "1 minute and 45 seconds", "10 minutes"),
        "3 hours and 20 minutes",
    ]
