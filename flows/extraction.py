"""The steps that all extraction flows share: check, plan, look up, fetch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial

from flows.area import area_of, called
from flows.background import LARGE, in_background, prepare_products
from flows.batches import fetch_plan
from flows.failures import note_stored
from flows.image_parameters import RecipeImage
from flows.lookup import look_up
from flows.parameters import ExtractionParameters
from flows.results import Extraction
from tasks.coverage import coverage
from tasks.earthengine.connection import Connection
from tasks.earthengine.recipe_names import check_allowed
from tasks.extraction.account import Account
from tasks.extraction.checkpoint import Checkpoint
from tasks.extraction.cost import Cost
from tasks.extraction.incremental import Increment, no_longer_planned
from tasks.extraction.plan_folder import place_plan
from tasks.extraction.session import FetchSession
from tasks.extraction.stored_plan import PLAN, read_plan, store_plan
from tasks.manifest import manifest
from tasks.metadata import read_metadata
from tasks.plan.plan import Plan
from tasks.plan.words import image_of, pixel_of
from tasks.prefect_io.artifacts import log_plan, show_grid, show_plan
from tasks.prefect_io.flow_run import of_deployment, run_logger
from tasks.prefect_io.flow_session import fetch_session
from tasks.prefect_io.opener import Output, open_output
from tasks.prefect_io.run_name import name_run
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import StorageError, Store


def extract(
    parameters: ExtractionParameters,
    make_plan: Callable[[Connection], Plan],
    *,
    growing: bool = False,
    look_ahead: Callable[[Store], object] = lambda _: None,
) -> Extraction:
    """Plan an extraction, fetch its tiles, and start the products of every flow: manifest and coverage map.

    Args:
        parameters: The parameters of the flow.
        make_plan: Reads the metadata from Earth Engine and returns the plan.
        growing: Whether the plan is a time series without an end. Then only new and changed images are fetched.
        look_ahead: Prepares products from the stored tiles while the last requests are in flight.

    Raises:
        BadInputError: A parameter is refused. Nothing was fetched.
        EarthEngineError, StorageError: The run cannot go on.
        RunCancelled: The flow run was cancelled.
    """
    check_recipe_allowed(parameters)
    account = parameters.connect()
    output = open_output(parameters.output, write=not parameters.plan_only)
    with fetch_session(account, parameters.deadlines(), parameters.hedge()) as session:
        plan = read_metadata.with_retries(parameters.advanced.run_retries)(partial(make_plan, account.connection))
        area = area_of(parameters)
        plan = place_plan(plan, output.store, (area, image_of(plan), pixel_of(plan)))
        job = Job(parameters, account, output, session, plan, look_ahead, area)
        if parameters.plan_only:
            return job.show_only()
        tiles, cost = job.fetch_increment() if growing else job.fetch_all()
    stored = sum(tile.status != "failed" for tile in tiles)
    note_stored(
        f"{stored:,} of {len(plan):,} tiles are stored in {output.store.uri}. If the cause is not temporary, fix it "
        "first. To resume, run the same job again: only what is missing is fetched and made."
    )
    return Extraction(
        plan=plan,
        tiles=tiles,
        store=output.store,
        cost=cost,
        manifest=manifest.submit(output.store, plan, tiles),
        coverage=coverage.submit(output.store, plan, tiles, label=called(parameters)),
        suggested_side=session.sizes.suggested_side,
    )


def composite_dates(parameters: ExtractionParameters) -> str:
    """Return the dates of a composite, from the parameters of its recipe, for pictures; empty = it has none."""
    image = parameters.whole_image()
    given = image.parameters if isinstance(image, RecipeImage) else {}
    with contextlib.suppress(KeyError, ValueError):
        return " to ".join(date.fromisoformat(str(given[name])).isoformat() for name in ("start", "end"))
    return ""


def check_recipe_allowed(parameters: ExtractionParameters) -> None:
    """Check the recipe of a run that a deployment started against the list of its operator.

    Raises:
        BadInputError: The recipe is neither built in nor on the list.
    """
    if isinstance(parameters.image, RecipeImage) and of_deployment():
        check_allowed(parameters.image.recipe)


@dataclass(frozen=True)
class Job:
    """One plan in one flow run: looks up its stored tiles, shows it, and fetches it."""

    parameters: ExtractionParameters
    account: Account
    output: Output
    session: FetchSession
    plan: Plan
    look_ahead: Callable[[Store], object]
    area: str

    def show_only(self) -> Extraction:
        """Show the plan and a map of its grid. Fetch and write nothing."""
        known = self._look_up(self.plan, sweep=False)
        self._log(known)
        self._show(len(known.tiles))
        tiles = in_order(known)
        show_grid(self.plan, tiles, label=called(self.parameters))
        return Extraction(plan=self.plan, tiles=tiles, store=self.output.store)

    def fetch_all(self) -> tuple[tuple[TileReceipt, ...], Cost]:
        """Fetch the missing tiles of the plan; return all receipts, in order, and the cost."""
        self._log(Checkpoint())
        key = store_plan(self.output.store, self.plan)  # first, because tiles of a stored plan are not pruned
        return self._fetch(self.plan, key)

    def fetch_increment(self) -> tuple[tuple[TileReceipt, ...], Cost]:
        """Fetch the images of a growing series that are new or changed; return all receipts, in order, and the cost."""
        known = self._look_up(self.plan)
        self._log(known)
        self._report_regrouped()
        if len(known.tiles) == len(self.plan):
            self._show(len(known.tiles))
            store_plan(self.output.store, self.plan)
            return in_order(known), Cost(seconds=0.0, fetched=(), pace=self.account.pace)
        store_plan(self.output.store, self.plan)
        part = Increment(self.plan, known)  # a plan of its own, whose tiles have other numbers
        name = f"parts/{part.plan.fingerprint[:12]}-{self.session.run_id[:8]}.json"
        key = store_plan(self.output.store, part.plan, name=name)
        try:
            tiles, cost = self._fetch(part.plan, key, known)
        finally:
            with contextlib.suppress(StorageError):  # a leftover file does no harm, and must not hide another error
                self.output.store.delete(key)
        return part.with_known(tiles), cost

    def _report_regrouped(self) -> None:
        """Log the images of the last run that are not in the plan, such as mosaics of a day before `group_by`."""
        with contextlib.suppress(KeyError, ValueError):  # there was no run before, or its plan cannot be read
            before = read_plan(self.output.store, f"{self.plan.folder}/{PLAN}")
            if gone := no_longer_planned(before, self.plan):
                run_logger().warning(
                    "%d images of the last run are no longer in the plan: %s%s. They were removed from the collection, "
                    "or its images are grouped in another way now (group_by). Their files stay, and are not part of "
                    "the series",
                    len(gone),
                    ", ".join(gone[:10]),
                    " and more" if len(gone) > 10 else "",
                )

    def _fetch(self, plan: Plan, key: str, known: Checkpoint | None = None) -> tuple[tuple[TileReceipt, ...], Cost]:
        checkpoint = self._look_up(plan)
        started, hedged_before = time.monotonic(), self.session.tally.hedged
        stored = (known or checkpoint).tiles
        prepare = partial(prepare_products, self.plan, stored.values(), label=called(self.parameters))
        is_large = len(plan) - len(checkpoint.tiles) >= LARGE
        early, late = ([prepare], []) if is_large else ([], [prepare])

        def show() -> None:
            self._show(len(stored))
            in_background(*early)

        tiles = fetch_plan(
            plan,
            checkpoint,
            output=self.output,
            plan_key=key,
            account=self.account,
            session=self.session,
            show=show,
            meanwhile=partial(in_background, *late, partial(self.look_ahead, self.output.store)),
        )
        fetched = tuple(tile for tile in tiles if tile.index not in checkpoint.tiles)
        seconds, hedged = time.monotonic() - started, self.session.tally.hedged - hedged_before
        return tiles, Cost(seconds=seconds, fetched=fetched, hedged=hedged, pace=self.account.pace)

    def _look_up(self, plan: Plan, *, sweep: bool = True) -> Checkpoint:
        return look_up(plan, self.output.store, verify=self.parameters.advanced.verify, sweep=sweep)

    def _log(self, known: Checkpoint) -> None:
        log_plan(self.plan, stored=len(known.tiles), pace=self.account.pace)

    def _show(self, stored: int) -> None:
        name_run(self.plan, dry=self.parameters.plan_only, area=self.area)
        show_plan(self.plan, stored=stored, pace=self.account.pace)


def in_order(known: Checkpoint) -> tuple[TileReceipt, ...]:
    """Return the receipts of a checkpoint in the order of their tiles."""
    return tuple(known.tiles[index] for index in sorted(known.tiles))
