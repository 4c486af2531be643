"""What a flow does ahead, in a thread of its own, while requests are in flight."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from tasks.plan.plan import Plan
from tasks.products.coverage import draw_ahead
from tasks.products.manifest import preload
from tasks.storage.receipt import TileReceipt

# Tiles to fetch from which on products are prepared as a run begins. A smaller run is over soon, and its start is busy.
LARGE = 2000


def in_background(*functions: Callable[[], object]) -> None:
    """Call functions, one after the other, in a thread of its own: what fails now fails again where it is needed."""

    def call() -> None:
        with contextlib.suppress(Exception):
            for function in functions:
                function()

    with contextlib.suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=call, name="ahead", daemon=True).start()


def prepare_products(plan: Plan, stored: Iterable[TileReceipt]) -> None:
    """Draw the map, and import what the manifest takes.

    Of a run of hours as it begins: at its end it would be too late to see that a container has too little memory for
    them.

    Args:
        plan: What is fetched.
        stored: Tiles that were stored before.
    """
    draw_ahead(plan, stored)
    preload(plan)
