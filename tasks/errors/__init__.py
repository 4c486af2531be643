"""The root of every exception that this project defines.

QuarryError
├── InputError              a value from the user is refused (tasks.errors.input)
├── EarthEngineError        Earth Engine, or the connection to it (tasks.earthengine.errors)
├── CorruptPixelsError      an answer does not hold the requested pixels (tasks.raster.decode)
├── StorageError            the output cannot be read or written (tasks.storage.store)
├── ExtractionFailedError   tiles are missing (tasks.errors.run)
├── RunCancelled            the flow run was cancelled (tasks.errors.run)
├── ServerAwayError         the Prefect server does not answer (tasks.prefect_io.server)
└── ServerRefusedError      the Prefect server refuses a request (tasks.prefect_io.server)
"""


class QuarryError(Exception):
    """Base of all exceptions of this project. Each of them can be pickled."""
