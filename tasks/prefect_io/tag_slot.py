"""The slot of the tag of the next task: whether a process leaves it free for Prefect."""

from __future__ import annotations

import time

# Seconds without a slot after which a process takes the slot that Prefect should have taken for the tag of a task.
LATE_S = 5.0


class TagSlot:
    """Decides how many slots stay free for the tag of the next task. Only the keeper of the leases calls `to_come`.

    One slot stays free, if the process then has another one. If it has not, it waits for Prefect, which takes the slot
    of the tag. Prefect may fail to, or sleep for minutes after it found the server busy. So after `LATE_S` seconds
    without a slot, the process takes the slot itself.

    Args:
        tagged: Whether batches are tasks with the tag.
    """

    def __init__(self, *, tagged: bool) -> None:
        self._tagged, self._late = tagged, False
        self._without_since: float | None = None
        self.untagged: set[object] = set()
        """Batches that run without a task. Other threads add and remove them."""

    def to_come(self, *, due: int, held: int, usable: int) -> int:
        """Return the number of slots to leave free: 0 or 1.

        Args:
            due: Slots that the process may take.
            held: Slots of the tags of running tasks.
            usable: Slots that requests may use now.
        """
        if held or not self._tagged:
            self._without_since, self._late = None, False
            return 0
        now = time.monotonic()
        self._without_since = None if usable else (self._without_since or now)
        if self.untagged or (self._without_since and now - self._without_since > LATE_S):
            self._late = True
        return 0 if self._late and due <= 1 else 1
