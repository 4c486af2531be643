"""One batch, in any process: from a small value and a quota to stored tiles, their receipt and a summary."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from uuid import uuid4

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.earthengine.deadlines import DEADLINES, Deadlines
from tasks.earthengine.transport import fetch
from tasks.errors.input import BadInputError
from tasks.extraction.checkpoint import Checkpoint, read_checkpoint
from tasks.extraction.openers import PLAIN, Opener
from tasks.extraction.permits import Pace
from tasks.extraction.quota import Quota
from tasks.extraction.session import FetchSession
from tasks.extraction.stored_plan import open_plan
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.extraction.tile_queue import TileQueue
from tasks.plan.plan import Plan
from tasks.storage.receipt import Receipt, TileReceipt, counted, receipt_key
from tasks.storage.store import StorageError, Store


class Batch(BaseModel):
    """Tiles [start, stop) of a stored plan, and all that a process must know to fetch them. It holds no secret.

    As JSON (`model_dump_json`, `model_validate_json`) and as a pickle it is less than a kilobyte.
    """

    # A key that is given by mistake is shown in no error.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    output: str = Field(min_length=1)
    """Where plan and tiles are: a folder, ``gs://bucket/prefix``, or the slug of a saved block."""
    plan_key: str = Field(min_length=1)
    """Of the plan in the output."""
    plan: str = Field(min_length=1)
    """Fingerprint of the plan."""
    start: int = Field(ge=0)
    """The first tile."""
    stop: int
    """That after the last."""
    connection: ConnectionReference
    pace: Pace = Pace()
    """What the run may do at the most, whatever the quota would give."""
    deadlines: Deadlines = DEADLINES
    workload_tag: str | None = None
    """Label of the requests in Cloud Monitoring."""
    run_id: str = Field(min_length=1)
    """Id of the flow run, or of a job: batches of one run share a session in each process."""

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
            raise ValueError(f"stop = {self.stop}: it must be above start = {self.start}")
        return self

    def model_dump_json(self, **options: Any) -> str:
        """Return JSON, without what is as it is by default."""
        return super().model_dump_json(**{"exclude_defaults": True} | options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as its JSON."""
        return self.model_validate_json, (self.model_dump_json(),)


@dataclass(frozen=True, kw_only=True)
class OpenBatch:
    """A batch with what was opened of its references."""

    batch: Batch
    plan: Plan
    store: Store
    connection: Connection
    checkpoint: Checkpoint
    """What is stored of its tiles, and maybe of others."""

    @property
    def missing(self) -> tuple[int, ...]:
        """The tiles that are to be fetched."""
        return tuple(self.checkpoint.missing(self.batch.start, self.batch.stop))

    def receipt(self, fetched: Iterable[TileReceipt]) -> Receipt:
        """Return what became of its tiles: those that were stored before, and those that were fetched."""
        start, stop, tiles = self.batch.start, self.batch.stop, self.checkpoint.tiles
        known = [tiles[index] for index in range(start, stop) if index in tiles]
        every = tuple(sorted([*known, *fetched], key=lambda tile: tile.index))
        return Receipt(plan=self.plan.fingerprint, start=start, stop=stop, tiles=every)

    def tidy(self, receipt: Receipt, key: str) -> None:
        """Remove the receipts whose tiles are all in this one.

        Only those that were there before this batch began: of two processes that run it, neither removes what the
        other is going to leave.
        """
        if len(receipt.tiles) < receipt.stop - receipt.start:
            return
        failed = {tile.index for tile in receipt.tiles if tile.status == "failed"}
        for old in self.checkpoint.receipts:
            if old.key != key and receipt.start <= old.start and old.stop <= receipt.stop:
                with contextlib.suppress(StorageError, KeyError, ValueError):  # it stays, and says nothing else
                    if not (failed and self._knows_better(old.key, failed)):
                        self.store.delete(old.key)

    def _knows_better(self, key: str, failed: Collection[int]) -> bool:
        """Whether a receipt, as it is now, has a tile that failed here: another process may have stored it since."""
        now = Receipt.from_json(orjson.loads(self.store.get(key)))
        return any(tile.index in failed and tile.status != "failed" for tile in now.tiles)


def open_batch(batch: Batch, *, opener: Opener = PLAIN, checkpoint: Checkpoint | None = None) -> OpenBatch:
    """Open the references of a batch, and read what is stored of its own tiles unless that is given.

    Raises:
        StorageError: the output can't be used, or the plan is not there.
        BadInputError: the connection can't be used here, or the plan has no such tiles.
    """
    store = opener.store(batch.output)
    plan = open_plan(store, batch.plan_key, batch.plan)
    if batch.stop > len(plan):
        raise BadInputError("stop", batch.stop, f"the plan has {len(plan)} tiles", "Give at most that")
    if checkpoint is None:
        checkpoint = read_checkpoint(plan, store, start=batch.start, stop=batch.stop)
    connection = opener.connection(batch.connection)
    return OpenBatch(batch=batch, plan=plan, store=store, connection=connection, checkpoint=checkpoint)


def run_batch(
    batch: Batch, quota: Quota, *, opener: Opener = PLAIN, checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """Fetch what is missing of the tiles of a batch, store it, and write their receipt.

    It may be run twice, late, or by two processes at once: tiles are stored under their fingerprints, and a receipt
    under a name of its own. In a process that has a fetch session for the run, its threads do the work; else one is
    opened for the batch.

    Args:
        batch: What to fetch, by references.
        quota: What this process may have in flight, and by whose leave.
        opener: Opens the references; by default what needs no Prefect server.
        checkpoint: What is stored of the plan, for a caller that has just read it.

    Returns:
        JSON values: key of the receipt (``receipt``), number of tiles that are ``stored``, ``empty`` and ``failed``,
        and how many this call ``fetched``.

    Raises:
        EarthEngineError: one that ends the run: ``Denied``, ``BudgetExhausted`` or ``GivenUp``, since no other tile can
            do better; ``Stopped``, where another batch of the session met one of these. What was stored has a receipt.
        StorageError: the output can't be read or written.
        BadInputError: the connection can't be used here, or the run goes on in this process on other terms.
    """
    known = FetchSession.of(batch.run_id)
    begun = known.begun.get(batch) if known else None
    opened = begun.opened if begun else open_batch(batch, opener=opener, checkpoint=checkpoint)
    if not opened.missing:
        if known:
            known.begun.pop(batch, None)
        return _known(opened)
    with (
        FetchSession.shared(batch.run_id, quota, batch.pace, batch.deadlines) as session,
        session.hold.counting(quota),
    ):
        begun = session.begun.get(batch) or begin_batch(opened, session)
        try:
            return _finish(begun)
        except (KeyboardInterrupt, SystemExit):  # nothing more is sent; what is in flight has its grace, and a receipt
            session.leave()
            with contextlib.suppress(Exception):
                _finish(begun)
            raise


@dataclass(frozen=True)
class RunningBatch:
    """A batch whose missing tiles the threads of a session take."""

    opened: OpenBatch
    session: FetchSession
    tiles: TileQueue


def begin_batch(opened: OpenBatch, session: FetchSession) -> RunningBatch:
    """Let the threads of a session take the missing tiles of a batch, after those that were begun before.

    `run_batch` of the same batch waits for them then, whenever it is called.
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
    except StorageError as failure:  # its tiles are stored all the same, and found by the next run
        error = error or failure
    if error is not None:
        raise error
    return _summary(key, receipt, fetched=len(fetched))


def _known(opened: OpenBatch) -> dict[str, Any]:
    """Return the summary of a batch that is stored already, from its receipt, or from those of its tiles."""
    batch, receipt = opened.batch, opened.receipt(())
    if span := opened.checkpoint.span(batch.start, batch.stop):
        return _summary(span.key, receipt, fetched=0)
    key = receipt_key(opened.plan.folder, batch.start, batch.stop, run=batch.run_id, call=uuid4().hex)
    opened.store.put(key, receipt.encode())
    opened.tidy(receipt, key)
    return _summary(key, receipt, fetched=0)


def _summary(key: str, receipt: Receipt, *, fetched: int) -> dict[str, Any]:
    return {"receipt": key, **counted(receipt.tiles), "fetched": fetched}
