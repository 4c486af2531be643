"""Tiles of a plan fetched by a session, without what `run_batch` opens around it."""

from dataclasses import dataclass
from uuid import uuid4

from tasks.extraction.permits import Pace
from tasks.extraction.quota import FixedShare
from tasks.extraction.session import FetchSession
from tasks.storage.receipt import Receipt

AT_ONCE = Pace(in_flight=3, per_second=1e9, pause_s=0.0)


@dataclass(frozen=True)
class Outcome:
    """What became of some tiles, and what stopped the session before the rest."""

    receipt: Receipt
    error: BaseException | None


def a_session(pace=AT_ONCE):
    """A session of a run of its own, with as much of the quota as it may have in flight, from the start."""
    session = FetchSession(str(uuid4()), FixedShare(in_flight=pace.in_flight, of=pace.in_flight), pace)
    session.hold.begin()
    return session


def extract(fetcher, start, stop, *, keep=lambda _: None):
    """Fetch what is missing of the tiles [start, stop)."""
    known = [fetcher.checkpoint.tiles[i] for i in range(start, stop) if i in fetcher.checkpoint.tiles]
    tiles = fetcher.session.begin(fetcher.checkpoint.missing(start, stop), fetcher.fetch)
    fetched, error = tiles.wait(keep)
    every = tuple(sorted([*known, *fetched], key=lambda tile: tile.index))
    return Outcome(Receipt(plan=fetcher.plan.fingerprint, start=start, stop=stop, tiles=every), error)
