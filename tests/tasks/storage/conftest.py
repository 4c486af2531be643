"""The places that the contract of a store is held with: a folder, and the two servers that stand in for a bucket."""

import gc
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from google.cloud.storage.retry import DEFAULT_RETRY

from tasks.storage import cloud_client
from tasks.storage.cloud import CloudStore
from tasks.storage.local import LocalStore
from tasks.storage.store import Store
from tests.cloud.emulator import emulator
from tests.cloud.fake import fake

BUCKET = "pixels"
# The client's own policy, with less patience.
QUICK = DEFAULT_RETRY.with_delay(0.01, 0.05).with_timeout(1.0)


@dataclass(frozen=True)
class Place:
    """Where stores are made, each with a root of its own."""

    name: str
    new: Callable[[], Store]

    def but_emulator(self, reason: str) -> None:
        """Skip a law that gcp-storage-emulator can't keep."""
        if self.name == "emulator":
            pytest.skip(f"gcp-storage-emulator {reason}")


def connected(url, credentials=None):
    """A client as the project makes it, to a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        return cloud_client.client(credentials)


@pytest.fixture(autouse=True, scope="module")
def _collected():
    """The client leaves connections of failed calls to the garbage: none of a module's is found by the next."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def service():
    """The strict fake, shared; whoever turns a knob turns it back."""
    with fake() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def client(service):
    """One client for all, as in a run."""
    with connected(service.url) as client:
        yield client


@pytest.fixture(scope="session")
def emulated():
    """A client of gcp-storage-emulator."""
    with emulator() as url, connected(url) as client:
        client.create_bucket(BUCKET)
        yield client


@pytest.fixture(scope="module", params=["folder", "bucket", "emulator"])
def place(request, tmp_path_factory):
    """Each kind of place in turn."""
    numbers = itertools.count()
    folder, client = tmp_path_factory.mktemp("stores"), None
    if request.param != "folder":
        client = request.getfixturevalue("client" if request.param == "bucket" else "emulated")

    def new():
        name = f"{request.module.__name__} {next(numbers)}/root"
        return CloudStore(BUCKET, name, client, again=QUICK) if client else LocalStore(folder / name)

    return Place(request.param, new)


@pytest.fixture
def store(place):
    """A store with nothing in it."""
    return place.new()
