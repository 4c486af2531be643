"""The output: all that jobs do in a bucket or a folder, tried in a folder of the examination's own."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from tasks.doctor.check import Check, Outcome, fail, ok, warn
from tasks.storage.checksum import crc32c
from tasks.storage.store import OutputConflict, Store

AREA = "Output"
SMALL = 1_000
LARGE = (8 << 20) + 1
"""Bytes of a file that Cloud Storage's client uploads in parts: all above 8 MB."""
LEAVING_S = 10.0
SLOW_SYNC_S = 0.5
LITTLE, TOO_LITTLE = 5 << 30, 100 << 20
"""Free bytes."""
ROLE = "Grant the account the role Storage Object User (roles/storage.objectUser) on the bucket."
GIVE = "Give a folder that may be written, or gs://bucket/prefix of a bucket that exists."


class Trial:
    """A folder in an output, for one examination.

    Args:
        open_it: Opens the output, and checks that it can be written. Returns the store, and a warning or None.
    """

    def __init__(self, open_it: Callable[[], tuple[Store, str | None]]) -> None:
        self._open = functools.cache(open_it)
        self.folder = f"doctor-{uuid.uuid4().hex[:8]}"
        self.data = os.urandom(SMALL)

    @property
    def store(self) -> Store:
        """The store of the output."""
        return self._open()[0]

    @property
    def advice(self) -> str | None:
        """The warning of the output's own check."""
        return self._open()[1]

    @property
    def in_bucket(self) -> bool:
        """Whether the output is in a bucket."""
        return self.store.uri.startswith("gs://")

    def key(self, name: str) -> str:
        """Return a key in the folder of the examination."""
        return f"{self.folder}/{name}"

    def clean(self) -> list[str]:
        """Delete all that was written, and return the keys that are left."""
        for entry in list(self.store.list(f"{self.folder}/")):
            self.store.delete(entry.key)
        return [entry.key for entry in self.store.list(f"{self.folder}/")]

    def leave(self) -> None:
        """Delete all that was written, as far as `LEAVING_S` seconds allow: the examination was interrupted."""

        def clean() -> None:
            with contextlib.suppress(Exception):
                self.clean()

        cleaning = threading.Thread(target=clean, daemon=True)
        cleaning.start()
        cleaning.join(LEAVING_S)


def output(trial: Trial) -> Iterator[Check]:
    """Yield the checks of an output."""
    make = functools.partial(Check, area=AREA)
    yield make(name="output", expected="exists, and can be used", act=lambda: opened(trial), remedy=GIVE)
    yield make(
        name="free space",
        expected=f"{LITTLE / 2**30:.0f} GB, or no limit",
        act=lambda: free(trial.store),
        needs=("output",),
    )
    yield make(
        name="write",
        expected="a file is stored, with its checksum",
        act=lambda: write(trial),
        needs=("output",),
        remedy=ROLE,
    )
    written = ("write",)
    yield make(
        name="read",
        expected="the same bytes",
        act=lambda: read(trial),
        needs=written,
        remedy="Check the disk or bucket.",
    )
    yield make(
        name="create once",
        expected="a second writer of other bytes is refused (if_generation_match, or a link)",
        act=lambda: once(trial),
        needs=written,
        remedy=ROLE,
    )
    yield make(
        name="replace",
        expected="only the version that was seen is replaced",
        act=lambda: replaced(trial),
        needs=("create once",),
        remedy=ROLE,
    )
    yield make(
        name="large file",
        expected="8 MB are stored: in parts in a bucket, by a rename in a folder",
        act=lambda: large(trial),
        needs=written,
        seconds=180,
    )
    yield make(
        name="list", expected="what was written is listed", act=lambda: listed(trial), needs=written, remedy=ROLE
    )
    yield make(name="delete", expected="a file is deleted", act=lambda: deleted(trial), needs=written, remedy=ROLE)
    yield make(
        name="cleaned up",
        expected="nothing of the examination is left",
        act=lambda: cleaned(trial),
        needs=("output",),
        remedy=f"Delete the folder {trial.folder} in the output by hand.",
        always=True,
        needed=False,
    )


def opened(trial: Trial) -> Outcome:
    """Open the output as a run does."""
    kind = "a bucket" if trial.in_bucket else "a folder"
    if trial.advice:
        return warn(trial.advice, "Write to the bucket itself: output = gs://bucket/prefix.")
    return ok(kind)


def free(store: Store) -> Outcome:
    """Look for free space."""
    count = store.free_bytes()
    if count is None:
        return ok("no limit")
    found, remedy = f"{count / 2**30:.1f} GB free", "Free some space, or give an output on another disk."
    if count < TOO_LITTLE:
        return fail(found, remedy)
    return warn(found, remedy) if count < LITTLE else ok(found)


def write(trial: Trial) -> Outcome:
    """Write a small file: temporary name, fsync, rename; or one upload."""
    begun = time.monotonic()
    entry = trial.store.put(trial.key("small"), trial.data)
    taken = time.monotonic() - begun
    found = f"{SMALL:,} bytes in {taken:.2f} s"
    if entry.crc32c not in {None, crc32c(trial.data)}:
        return fail("another checksum", "Run it again. If it happens again, the way to the bucket changes bytes.")
    if not trial.in_bucket and taken > SLOW_SYNC_S:
        return warn(found, "The disk is slow to keep a file (fsync), and so are jobs: use a disk of this machine.")
    return ok(found)


def read(trial: Trial) -> Outcome:
    """Read the small file."""
    same = trial.store.get(trial.key("small")) == trial.data
    return ok("the same") if same else fail("other bytes", "Check the disk, or what lies between here and the bucket.")


def once(trial: Trial) -> Outcome:
    """Create a tile, then let another writer create it: with the same bytes, and with others."""
    key = trial.key("tile")
    first = trial.store.commit(key, trial.data, fingerprint="doctor")
    again = trial.store.commit(key, trial.data, fingerprint="doctor")
    if again.version != first.version:
        return fail("the same bytes were written twice", _PRECONDITION)
    try:
        trial.store.commit(key, trial.data[::-1], fingerprint="other")
    except OutputConflict:
        return ok("refused")
    return fail("other bytes replaced the first", _PRECONDITION)


_PRECONDITION = (
    "The output ignores preconditions (if_generation_match), so two runs could overwrite each other's tiles. Use Cloud "
    "Storage itself, or a folder."
)


def replaced(trial: Trial) -> Outcome:
    """Replace a tile whose version is known, then with a version that is no longer there."""
    key = trial.key("tile")
    seen = trial.store.find(key)
    if seen is None:
        return fail("the tile is gone", "Something else deletes files in this output: give another one.")
    other = trial.data[::-1]
    entry = trial.store.commit(key, other, fingerprint="other", seen=seen.version)
    if trial.store.get(key) != other or entry.version == seen.version:
        return fail("it was not replaced", _PRECONDITION)
    return ok("replaced")


def large(trial: Trial) -> Outcome:
    """Store a file of a little over 8 MB as products are stored."""
    begun = time.monotonic()
    with trial.store.workspace() as folder:
        path = folder / "large"
        path.write_bytes(bytes(LARGE))
        entry = trial.store.put_file(trial.key("large"), path)
    found = f"{entry.size:,} bytes in {time.monotonic() - begun:.1f} s"
    return ok(found) if entry.size == LARGE else fail(found, "Check the quota of the disk, or of the bucket.")


def listed(trial: Trial) -> Outcome:
    """List the folder of the examination."""
    found = {entry.key.rpartition("/")[2] for entry in trial.store.list(f"{trial.folder}/")}
    if not found >= {"small"}:
        return fail("the file is not listed", "A run would fetch everything again. Use another output.")
    folders = trial.folder in trial.store.folders()
    return ok(f"{len(found)} files") if folders else fail("the folder is not listed", "Use another output.")


def deleted(trial: Trial) -> Outcome:
    """Delete a file."""
    trial.store.delete(trial.key("small"))
    if trial.store.find(trial.key("small")) is None:
        return ok("deleted")
    return fail("it is still there", "A retention policy or a mount keeps files: runs leave temporary files behind.")


def cleaned(trial: Trial) -> Outcome:
    """Delete all that is left."""
    left = trial.clean()
    if left:
        return warn(f"{len(left)} files are left", f"Delete the folder {trial.folder} in the output by hand.")
    return ok("nothing is left")
