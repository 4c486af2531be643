"""What takes long says so, until it is over."""

import threading
from types import SimpleNamespace

from tasks.prefect_io import long_wait


def test_a_long_wait_is_in_the_log_until_it_is_over(monkeypatch):
    monkeypatch.setattr(long_wait, "EVERY_S", 0.01)
    lines, logged = [], threading.Event()

    def info(text, *values):
        lines.append(text % values)
        logged.set()

    monkeypatch.setattr(long_wait, "run_logger", lambda: SimpleNamespace(info=info))
    with long_wait.reported("Nobody answers"):
        for _ in range(2):
            assert logged.wait(10)
            logged.clear()
    for thread in threading.enumerate():
        if thread.name == "long-wait":
            thread.join(10)
            assert not thread.is_alive()
    assert lines[0] == "Nobody answers, for 0 s so far."
