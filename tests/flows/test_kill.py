"""A job that is killed in mid-run and started again ends as if nothing had happened: `make chaos`, in short."""

import pytest
from prefect.settings import PREFECT_API_URL

from deployments.sandbox.process import running
from flows.command_line import run
from tasks.storage.local import LocalStore
from tests.bench import work
from tests.bench.server import Control
from tests.chaos.job import Job, contents, kill_at_random
from tests.chaos.place import Bucket, Folder
from tests.flows.conftest import UNPACED

TILES, KILLS, IN_FLIGHT = 160, 2, 8


class Unpaced(Job):
    """It holds a part of the quota's slots, and would keep to that part of its rate."""

    @property
    def command(self):
        return [*super().command, "--requests-per-second", str(UNPACED["requests_per_second"])]


@pytest.fixture(scope="module")
def whole(prefect_server, sandbox_url, tmp_path_factory):
    """What an uninterrupted run of the same command stores, wherever that is."""
    folder = tmp_path_factory.mktemp("whole")
    job = Unpaced(
        control=Control(sandbox_url),
        prefect=str(PREFECT_API_URL.value()),
        points=work.write_points(folder / "points.csv", TILES),
        output=str(folder / "output"),
        store=LocalStore(folder / "output"),
        project="uninterrupted",
        log=folder / "job.log",
    )
    run(job.command[3:])
    return contents(job.store)


@pytest.mark.parametrize("place", [Folder(), Bucket()], ids=lambda place: place.name)
def test_a_job_that_is_killed_twice_equals_an_uninterrupted_one_and_fetches_nothing_twice(
    prefect_server, whole, tmp_path, place
):
    """What is lost with a process is what was in flight, and what it had not yet stored."""
    server = str(PREFECT_API_URL.value())
    with running() as url, place.opened(tmp_path, server) as (output, _, settings):
        control = Control(url)
        control.begin(seed=1, latency_median=0.1, latency_sigma=0.3)
        shared = {
            "control": control,
            "prefect": server,
            "points": work.write_points(tmp_path / "points.csv", TILES),
            "project": f"killed-{place.name}",
            "in_flight": IN_FLIGHT,
            "limit": 4 * IN_FLIGHT,  # so that the next does not wait for the slots of the dead
            "settings": settings,
        }
        job = Unpaced(output=output.address, store=output.store, log=tmp_path / "job.log", **shared)
        kills = kill_at_random(job, tiles=TILES, kills=KILLS, seed=7, wait_for_slots=False)
        job.finish()
        fetched = job.succeeded()
        assert kills[-1].succeeded > 0
        assert fetched <= TILES + (IN_FLIGHT + 4) * KILLS
        ours = contents(output.store)
        assert len(ours) == TILES
        assert ours == whole
    assert list((tmp_path / "output").rglob(".*")) == []
