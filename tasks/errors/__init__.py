"""The root of every exception that this project defines.

QuarryError
├── InputError              a value from the user is refused (tasks.errors.input)
├── EarthEngineError        Earth Engine, or the connection to it (tasks.earthengine.errors)
├── CorruptPixelsError      an answer does not hold the requested pixels (tasks.raster.decode)
├── StorageError            the output cannot be read or written (tasks.storage.store)
├── ExtractionFailedError   tiles are missing (tasks.errors.run)
├── RunCancelled            the flow run was cancelled (tasks.errors.run)
├── MachineError            this machine lacks memory, room or open files (tasks.errors.machine)
├── UnexpectedError         a bug here or in a library (tasks.errors.run)
├── ServerAwayError         the Prefect server does not answer (tasks.prefect_io.server)
│   └── ServerGoneError     and has not for minutes
└── ServerRefusedError      the Prefect server refuses a request (tasks.prefect_io.server)
"""

from tasks.errors.shown_text import plain


class QuarryError(Exception):
    """Base of all exceptions of this project. Each of them can be pickled."""

    def __str__(self) -> str:
        return plain(super().__str__(), lines=True)

    @property
    def passing(self) -> bool:
        """Whether the same may succeed later, although nothing is changed: an outage, throttling."""
        return False


def may_pass(error: object) -> bool:
    """Return whether what failed with this error may succeed later, although nothing is changed."""
    return isinstance(error, QuarryError) and error.passing
