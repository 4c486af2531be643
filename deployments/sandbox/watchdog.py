"""An end for a process that is frozen.

What holds Python's lock for ever leaves no thread a chance to end the process, nor any signal handler of Python's.
"""

from __future__ import annotations

import signal
import threading

PATIENCE = 30.0
"""Seconds of processor time."""


def watch(patience: float = PATIENCE) -> None:
    """End this process when it has worked for so long without letting another thread of its own run.

    A timer of the kernel kills it, unless a thread has wound the timer up again. The timer counts processor time, so
    that a process that is suspended or waits for a loaded machine is left alone. Where there is no such timer
    (Windows), nothing is watched.

    Args:
        patience: Seconds of processor time of all threads together.
    """
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        threading.Thread(target=_wind_up, args=(patience,), daemon=True, name="watchdog").start()


def _wind_up(patience: float) -> None:
    pause = threading.Event()
    while True:
        signal.setitimer(signal.ITIMER_PROF, patience)
        pause.wait(patience / 30)
