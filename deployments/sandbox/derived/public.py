"""What the assets of Earth Engine's public catalogue have in common here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from deployments.sandbox.raster import Asset

PUBLIC = "projects/earthengine-public/assets"

# One moment for all: what is derived changes with the code alone, and plans are told apart by update times.
UPDATED = datetime(2024, 1, 1, tzinfo=UTC)


def simulated(source: str) -> dict[str, Any]:
    """Return the properties that tell a derived asset from a real one.

    Args:
        source: The real scenes that it was made of.
    """
    return {"simulated": 1, "simulated_from": f"{source}; made by the sandbox, not by Google"}


def collection(asset_id: str, images: Sequence[Asset], source: str) -> Asset:
    """Return the collection of images, with its time range.

    Args:
        asset_id: Public id, such as ``MODIS/061/MOD13Q1``.
        images: All of them, each with its times.
        source: The real scenes that they were made of.
    """
    starts = [image.start_time for image in images if image.start_time]
    ends = [image.end_time for image in images if image.end_time]
    span = [int(min(starts).timestamp() * 1000), int(max(ends).timestamp() * 1000)]
    return Asset(
        name=f"{PUBLIC}/{asset_id}",
        id=asset_id,
        type="IMAGE_COLLECTION",
        update_time=UPDATED,
        start_time=min(starts),
        end_time=max(ends),
        properties={"date_range": span} | simulated(source),
    )
