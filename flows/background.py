"""What a flow does ahead, in a thread of its own, while requests are in flight."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from tasks.coverage import draw_ahead
from tasks.earthengine.plan import Plan
from tasks.manifest import rehearse
from tasks.storage.receipt import TileReceipt


def in_background(function: Callable[[], object]) -> None:
    """Call a function in a thread of its own, to do something ahead: what fails now fails again where it is needed."""

    def called() -> None:
        with contextlib.suppress(Exception):
            function()

    with contextlib.suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=called, name="ahead", daemon=True).start()


def prepare_products(plan: Plan, stored: Iterable[TileReceipt]) -> None:
    """Draw the map, and import what the manifest takes, as a run begins.

    At the end of a run of hours it would be too late to see that a container has too little memory for them.

    Args:
        plan: What is fetched.
        stored: Tiles that were stored before.
    """

    def prepare() -> None:
        draw_ahead(plan, stored)
        rehearse(plan)

    in_background(prepare)
