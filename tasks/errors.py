"""The root of every exception that this project defines.

QuarryError
├── InputError              what the user gave can't be (tasks.raster.refusal)
├── EarthEngineError        Earth Engine, or the way to it (tasks.earthengine.errors)
├── CorruptPixelsError      an answer that is not the pixels (tasks.raster.decode)
├── StorageError            the output can't be read or written (tasks.storage.store)
├── ExtractionFailedError   tiles are missing (tasks.report)
├── RunCancelled            the flow run was cancelled (tasks.quota)
├── ServerAwayError         the Prefect server does not answer (tasks.limit)
└── ServerRefusedError      the Prefect server answers, and refuses (tasks.limit)
"""


class QuarryError(Exception):
    """Base of all exceptions of this project; each of them pickles."""
