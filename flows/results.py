"""The result of an extraction flow, and what it is made from: plan, tiles, cost and products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, overload

from prefect.futures import PrefectFuture
from pydantic import BaseModel, ConfigDict

from flows.parameters import ExtractionParameters
from tasks.extraction.completeness import check_complete
from tasks.extraction.cost import Cost
from tasks.plan.plan import Plan
from tasks.prefect_io.artifacts import show_picture, show_summary
from tasks.prefect_io.file_artifacts import show_outputs
from tasks.prefect_io.task import result_of
from tasks.storage.receipt import TileReceipt, counted
from tasks.storage.store import Store


class ExtractionResult(BaseModel):
    """What every extraction flow returns. Paths are absolute."""

    model_config = ConfigDict(frozen=True)

    output: str
    """Root of the output."""
    folder: str
    """Folder of the plan: plan.json, receipts, products."""
    fingerprint: str
    """Fingerprint of the plan."""
    stored: int
    """Number of tiles with pixels."""
    empty: int
    """Number of tiles without a valid pixel: only their receipt is stored."""
    failed: int
    """Number of tiles that could not be fetched. 0 unless `allow_failures` is set."""
    missing: int = 0
    """Number of tiles that a run would fetch. 0 except after a dry run."""
    hedged: int = 0
    """Number of requests that this run sent a second time because they took far longer than the others."""
    manifest: str | None = None
    """GeoParquet with one row for each tile: file, grid, checksum, status. None after a dry run."""
    quicklook: str | None = None
    """PNG that shows the pixels. None for NPY, if no tile has pixels, and after a dry run."""


T = TypeVar("T", bound=ExtractionResult)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A plan, and what became of its tiles."""

    plan: Plan
    tiles: tuple[TileReceipt, ...]
    """One receipt for each tile, in order; after a dry run only those of stored tiles."""
    store: Store
    """The output."""
    cost: Cost | None = None
    """None after a dry run."""
    manifest: PrefectFuture[str] | None = None
    """Future of the manifest's key; None after a dry run."""
    coverage: PrefectFuture[bytes] | None = None
    """Future of the coverage map (PNG); None after a dry run."""
    names: Mapping[int, str] = field(default_factory=dict)
    """What the user calls some tiles, by their numbers: the points of patches. It is shown beside failures."""
    suggested_side: int | None = None
    """Tile size in pixels that fits into one request, if tiles had to be split."""

    @property
    def planned_only(self) -> bool:
        """Whether it was a dry run."""
        return self.cost is None

    @overload
    def path(self, key: str) -> str: ...
    @overload
    def path(self, key: None) -> None: ...
    def path(self, key: str | None) -> str | None:
        """Return the path under which rasterio opens a file of the output."""
        return None if key is None else self.store.open_path(key)

    def show(self, picture: tuple[str, bytes] | None) -> str | None:
        """Show a picture (key, PNG) in the Prefect UI, and return its path."""
        if picture is None:
            return None
        key, png = picture
        show_picture(png)
        return self.path(key)

    def result(self) -> dict[str, object]:
        """Return the fields of :class:`ExtractionResult`; wait for the manifest."""
        return {
            "output": self.store.uri,
            "folder": self.store.open_path(self.plan.folder),
            "fingerprint": self.plan.fingerprint,
            "missing": len(self.plan) - len(self.tiles),
            "hedged": 0 if self.cost is None else self.cost.hedged,
            "manifest": self.path(result_of(self.manifest) if self.manifest else None),
            **counted(self.tiles),
        }

    def finish(self, parameters: ExtractionParameters, result: T) -> T:
        """Show the map, the summary and the files in the Prefect UI, and return the result.

        Raises:
            ExtractionFailedError: Tiles are missing. The products were made from the tiles that are there.
        """
        if self.cost is not None:
            if self.coverage is not None:
                show_picture(result_of(self.coverage), key="coverage", description="Stored, empty, failed tiles")
            uri = self.store.uri
            names, side, allowed = self.names, self.suggested_side, parameters.advanced.allow_failures
            show_summary(self.plan, self.tiles, self.cost, output=uri, suggested_side=side, names=names)
            show_outputs(result.model_dump())
            check_complete(self.tiles, expected=len(self.plan), output=uri, allow_failures=allowed, names=names)
        return result
