"""Labels of the images of a series: the names of their files. They sort by time and do not collide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, time
from hashlib import sha256

from tasks.plan.grouping import Group
from tasks.plan.images import plain_name

LONGEST = 60
"""Characters of an id in a label."""


def labels_of(groups: Sequence[Group]) -> tuple[str, ...]:
    """Return the label of each group.

    It is the day (``2020-05-18``) if the group stands for a day or starts at midnight UTC, else the start
    (``2020-05-18T134211Z``). Groups of the same second get milliseconds, if these differ. Groups of the same start get
    the id of their first image.
    """
    found = [_moment(group) for group in groups]
    starts: dict[str, set[datetime]] = {}
    for group, label in zip(groups, found, strict=True):
        starts.setdefault(label, set()).add(group.start)
    found = [_moment(group, exact=len(starts[label]) > 1) for group, label in zip(groups, found, strict=True)]
    found = [
        f"{label}-{plain_name(group.images[0].name)}" if count > 1 else label
        for group, label, count in zip(groups, found, _counts(found), strict=True)
    ]
    # A checksum is added to ids that are long, and to those that differ only in letters that a file name cannot have
    # or that are equal on some disks.
    return tuple(
        f"{label[:LONGEST]}-{sha256(group.images[0].id.encode()).hexdigest()[:8]}"
        if count > 1 or len(label) > 2 * LONGEST
        else label
        for group, label, count in zip(groups, found, _counts(found), strict=True)
    )


def _counts(labels: Sequence[str]) -> list[int]:
    counts = Counter(label.casefold() for label in labels)
    return [counts[label.casefold()] for label in labels]


def _moment(group: Group, *, exact: bool = False) -> str:
    if group.day is not None:
        return group.day.isoformat()
    start: datetime = group.start
    if start.time() == time():
        return start.date().isoformat()
    milliseconds = f".{start.microsecond // 1000:03d}" if exact else ""
    return f"{start.date().isoformat()}T{start:%H%M%S}{milliseconds}Z"
