"""The steps that all extraction flows share: check, plan, look up, fetch, finish."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, overload

from odc.geo import xy_
from prefect.futures import PrefectFuture
from pydantic import BaseModel, ConfigDict

from flows.background import LARGE, in_background, prepare_products
from flows.batches import fetch_plan
from flows.failures import of_deployment
from flows.lookup import look_up
from flows.parameters import ExtractionParameters
from tasks.coverage import coverage
from tasks.earthengine.connection import Connection
from tasks.earthengine.recipe_names import check_allowed
from tasks.extraction.completeness import check_complete
from tasks.extraction.cost import Cost
from tasks.extraction.incremental import Increment
from tasks.extraction.stored_plan import store_plan
from tasks.manifest import manifest
from tasks.metadata import planned
from tasks.plan.plan import Plan
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.prefect_io.artifacts import log_plan, show_grid, show_outputs, show_picture, show_plan, show_summary
from tasks.prefect_io.flow_session import fetch_session
from tasks.prefect_io.opener import open_output, opened
from tasks.prefect_io.run_name import name_run
from tasks.prefect_io.task import unvisited
from tasks.storage.receipt import TileReceipt, counted
from tasks.storage.store import StorageError


class ExtractionResult(BaseModel):
    """What every flow returns. Paths are absolute."""

    model_config = ConfigDict(frozen=True)

    output: str
    """Root of the output."""
    folder: str
    """Folder of this plan: plan.json, receipts, products."""
    fingerprint: str
    """Identity of the plan."""
    stored: int
    """Tiles with pixels."""
    empty: int
    """Tiles without a valid pixel: nothing is stored for them but their receipt."""
    failed: int
    """Tiles that Earth Engine refused; none, unless failures are allowed."""
    missing: int = 0
    """Tiles that a run would fetch; none, but after a dry run."""
    manifest: str | None = None
    """GeoParquet: one row a tile, with its file, grid, checksum and state. None after a dry run."""
    quicklook: str | None = None
    """A picture of it."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A plan with what became of its tiles."""

    plan: Plan
    tiles: tuple[TileReceipt, ...]
    """Of a dry run those that are stored already, else all."""
    output: str
    """Root of the output: a block's slug, or an address."""
    spent: Cost | None = None
    """None after a dry run."""
    manifest: PrefectFuture[str] | None = None
    """On its way; none after a dry run."""
    coverage: PrefectFuture[bytes] | None = None
    """As above: the picture of what is stored."""
    suggested_side: int | None = None
    """Tile size that fits, where tiles were too heavy for one request."""

    @property
    def planned_only(self) -> bool:
        """Whether it was a dry run."""
        return self.spent is None

    @overload
    def path(self, key: str) -> str: ...
    @overload
    def path(self, key: None) -> None: ...
    def path(self, key: str | None) -> str | None:
        """Return the path of a product that rasterio opens."""
        return None if key is None else open_output(self.output).open_path(key)

    def result(self) -> dict[str, object]:
        """The fields of :class:`ExtractionResult`."""
        store = open_output(self.output)
        return {
            "output": store.uri,
            "folder": store.open_path(self.plan.folder),
            "fingerprint": self.plan.fingerprint,
            "missing": len(self.plan) - len(self.tiles),
            "manifest": self.path(self.manifest.result() if self.manifest else None),
            **counted(self.tiles),
        }

    def finish(self, parameters: ExtractionParameters, result: T) -> T:
        """Show what became of the tiles; fail the run if one is missing, once products are made of what is there."""
        uri = open_output(self.output).uri
        if self.spent is not None:
            if self.coverage is not None:
                show_picture(self.coverage.result(), key="coverage", description="Stored, empty, failed tiles")
            show_summary(self.plan, self.tiles, self.spent, output=uri, suggested_side=self.suggested_side)
            show_outputs(result.model_dump())
            check_complete(self.tiles, expected=len(self.plan), output=uri, allow_failures=parameters.allow_failures)
        return result


T = TypeVar("T", bound=ExtractionResult)


def named(parameters: ExtractionParameters) -> ImageSpec:
    """Return what is to be read, as the planner takes it.

    Raises:
        BadInputError: a deployment's run names a function that its operator has not listed.
    """
    image = parameters.image.model_dump()
    if image.get("recipe") and of_deployment():
        check_allowed(image["recipe"])
    return ImageSpec(
        asset=image.get("asset"),
        recipe=image.get("recipe"),
        recipe_parameters=image.get("parameters"),
        expression=image.get("expression"),
        name=image.get("name", "expression"),
        as_of=image.get("as_of"),
    )


def wanted(parameters: ExtractionParameters) -> PixelSpec:
    """Return how it is to be read, as the planner takes it."""
    return PixelSpec(
        bands=parameters.bands,
        crs=parameters.crs,
        scale=parameters.scale,
        anchor=xy_(*parameters.anchor),
        max_requests=parameters.max_requests,
        clip=parameters.clips,
        tile_format=parameters.stored_as(),
    )


def extract(
    parameters: ExtractionParameters,
    make_plan: Callable[[Connection], Plan],
    *,
    growing: bool = False,
    look_ahead: Callable[[str], object] = lambda _: None,
) -> Extraction:
    """Prepare, plan, show the plan, fetch it all.

    Args:
        parameters: Of the flow.
        make_plan: Asks for metadata, and plans.
        growing: Whether the plan is a series without an end, of which just what is new or changed is fetched.
        look_ahead: Called with the output while the last requests are awaited: for what products need of it.

    Raises:
        BadInputError: a parameter can't be; nothing was fetched.
        EarthEngineError, StorageError: the run can't go on; the message says why.
    """
    dry = parameters.plan_only
    account, output = parameters.connect(), opened(parameters.output, write=not dry)
    with fetch_session(account, parameters.deadlines()) as session:
        whole = planned(partial(make_plan, account.connection), retries=parameters.run_retries)
        known = look_up(whole, output, verify=parameters.verify, sweep=not dry) if dry or growing else None

        def show(stored: int) -> None:
            name_run(whole, dry=dry)
            show_plan(whole, stored=stored, pace=account.pace)

        log_plan(whole, stored=len(known.tiles) if known else 0, pace=account.pace)
        if known and (dry or len(known.tiles) == len(whole)):
            show(len(known.tiles))
            tiles = tuple(known.tiles[index] for index in sorted(known.tiles))
            if dry:
                show_grid(whole, tiles)
                return Extraction(plan=whole, tiles=tiles, output=output)
            store_plan(whole, output)
            return _extracted(whole, tiles, output, Cost(seconds=0.0, fetched=(), pace=account.pace))
        plan_key = store_plan(whole, output)  # first: what a plan holds is not pruned
        part = Increment(whole, known) if known else None
        plan = part.plan if part else whole
        if part:  # its tiles have numbers of their own
            plan_key = store_plan(plan, output, name=f"parts/{plan.fingerprint[:12]}-{session.run_id[:8]}.json")
        checkpoint = look_up(plan, output, verify=parameters.verify)
        begun = time.monotonic()
        stored = (known or checkpoint).tiles

        missing = len(plan) - len(checkpoint.tiles)
        prepare = partial(prepare_products, whole, stored.values())
        early, late = ([prepare], []) if missing >= LARGE else ([], [prepare])

        def begun_to_fetch() -> None:
            show(len(stored))
            in_background(*early)

        try:
            tiles = fetch_plan(
                plan,
                checkpoint,
                output=output,
                plan_key=plan_key,
                connection=account.connection,
                session=session,
                workload_tag=account.workload_tag,
                show=begun_to_fetch,
                meanwhile=partial(in_background, *late, partial(look_ahead, output)),
            )
        finally:
            if part:
                with contextlib.suppress(StorageError):  # a file too many: what went wrong is more worth saying
                    open_output(output).delete(plan_key)
        fetched = tuple(tile for tile in tiles if tile.index not in checkpoint.tiles)
        spent = Cost(seconds=time.monotonic() - begun, fetched=fetched, pace=account.pace)
        side = session.sizes.suggested_side
    return _extracted(whole, part.with_known(tiles) if part else tiles, output, spent, side)


def _extracted(
    plan: Plan, tiles: tuple[TileReceipt, ...], output: str, spent: Cost, side: int | None = None
) -> Extraction:
    """Set the manifest and the map on their way, while the flow makes its products."""
    return Extraction(
        plan=plan,
        tiles=tiles,
        output=output,
        spent=spent,
        manifest=manifest.submit(unvisited(plan), unvisited(tiles), output=output),
        coverage=coverage.submit(unvisited(plan), unvisited(tiles), output=output),
        suggested_side=side,
    )
