"""The steps that all flows share, in their order: prepare, fetch, hold against the plan."""

from __future__ import annotations

import contextlib
import functools
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Failed
from pydantic import BaseModel, ConfigDict

from flows.parameters import Extraction
from flows.service import Service
from tasks.again import again, check_not_cancelled
from tasks.course import RunCancelled, at_quota
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import EarthEngineError
from tasks.earthengine.image import Named
from tasks.earthengine.permits import Pace
from tasks.earthengine.plan import Plan, estimate
from tasks.earthengine.planning import Wanted
from tasks.fetch import fetch_plan, store_plan
from tasks.manifest import manifest
from tasks.output import open_output, opened
from tasks.products import unvisited
from tasks.raster.refusal import InputError
from tasks.report import ExtractionFailedError, check_complete, log_plan, show_plan, show_summary
from tasks.resume import stored_before
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
    manifest: str
    """GeoParquet: one row a tile, with its file, grid, checksum and state."""
    quicklook: str | None = None
    """A picture of it."""


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A plan with what became of its tiles."""

    plan: Plan
    tiles: tuple[TileReceipt, ...]
    output: str
    """Root of the output: a block's slug, or an address."""
    seconds: float
    """From the first request to the last receipt."""
    best_seconds: float
    """What the rate limit alone would have taken."""
    manifest: PrefectFuture[str]
    """On its way."""
    suggested_side: int | None = None
    """Tile size that fits, where tiles were too heavy for one request."""

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
            "manifest": self.path(self.manifest.result()),
            **counted(self.tiles),
        }

    def check(self, parameters: Extraction) -> None:
        """Show what became of the tiles; fail the run if one is missing, once products are made of what is there."""
        self.manifest.wait()
        show_summary(
            self.plan,
            self.tiles,
            seconds=self.seconds,
            best_seconds=self.best_seconds,
            output=open_output(self.output).uri,
            suggested_side=self.suggested_side,
        )
        check_complete(
            self.tiles,
            expected=len(self.plan),
            output=open_output(self.output).uri,
            allow_failures=parameters.allow_failures,
        )


P = TypeVar("P", bound=Service)
R = TypeVar("R", bound=BaseModel)


def run_name() -> str:
    """Say what a run is about and where: `region sentinel2_median utm 20`."""
    kind = flow_run.flow_name.removeprefix("extract-")
    given = flow_run.parameters.get("parameters", {})
    read = given if isinstance(given, dict) else given.model_dump()
    image = read.get("image") or {}
    label = image.get("asset") or image.get("recipe") or image.get("name") or "expression"
    return " ".join(str(part) for part in (kind, label, read.get("crs", "utm"), read.get("scale") or "") if part)


def plainly(function: Callable[[P], R]) -> Callable[[P], R]:
    """Let a flow fail with one message, where the cause is not in the code.

    Raised through the engine, such an error would be logged with a traceback of fifty lines around it. As the data of
    a failed state it is still what a caller from Python catches.
    """

    @functools.wraps(function)
    def told(parameters: P) -> R:
        try:
            with undisturbed():
                check_not_cancelled()
                return function(parameters)
        except RunCancelled as end:
            cancelled: Any = Cancelled(message=str(end))
            return cancelled  # type: ignore[no-any-return]  # as below
        except (InputError, EarthEngineError, StorageError, ExtractionFailedError) as error:
            if again(error, retries=parameters.run_retries, delay_s=parameters.run_retry_delay):
                raise error.with_traceback(None) from None  # only what is raised is retried
            words = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
            failed: Any = Failed(message=words, data=error)
            return failed  # type: ignore[no-any-return]  # the engine takes a state for a result

    return told


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave what is there already out of Python's search for garbage.

    It is some 200,000 objects after the imports alone: every search of all stops all threads for a seventh of a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def named(parameters: Extraction) -> Named:
    """Return what is to be read, as the planner takes it."""
    image = parameters.image.model_dump()
    return Named(
        asset=image.get("asset"),
        recipe=image.get("recipe"),
        recipe_parameters=image.get("parameters"),
        expression=image.get("expression"),
        name=image.get("name", "expression"),
        as_of=image.get("as_of"),
    )


def wanted(parameters: Extraction) -> Wanted:
    """Return how it is to be read, as the planner takes it."""
    return Wanted(
        bands=parameters.bands,
        crs=parameters.crs,
        scale=parameters.scale,
        anchor=parameters.anchor,
        max_requests=parameters.max_requests,
        clip=parameters.clips,
        output=parameters.stored_as(),
    )


def pace(parameters: Service) -> Pace:
    """Return the quota that a run was told."""
    return Pace(in_flight=parameters.requests_in_flight, per_second=parameters.requests_per_second)


def extract(parameters: Extraction, make_plan: Callable[[Connection], Plan]) -> Extracted:
    """Prepare, plan, show the plan, fetch it all, show what became of it.

    Raises:
        BadInputError: a parameter can't be; nothing was fetched.
        EarthEngineError, StorageError: the run can't go on; the message says why.
    """
    connection, output = parameters.connection(), opened(parameters.output)
    with at_quota(
        connection.project, pace(parameters), parameters.deadlines(), workload_tag=parameters.workload_tag
    ) as course:
        plan = make_plan(connection)
        cost = estimate(plan, per_second=parameters.requests_per_second)
        log_plan(plan, cost, in_flight=parameters.requests_in_flight)
        plan_key = store_plan(plan, output)  # first: what a plan holds is not pruned
        checkpoint = stored_before(plan, output, verify=parameters.verify)
        begun = time.monotonic()
        tiles = fetch_plan(
            plan,
            checkpoint,
            output=output,
            plan_key=plan_key,
            connection=connection,
            course=course,
            show=lambda: show_plan(plan, cost, in_flight=parameters.requests_in_flight, stored=len(checkpoint.tiles)),
        )
        seconds = time.monotonic() - begun
        side = course.run.sizes.suggested_side
    return Extracted(
        plan=plan,
        tiles=tiles,
        output=output,
        seconds=seconds,
        best_seconds=cost.best_seconds,
        manifest=manifest.submit(unvisited(plan), unvisited(tiles), output=output),
        suggested_side=side,
    )
