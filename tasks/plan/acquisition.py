"""Acquisitions: which one an image belongs to, by its properties."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_DATATAKE = re.compile(r"(S2[A-Z])_MSI\w{3}_(\d{8}T\d{6})_")
_BASELINE = re.compile(r"_N\d\d\.\d\d$")
_RADAR = ("instrumentMode", "transmitterReceiverPolarisation", "resolution_meters", "productType")


@dataclass(frozen=True, kw_only=True)
class Acquired:
    """An image of a collection, as grouping sees it."""

    id: str
    """Asset id, or index of a computed image. No other image of the collection has the same."""
    start: datetime
    """``system:time_start``, UTC."""
    end: datetime | None = None
    """``system:time_end``, UTC. None = not known."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    updated: str | None = None
    """``updateTime`` of an asset. None = a computed image."""
    bands: tuple[str, ...] = ()
    """Requested bands that it has."""
    outline: tuple[Hashable, float, float, float, float] | None = None
    """CRS, and west, south, east and north in its units. None = it has no grid of its own, or no bounds."""

    @property
    def name(self) -> str:
        """The last part of the id."""
        return self.id.rsplit("/", maxsplit=1)[-1]


def acquisition(image: Acquired) -> tuple[Hashable, ...] | None:
    """Return what names the acquisition of an image in its own properties; None if they do not name it.

    - Sentinel-2: `DATATAKE_IDENTIFIER` without the processing baseline, or the datatake in `PRODUCT_ID`.
    - Landsat: `SPACECRAFT_ID` and `WRS_PATH`, and whether the row is of the descending half of the orbit.
    - Sentinel-1: `platform_number`, `orbitNumber_start`, `orbitProperties_pass`, and mode and polarisation.
    """
    given = image.properties
    if datatake := text_of(given, "DATATAKE_IDENTIFIER"):
        return "Sentinel-2", _BASELINE.sub("", datatake)
    if product := _DATATAKE.match(text_of(given, "PRODUCT_ID") or ""):
        return "Sentinel-2", f"G{product[1]}_{product[2]}"
    radar = [text_of(given, name) for name in ("platform_number", "orbitNumber_start", "orbitProperties_pass")]
    if all(radar):
        return "Sentinel-1", *radar, *(text_of(given, name) for name in _RADAR)
    landsat = [text_of(given, name) for name in ("SPACECRAFT_ID", "WRS_PATH")]
    if all(landsat):
        row = row_of(image)
        return "Landsat", *landsat, row is None or not 123 <= row <= 246
    return None


def row_of(image: Acquired) -> int | None:
    """Return the row of a Landsat scene (WRS-2); None = not known."""
    text = text_of(image.properties, "WRS_ROW") or ""
    return int(float(text)) if re.fullmatch(r"\d{1,3}(\.0*)?", text) else None


def text_of(properties: Mapping[str, Any], name: str) -> str | None:
    """Return a property as text; None if it is missing or blank."""
    value = properties.get(name)
    return None if value is None or str(value).strip() == "" else str(value).strip()
