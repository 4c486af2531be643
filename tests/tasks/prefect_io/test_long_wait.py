"""What takes long says so, until it is over."""

import logging
import threading

from tasks.prefect_io import long_wait


def test_a_long_wait_is_in_the_log_until_it_is_over(monkeypatch):
    monkeypatch.setattr(long_wait, "EVERY_S", 0.01)
    lines, logged, handler = [], threading.Event(), logging.Handler()

    def emit(record):
        lines.append(record.getMessage())
        logged.set()

    handler.emit = emit
    logger = logging.getLogger("pixel_quarry")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(handler)
    with long_wait.reported("Nobody answers"):
        for _ in range(2):
            assert logged.wait(10)
            logged.clear()
    for thread in threading.enumerate():
        if thread.name == "long-wait":
            thread.join(10)
            assert not thread.is_alive()
    logger.removeHandler(handler)
    assert lines[0].startswith("Nobody answers, for 0 s so far.")
