"""Images of a collection that lack a band: refuse them, skip them, or mask the band."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.earthengine.image_info import BandInfo, ImageInfo
from tasks.errors.input import BadInputError
from tasks.plan.choices import MissingBands

SHOWN = 12
"""Bands that a message names."""


def complete(
    infos: Sequence[ImageInfo], bands: Sequence[str] | None, missing: MissingBands
) -> tuple[tuple[BandInfo, ...], list[ImageInfo], dict[str, str]]:
    """Return the bands of a series, the images that are used, and why others are left out, by id.

    - ``fail``: an image without one of the bands is refused.
    - ``skip``: it is left out.
    - ``mask``: it is used, and the bands that it lacks are masked.

    Args:
        infos: The images of the collection.
        bands: Bands that are requested. None = all bands that an image has.
        missing: What becomes of an image without one of them.

    Returns:
        The metadata of each band, from the first image that has it; the images; and the reasons.

    Raises:
        BadInputError: No image has one of the bands. With ``fail``, an image lacks one. With ``skip``, all do.
    """
    known: dict[str, BandInfo] = {}
    for info in infos:
        for band in info.bands:
            known.setdefault(band.id, band)
    names = list(known) if bands is None else list(bands)
    for name in names:
        if name not in known:
            raise BadInputError("bands", names, f"there is no band {name!r}", f"There are: {_listed(list(known))}")
    lacking = {str(info.id): lacks for info in infos if (lacks := _lacks(info, names))}
    if lacking and missing == "fail":
        first, lacks = next(iter(lacking.items()))
        common = [name for name in known if all(name not in _lacks(info, [name]) for info in infos)]
        raise BadInputError(
            "bands",
            None if bands is None else names,
            f"{len(lacking)} of {len(infos)} images lack a band: {first} has no band {_listed(lacks)}",
            "Use missing_bands=skip to leave such images out, missing_bands=mask to mask what they lack, or name "
            f"bands that all images have: {_listed(common) or 'there is none'}",
        )
    if lacking and missing == "skip" and len(lacking) == len(infos):
        remedy = "Use missing_bands=mask, or name fewer bands"
        raise BadInputError("missing_bands", missing, "each image lacks a band", remedy)
    used = [info for info in infos if missing != "skip" or str(info.id) not in lacking]
    skipped = {one: f"no band {_listed(lacks)}" for one, lacks in lacking.items() if missing == "skip"}
    return tuple(known[name] for name in names), used, skipped


def _lacks(info: ImageInfo, names: Sequence[str]) -> list[str]:
    has = {band.id for band in info.bands}
    return [name for name in names if name not in has]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
