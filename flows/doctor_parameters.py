"""Parameters of an examination: the connection and the output of the jobs that are to run."""

from __future__ import annotations

from flows.run_options import RunOptions


class DoctorParameters(RunOptions):
    """A check of this machine, the sign-in, Earth Engine, the output and the Prefect server, as a table."""

    @property
    def asks_earth_engine(self) -> bool:
        """Whether a run needs a project and credentials to start: no, since what is missing is to be found."""
        return False
