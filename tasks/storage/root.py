"""The root folder of an output: it is created once, and not again if it vanishes during a run."""

from __future__ import annotations

from pathlib import Path

from tasks.storage.store import OutputMissing, StorageError


class Root:
    """The root folder of a local store.

    If the folder is deleted, or its disk is unmounted, a store must not create it again: files would go to the disk
    below the mount point, and fill it.

    Args:
        path: Its path; `~` is the home of the user.

    Raises:
        StorageError: It cannot be the name of a folder.
    """

    def __init__(self, path: Path) -> None:
        self._seen: tuple[int, int] | None = None
        try:
            self.path = path.expanduser().absolute()
            self._seen = self._identity()
        except (RuntimeError, ValueError) as error:  # an unknown user, NUL, or half of a surrogate pair
            raise StorageError(
                f"output = {str(path)!r}: it cannot be the name of a folder ({error}). "
                "Give a folder that you may write to."
            ) from error

    def prepare(self) -> None:
        """Create the folder, if it was never seen.

        Raises:
            OutputMissing: The folder was there, and is not there any more.
            OSError: The folder cannot be created.
        """
        if self._seen is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._seen = self._identity()
        self.check()

    def check(self) -> None:
        """Check that the folder has not vanished.

        Raises:
            OutputMissing: The folder was there, and is not there any more.
        """
        if self._seen is None:
            return
        now = self._identity()
        if now is None:
            reason = "the folder no longer exists. It was deleted, moved or unmounted"
        # Some network file systems change one of the two numbers while they stay mounted.
        elif now[0] != self._seen[0] and now[1] != self._seen[1]:
            reason = "another folder is in its place now. Its disk was unmounted, or another one is mounted there"
        else:
            return
        raise OutputMissing(f"output = {str(self.path)!r}: {reason} during the run. Create or mount it again.")

    def _identity(self) -> tuple[int, int] | None:
        try:
            facts = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:  # such as a missing permission: the call that needs it raises it
            return self._seen
        return facts.st_dev, facts.st_ino
