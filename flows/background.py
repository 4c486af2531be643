"""Work that a flow does in a background thread while requests are in flight."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from tasks.plan.plan import Plan
from tasks.products.coverage import draw_ahead
from tasks.products.manifest import preload
from tasks.storage.receipt import TileReceipt

# A run with at least this many missing tiles prepares its products at its start. A smaller run ends soon, and its start
# is busy.
LARGE = 2000


def in_background(*functions: Callable[[], object]) -> None:
    """Call functions one after the other in a background thread.

    The first error ends the thread without a message, because it occurs again where the result is needed.
    """

    def call() -> None:
        with contextlib.suppress(Exception):
            for function in functions:
                function()

    with contextlib.suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=call, name="ahead", daemon=True).start()


def prepare_products(plan: Plan, stored: Iterable[TileReceipt], *, label: str = "") -> None:
    """Draw the coverage map, and import the libraries that the manifest needs.

    A run of hours does this at its start. If its container has too little memory for these products, that shows at
    the start and not at the end.

    Args:
        plan: The plan that the run fetches.
        stored: Receipts of the tiles that were stored before the run.
        label: What the user calls the job, for the title of the map; empty = nothing.
    """
    draw_ahead(plan, stored, label=label)
    preload(plan)
