"""The catalogue at a moment of a rehearsal: images that are not there yet, and images that were processed anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.sandbox.catalogue import Catalogue, missing
from deployments.sandbox.knobs import Knobs
from deployments.sandbox.raster import Asset, Band, DataType, Grid, Pixels, Resampling
from deployments.sandbox.refusal import Refusal

LATER = timedelta(days=1)
"""From the update of an image to that of the image that was processed anew."""


class Edition:
    """A catalogue as the knobs ``until`` and ``changed`` have it. Other knobs are another edition: this one stays.

    Args:
        catalogue: All that can ever be served.
        knobs: Of which these two count.

    Raises:
        Refusal: 400, what shall have changed is no image of the catalogue.
    """

    def __init__(self, catalogue: Catalogue, knobs: Knobs) -> None:
        self._catalogue = catalogue
        self._until = datetime.fromisoformat(knobs.until).replace(tzinfo=UTC) if knobs.until else None
        ids = [] if knobs.changed is None else knobs.changed.split(",")
        self._changed = frozenset(_image_name(catalogue, text.strip()) for text in ids)

    def get(self, name: str) -> Asset:
        """Return an asset (see Catalogue)."""
        asset = self._catalogue.get(name)
        if self._is_to_come(asset) and self._is_in_collection(asset):
            raise missing(asset.name)
        return self._edited(asset)

    def children(self, name: str) -> tuple[Asset, ...]:
        """Return the children of an asset (see Catalogue)."""
        found = self._catalogue.children(name)
        if self._until is not None and self._catalogue.get(name).type == "IMAGE_COLLECTION":
            found = tuple(asset for asset in found if not self._is_to_come(asset))
        return tuple(self._edited(asset) for asset in found)

    def _is_to_come(self, asset: Asset) -> bool:
        if self._until is None or asset.start_time is None or asset.type != "IMAGE":
            return False
        return asset.start_time >= self._until

    def _is_in_collection(self, asset: Asset) -> bool:
        try:
            return self._catalogue.get(asset.name.rpartition("/")[0]).type == "IMAGE_COLLECTION"
        except Refusal:  # an image that has no parent here, such as USGS/SRTMGL1_003
            return False

    def _edited(self, asset: Asset) -> Asset:
        if asset.name in self._changed:
            return anew(asset)
        if self._until is not None and "date_range" in asset.properties:
            return self._shortened(asset)
        return asset

    def _shortened(self, collection: Asset) -> Asset:
        """Return a collection with the time range of those of its images that are there."""
        images = self.children(collection.name)
        start = min((image.start_time for image in images if image.start_time), default=None)
        end = max((image.end_time for image in images if image.end_time), default=None)
        span = {"date_range": [int(t.timestamp() * 1000) for t in (start, end)]} if start and end else {}
        others = {key: value for key, value in collection.properties.items() if key != "date_range"}
        return replace(collection, start_time=start, end_time=end, properties=span | others)


def _image_name(catalogue: Catalogue, text: str) -> str:
    try:
        asset = catalogue.get(text)
    except Refusal:
        asset = None
    if asset is None or asset.image is None:
        raise Refusal(f"Knob 'changed' cannot be {text!r}: it is no image that the sandbox serves. Give ids of images.")
    return asset.name


def anew(asset: Asset) -> Asset:
    """Return an image asset as if it had been processed anew: a later update, other values where they are measured.

    Masks, types and grids stay, and so do the bands of classes and flags (those whose pyramid is no mean): their
    values have meanings, and a cloud mask that is made of them must not turn.

    Args:
        asset: An IMAGE with its pixels.
    """
    assert asset.image is not None
    when = asset.update_time + LATER
    image = replace(
        asset.image,
        bands=tuple(_brighter(band) if band.pyramiding == "MEAN" else band for band in asset.image.bands),
        version=round(when.timestamp() * 1e6),
    )
    return replace(asset, update_time=when, image=image)


def _brighter(band: Band) -> Band:
    resampled = band.resampled

    def read(grid: Grid) -> Pixels:
        pixels = band.read(grid)
        return Pixels(brighter(pixels.values, band.type), pixels.mask)

    def interpolated(how: Resampling) -> Band:
        assert resampled is not None
        return _brighter(resampled(how))

    return replace(band, read=read, resampled=interpolated if resampled else None)


def brighter(values: NDArray[Any], kind: DataType) -> NDArray[Any]:
    """Return values of the same type of which none is what it was: a sixteenth more, and one step.

    Args:
        values: In the NumPy type of ``kind``, of any shape.
        kind: Integers stay within its range: what is at its top becomes one less.
    """
    with np.errstate(all="ignore"):  # what is masked may be anything
        if kind.precision != "INT" or kind.max is None:
            return np.asarray(values + (np.abs(values) + 1) / 16, values.dtype)
        wide = values.astype(np.float64)
        more = np.minimum(wide + np.floor(np.abs(wide) / 16) + 1, kind.max)
        return np.where(wide < kind.max, more, wide - 1).astype(values.dtype)
