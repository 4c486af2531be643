"""What a flow does ahead, in a thread of its own, while requests are in flight."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable


def in_background(function: Callable[[], object]) -> None:
    """Call a function in a thread of its own, to do something ahead: what fails now fails again where it is needed."""

    def called() -> None:
        with contextlib.suppress(Exception):
            function()

    with contextlib.suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=called, name="ahead", daemon=True).start()
