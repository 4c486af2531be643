"""Run one batch in any process: fetch its missing tiles, store them, and write their receipt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.earthengine.deadlines import DEADLINES, Deadlines
from tasks.earthengine.transport import fetch
from tasks.errors.input import BadInputError
from tasks.extraction.checkpoint import Checkpoint, read_checkpoint
from tasks.extraction.hedge import HEDGE, HedgePolicy
from tasks.extraction.permits import Pace
from tasks.extraction.plain_opener import PLAIN, Opener
from tasks.extraction.quota import Quota
from tasks.extraction.session import FetchSession
from tasks.extraction.stored_plan import open_plan
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.extraction.tile_queue import TileQueue
from tasks.plan.plan import Plan
from tasks.storage.receipt import Receipt, TileReceipt, counted, receipt_key
from tasks.storage.store import StorageError, Store


class Batch(BaseModel):
    """Tiles [start, stop) of a stored plan, with all that a process needs to fetch them. It holds no secret.

    Its JSON (`model_dump_json`, `model_validate_json`) and its pickle are smaller than one kilobyte.
    """

    # Errors do not show the input, which may be a key that was given by mistake.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    output: str = Field(min_length=1)
    """The output with plan and tiles: a folder, ``gs://bucket/prefix``, or the slug of a saved block."""
    plan_key: str = Field(min_length=1)
    """Key of the plan in the output."""
    plan: str = Field(min_length=1)
    """Fingerprint of the plan."""
    start: int = Field(ge=0)
    """Number of the first tile."""
    stop: int
    """Number of the last tile + 1."""
    connection: ConnectionReference
    pace: Pace = Pace()
    """Limits of the run, even if the quota would grant more."""
    deadlines: Deadlines = DEADLINES
    hedge: HedgePolicy = HEDGE
    """Which requests are sent a second time at the end of the run."""
    workload_tag: str | None = None
    """Label of the requests in Cloud Monitoring."""
    run_id: str = Field(min_length=1)
    """Id of the flow run, or an id that the caller chose. In each process, the batches of one run share a session."""

    @model_validator(mode="after")
    def _plain(self) -> Self:
        try:
            self.connection.check()
        except BadInputError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.stop <= self.start:
            raise ValueError(f"stop = {self.stop}: must be greater than start = {self.start}")
        return self

    def model_dump_json(self, **options: Any) -> str:
        """Return JSON without the fields that have their default values."""
        return super().model_dump_json(**{"exclude_defaults": True} | options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the batch as its JSON."""
        return self.model_validate_json, (self.model_dump_json(),)


@dataclass(frozen=True, kw_only=True)
class OpenBatch:
    """A batch with its opened plan, store and connection."""

    batch: Batch
    plan: Plan
    store: Store
    connection: Connection
    checkpoint: Checkpoint
    """What is stored of its tiles. It may include other tiles of the plan."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the tiles that must still be fetched."""
        return tuple(self.checkpoint.missing(self.batch.start, self.batch.stop))

    def receipt(self, fetched: Iterable[TileReceipt]) -> Receipt:
        """Return the receipt of the batch: the tiles that were already stored, and the fetched tiles."""
        start, stop, tiles = self.batch.start, self.batch.stop, self.checkpoint.tiles
        known = [tiles[index] for index in range(start, stop) if index in tiles]
        every = tuple(sorted([*known, *fetched], key=lambda tile: tile.index))
        return Receipt(plan=self.plan.fingerprint, start=start, stop=stop, tiles=every)

    def tidy(self, receipt: Receipt, key: str) -> None:
        """Delete older receipts whose tiles are all in this receipt.

        Only receipts that existed before this batch began are deleted. So if two processes run the batch, neither
        deletes the final receipt of the other. If this receipt lacks a tile of its range, nothing is deleted.
        """
        if len(receipt.tiles) < receipt.stop - receipt.start:
            return
        failed = {tile.index for tile in receipt.tiles if tile.status == "failed"}
        for old in self.checkpoint.receipts:
            if old.key != key and receipt.start <= old.start and old.stop <= receipt.stop:
                with contextlib.suppress(StorageError, KeyError, ValueError):  # an old receipt that stays does no harm
                    if not (failed and self._lists_success(old.key, failed)):
                        self.store.delete(old.key)

    def _lists_success(self, key: str, failed: Collection[int]) -> bool:
        """Read a receipt again, and return whether a tile that failed here succeeded there.

        Another process may have stored the tile in the meantime.
        """
        now = Receipt.decode(self.store.get(key))
        return any(tile.index in failed and tile.status != "failed" for tile in now.tiles)


def open_batch(batch: Batch, *, opener: Opener = PLAIN, checkpoint: Checkpoint | None = None) -> OpenBatch:
    """Open the plan, the store and the connection of a batch, and read its checkpoint unless that is given.

    Raises:
        StorageError: The output cannot be used, or the plan is not there.
        BadInputError: The output or the connection cannot be used in this process, or the plan has no such tiles.
    """
    store = opener.store(batch.output)
    plan = open_plan(store, batch.plan_key, batch.plan)
    if batch.stop > len(plan):
        raise BadInputError("stop", batch.stop, f"the plan has {len(plan)} tiles", "Give at most this number")
    if checkpoint is None:
        checkpoint = read_checkpoint(plan, store, start=batch.start, stop=batch.stop)
    connection = opener.connection(batch.connection)
    return OpenBatch(batch=batch, plan=plan, store=store, connection=connection, checkpoint=checkpoint)


def run_batch(
    batch: Batch, quota: Quota, *, opener: Opener = PLAIN, checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """Fetch the missing tiles of a batch, store them, and write their receipt.

    A batch may run twice, late, or in two processes at once: tiles are stored under their fingerprints, and each call
    writes its receipt under a name of its own. If this process has a fetch session for the run, the threads of that
    session do the work. Otherwise, a session is opened for the batch.

    Args:
        batch: The batch to run.
        quota: The quota that grants this process its requests in flight.
        opener: Opens the store and the connection. The default needs no Prefect server.
        checkpoint: What is stored of the plan, if the caller has just read it.

    Returns:
        JSON values: the key of the receipt (``receipt``), the numbers of tiles that are ``stored``, ``empty`` and
        ``failed``, and the number of tiles that this call ``fetched``.

    Raises:
        EarthEngineError: An error that ends the run. ``Denied``, ``BudgetExhausted`` or ``GivenUp``: every other tile
            would fail, too. ``Stopped``: the session was stopped elsewhere, for example by another batch with one of
            these errors. The tiles that were stored have a receipt.
        StorageError: The output cannot be read or written.
        BadInputError: The output or the connection cannot be used in this process, or the run has a session in this
            process with another quota, pace, deadlines or rule for hedged requests.
    """
    known = FetchSession.of(batch.run_id)
    begun = known.begun.get(batch) if known else None
    opened = begun.opened if begun else open_batch(batch, opener=opener, checkpoint=checkpoint)
    if not opened.missing:
        if known:
            known.begun.pop(batch, None)
        return _known(opened)
    with (
        FetchSession.shared(batch.run_id, quota, batch.pace, batch.deadlines, batch.hedge) as session,
        session.hold.counting(quota),
    ):
        begun = session.begun.get(batch) or begin_batch(opened, session)
        begun.joined.set()
        try:
            return _finish(begun)
        except (KeyboardInterrupt, SystemExit):  # send nothing more, wait for requests in flight, write the receipt
            session.leave()
            with contextlib.suppress(Exception):
                _finish(begun)
            raise


@dataclass(frozen=True)
class RunningBatch:
    """A batch whose missing tiles are queued in a session."""

    opened: OpenBatch
    session: FetchSession
    tiles: TileQueue
    joined: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set when a call of `run_batch` waits for the tiles."""


def begin_batch(opened: OpenBatch, session: FetchSession) -> RunningBatch:
    """Queue the missing tiles of a batch in a session, after the tiles of batches that began earlier.

    When `run_batch` is called later for the same batch, it waits for these tiles.
    """
    batch = opened.batch
    ask = partial(fetch, opened.connection, deadlines=batch.deadlines, workload_tag=batch.workload_tag)
    fetcher = TileFetcher(plan=opened.plan, ask=ask, session=session, store=opened.store, checkpoint=opened.checkpoint)
    begun = RunningBatch(opened, session, session.begin(opened.missing, fetcher.fetch))
    session.begun[batch] = begun
    return begun


def _finish(begun: RunningBatch) -> dict[str, Any]:
    """Wait for the tiles of a batch, write its receipt, and return its summary."""
    opened, batch = begun.opened, begun.opened.batch
    key = receipt_key(opened.plan.folder, batch.start, batch.stop, run=batch.run_id, call=uuid4().hex)

    def keep(fetched: Iterable[TileReceipt]) -> None:
        opened.store.put(key, opened.receipt(fetched).encode())

    fetched, error = begun.tiles.wait(keep)
    receipt = opened.receipt(fetched)
    begun.session.ended(batch, receipt)
    try:
        keep(fetched)
        opened.tidy(receipt, key)
    except StorageError as failure:  # the tiles are stored even without a receipt, and the next run finds them
        error = error or failure
    begun.session.ends[batch] = error
    if error is not None:
        raise error
    return _summary(key, receipt, fetched=len(fetched))


def _known(opened: OpenBatch) -> dict[str, Any]:
    """Return the summary of a batch without missing tiles. Write its receipt unless it already has one."""
    batch, receipt = opened.batch, opened.receipt(())
    if span := opened.checkpoint.span(batch.start, batch.stop):
        return _summary(span.key, receipt, fetched=0)
    key = receipt_key(opened.plan.folder, batch.start, batch.stop, run=batch.run_id, call=uuid4().hex)
    opened.store.put(key, receipt.encode())
    opened.tidy(receipt, key)
    return _summary(key, receipt, fetched=0)


def _summary(key: str, receipt: Receipt, *, fetched: int) -> dict[str, Any]:
    return {"receipt": key, **counted(receipt.tiles), "fetched": fetched}
