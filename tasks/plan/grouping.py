"""Group the images of a collection: which of them become one image of a series.

Values in, values out: nothing here asks Earth Engine. Every image is in exactly one group, as one of its images or as
a superseded copy of one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from tasks.errors.input import BadInputError
from tasks.plan.acquisition import Acquired, acquisition, row_of, text_of
from tasks.plan.choices import GroupBy
from tasks.plan.copies import older_copies

# Half an orbit of a polar satellite. An acquisition is shorter.
LONGEST = timedelta(minutes=50)
# Between the granules of one overpass, if their properties do not name it. Granules of VIIRS and MODIS take 5 minutes.
PAUSE = timedelta(minutes=10)
# Between two rows of Landsat (WRS-2).
ROW = timedelta(seconds=24)

_PLATFORMS = ("SPACECRAFT_ID", "SPACECRAFT_NAME", "platform_number", "PLATFORM", "platform", "SATELLITE", "satellite")
_PASSES = ("orbitProperties_pass", "SENSING_ORBIT_DIRECTION", "ORBIT_DIRECTION", "orbit_direction")
_TRACKS = ("SENSING_ORBIT_NUMBER", "relativeOrbitNumber_start", "WRS_PATH")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images that become one image of a series."""

    images: tuple[Acquired, ...]
    """By start, then id. Each lies on top of those before it."""
    superseded: tuple[Acquired, ...] = ()
    """Older copies of these images. They are not used."""
    day: date | None = None
    """The day that the group stands for. None = a group of one acquisition."""

    @property
    def start(self) -> datetime:
        """Start of the first image."""
        return self.images[0].start

    @property
    def end(self) -> datetime:
        """Latest end of an image, or latest start if that is later."""
        return max(image.end if image.end and image.end > image.start else image.start for image in self.images)


def group_images(images: Iterable[Acquired], by: GroupBy, *, longitude: float = 0.0) -> tuple[Group, ...]:
    """Return the groups of a collection's images, sorted by start, then id.

    - ``image``: each image is a group.
    - ``auto``: images are joined if their properties name one acquisition: see
      :func:`tasks.plan.acquisition.acquisition`.
    - ``overpass``: also images of one platform, pass and track, each within 10 minutes of the one before.
    - ``day``, ``solar_day``: all images that start on one day, UTC or local solar time.

    Except with ``image``, the newest of several copies of one scene is used: see
    :func:`tasks.plan.copies.older_copies`.

    Args:
        images: The images, in any order.
        by: How they are grouped.
        longitude: Degrees east, for the solar day.

    Raises:
        BadInputError: With ``overpass``, images follow one another without a pause, so no overpass can be found.
    """
    ordered = sorted(images, key=lambda image: (image.start, image.id))
    older = {} if by == "image" else older_copies(ordered)
    copies = {copy.id for each in older.values() for copy in each}
    groups = (
        Group(
            images=tuple(together),
            superseded=tuple(copy for image in together for copy in older.get(image.id, ())),
            day=day,
        )
        for day, together in _parted([image for image in ordered if image.id not in copies], by, longitude)
    )
    return tuple(sorted(groups, key=lambda group: (group.start, group.images[0].id)))


def _parted(ordered: Sequence[Acquired], by: GroupBy, longitude: float) -> Iterator[tuple[date | None, list[Acquired]]]:
    if by == "image":
        yield from ((None, [image]) for image in ordered)
    elif by in {"day", "solar_day"}:
        east = longitude if by == "solar_day" else 0.0
        yield from _by(ordered, lambda image: day_of(image.start, east)).items()
    else:
        for key, together in _by(ordered, acquisition if by == "auto" else _overpass).items():
            if key is None:
                yield from ((None, [image]) for image in together)
            else:
                yield from ((None, part) for part in _chained(together, str(key[0])))


def day_of(moment: datetime, longitude: float) -> date:
    """Return the day of a moment in local solar time at a longitude, degrees east. That of 0 is UTC."""
    try:
        return (moment + timedelta(hours=longitude / 15)).date()
    except OverflowError:  # the first or the last day that datetime knows
        return moment.date()


def _overpass(image: Acquired) -> tuple[Hashable, ...]:
    names = (_PLATFORMS, _PASSES, _TRACKS)
    known = (next((text for name in each if (text := text_of(image.properties, name))), None) for each in names)
    return acquisition(image) or ("", *known)


def _chained(images: Sequence[Acquired], kind: str) -> Iterator[list[Acquired]]:
    """Yield the images in parts, with a pause between two parts.

    Raises:
        BadInputError: A part is longer than an overpass can be.
    """
    part = [images[0]]
    for image in images[1:]:
        pause = {"": PAUSE, "Landsat": PAUSE + ROW * _rows(part[-1], image)}.get(kind, LONGEST)
        if image.start - part[-1].start > pause:
            yield part
            part = []
        part.append(image)
        if not kind and image.start - part[0].start > LONGEST:
            raise BadInputError(
                "group_by",
                "overpass",
                f"from {part[0].id} to {image.id} one image follows the other within "
                f"{PAUSE // timedelta(minutes=1)} minutes, for longer than an overpass takes",
                "Use group_by=auto or group_by=image",
            )
    yield part


def _rows(one: Acquired, other: Acquired) -> int:
    rows = [row_of(one), row_of(other)]
    return 0 if None in rows else abs(int(rows[0] or 0) - int(rows[1] or 0))


def _by(images: Iterable[Acquired], key: Callable[[Acquired], Any]) -> dict[Any, list[Acquired]]:
    found: dict[Any, list[Acquired]] = {}
    for image in images:
        found.setdefault(key(image), []).append(image)
    return found
