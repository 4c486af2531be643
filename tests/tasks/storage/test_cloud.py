"""What a bucket has to itself: answers that are lost, late, wrong or no."""

import itertools
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.storage import cloud
from tasks.storage.cloud import CloudStore
from tasks.storage.cloud_client import CONNECTIONS
from tasks.storage.store import OutputBusy, OutputConflict, OutputDamaged, OutputDenied, OutputMissing, StorageError
from tests.cloud.fault import Fault
from tests.tasks.storage.conftest import BUCKET, QUICK, connected

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

IMPATIENT = QUICK.with_timeout(0.05)
BIG = 9_000_000  # is uploaded in chunks
SHORT, LONG = b"abc", bytes(BIG)
NUMBERS = itertools.count()


def put_file(store, data, key="k"):
    with store.workspace() as folder:
        (folder / "f").write_bytes(data)
        return store.put_file(key, folder / "f")


def local_copies(store):
    with store.workspace() as folder:
        return store.local_copies(["k"], folder)["k"].read_bytes()


def read(store):
    with store.open("k") as file:
        return file.read()


WRITES = {
    "put": lambda store: store.put("k", SHORT),
    "commit": lambda store: store.commit("new", SHORT, fingerprint="f"),
    "replace": lambda store: store.commit("k", SHORT, fingerprint="f", seen=store.find("k").version),
    "file": lambda store: put_file(store, SHORT),
    "big file": lambda store: put_file(store, LONG),
}
READS = {
    "get": lambda store: store.get("k"),
    "find": lambda store: store.find("k"),
    "open": read,
    "at hand": local_copies,
    "list": lambda store: list(store.list()),
    "folders": lambda store: store.folders(),
    "check": lambda store: store.check(),
}
ALL = WRITES | READS | {"delete": lambda store: store.delete("k")}
# Method and path of the calls that do it.
PATHS = {
    **dict.fromkeys(WRITES, "POST /upload/"),
    **dict.fromkeys(READS, f"GET /storage/v1/b/{BUCKET}/o"),
    **dict.fromkeys(("get", "open", "at hand"), "GET /download/"),
    "delete": "DELETE ",
}
# And of the one that the bytes go with.
SENT = dict.fromkeys(WRITES, "POST /upload/") | {"big file": "PUT /upload/"}


@pytest.fixture
def server(service):
    """The fake, with all knobs off before and after."""
    service.calls.clear()
    yield service
    service.faults.clear()
    service.latency = 0.0


@pytest.fixture
def new(client, server):
    """Make stores with something in them, of a bucket with some patience."""

    def new(again=QUICK):
        store = CloudStore(BUCKET, f"cloud {next(NUMBERS)}", client, again=again)
        store.put("k", b"before")
        server.calls.clear()
        return store

    return new


@pytest.fixture
def store(new):
    return new()


def objects(server, store):
    """What there is, looked at from behind."""
    begin = f"{store.uri.removeprefix(f'gs://{BUCKET}/')}/"
    return {name.removeprefix(begin): o for name, o in server.objects(BUCKET).items() if name.startswith(begin)}


# What is asked -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("put", {"insert": 1}),
        ("commit", {"insert": 1}),
        ("file", {"insert": 1}),
        ("big file", {"start": 1, "chunk": 1}),
        ("get", {"download": 1}),
        ("find", {"get": 1}),
        ("open", {"get": 1, "download": 1}),
        ("at hand", {"download": 1}),
        ("list", {"list": 1}),
        ("folders", {"list": 1}),
        ("check", {"list": 1}),
        ("delete", {"delete": 1}),
    ],
)
def test_nothing_is_asked_in_vain(store, server, name, calls):
    ALL[name](store)
    assert dict(server.calls) == calls


def test_a_listing_is_a_thousand_a_call_and_just_what_is_wanted(store, client, server):
    begin, answers = store.uri.removeprefix(f"gs://{BUCKET}/"), []
    server.seed(BUCKET, [f"{begin}/tiles/{number}" for number in range(2500)], b"abc", {"fingerprint": "f"})
    client._http.hooks["response"].append(lambda answer, **_: answers.append(answer.json()))
    try:
        listed = list(store.list("tiles/"))
    finally:
        client._http.hooks["response"].clear()
    assert sorted(stored.key for stored in listed) == sorted(f"tiles/{number}" for number in range(2500))
    assert {(stored.size, stored.crc32c, stored.fingerprint) for stored in listed} == {(3, listed[0].crc32c, "f")}
    assert [len(answer["items"]) for answer in answers] == [1000, 1000, 500]
    assert {name for answer in answers for name in answer} == {"items", "nextPageToken"}
    wanted = {"name", "size", "generation", "crc32c", "metadata"}
    assert {name for answer in answers for item in answer["items"] for name in item} == wanted
    server.calls.clear()
    assert (store.folders(), server.calls["list"]) == (["tiles"], 1)


def test_what_a_console_makes_of_a_folder_is_no_key(store, server):
    """It is an object with a slash at its end, and nothing in it."""
    begin = store.uri.removeprefix(f"gs://{BUCKET}/")
    server.seed(BUCKET, [f"{begin}/", f"{begin}/tiles/", f"{begin}/tiles/a/"])
    assert [stored.key for stored in (*store.list(), *store.list("tiles/"))] == ["k"]
    assert store.folders() == ["tiles"]


def test_each_thread_keeps_its_connection(store, client, server):
    server.latency = 0.3
    pool = client._http.get_adapter(server.url).poolmanager.connection_from_url(server.url)
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda _: store.find("k"), range(40)))
        made = pool.num_connections
        list(threads.map(lambda _: store.find("k"), range(40)))
    assert server.most_at_once >= 40
    assert pool.num_connections == made
    assert pool.pool.maxsize == CONNECTIONS


# Answers that are lost, late or no -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITES)
def test_an_answer_that_is_lost_is_no_loss(store, server, name):
    server.faults.append(Fault(match=SENT[name], kind="drop_after_store", times=1))
    stored = WRITES[name](store)
    assert server.faults[0].seen > 1
    assert stored == store.find(stored.key)
    assert set(objects(server, store)) == {"k", stored.key}
    assert store.get(stored.key) in {SHORT, LONG}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("name", ALL)
def test_what_passes_is_waited_for(store, server, name, status):
    server.faults.append(Fault(match=PATHS[name], status=status, times=2))
    ALL[name](store)
    assert server.faults[0].seen >= 3


@pytest.mark.parametrize("status", [408, 429, 503])
@pytest.mark.parametrize("name", ALL)
def test_what_does_not_pass_in_time_may_pass_later(new, server, name, status):
    store = new(IMPATIENT)
    server.faults.append(Fault(match=PATHS[name], status=status))
    with pytest.raises(
        OutputBusy, match=rf"^output = '{store.uri}': .+ cannot be .*{status}.* The cause may be temporary"
    ) as failure:
        ALL[name](store)
    assert failure.value.passing
    server.faults.clear()
    ALL[name](store)


@pytest.mark.parametrize("name", ALL)
def test_where_nobody_listens_it_may_pass(name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with (
        connected(url) as client,
        pytest.raises(OutputBusy, match=r"\(ConnectionError\)\. The cause may be temporary: run"),
    ):
        ALL[name](CloudStore(BUCKET, "p", client, again=IMPATIENT))


# Answers that are wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITES)
def test_what_is_damaged_on_its_way_is_not_left_there(store, server, name):
    server.faults.append(Fault(match=SENT[name], kind="corrupt", times=1))
    with pytest.raises(OutputDamaged, match=rf"^output = '{store.uri}': .+ Run again\.$") as failure:
        WRITES[name](store)
    assert failure.value.passing
    assert not {o.data for o in objects(server, store).values()} - {b"before"}
    if name == "replace":
        store.put("k", b"before")
    WRITES[name](store)
    assert store.get("new" if name == "commit" else "k") in {SHORT, LONG}


@pytest.mark.parametrize("another", [b"another's", None])
def test_what_another_does_to_the_damaged_is_left(store, server, monkeypatch, another):
    server.faults.append(Fault(match="POST /upload/", kind="corrupt", times=1))
    blob, checksum = store._bucket.blob(f"{store._prefix}k"), cloud.crc32c

    def checked(data):
        blob.delete() if another is None else blob.upload_from_string(another)
        return checksum(data)

    monkeypatch.setattr(cloud, "crc32c", checked)
    with pytest.raises(OutputDamaged):
        store.put("k", SHORT)
    assert {o.data for o in objects(server, store).values()} == ({another} - {None})


@pytest.mark.parametrize("name", ["get", "at hand", "open"])
@pytest.mark.parametrize("fault", [{"kind": "corrupt_download", "times": 1}, {"kind": "cut_download"}], ids=str)
def test_what_is_damaged_on_its_way_back_is_found(store, server, name, fault):
    """Also if the client asks for the rest of an answer that is cut off, and gets a part of it."""
    server.faults.append(Fault(match="GET /download/", **fault))
    with pytest.raises(OutputDamaged, match=rf"^output = '{store.uri}': k cannot be read .+ Run again\.$") as failure:
        READS[name](store)
    assert failure.value.passing
    server.faults.clear()
    assert READS[name](store) == b"before"


def test_a_tile_is_ours_by_its_fingerprint_and_its_bytes(store, server):
    ours = store.commit("t", SHORT, fingerprint="f")
    for fingerprint, data, seen in (("g", SHORT, None), ("f", b"abd", None), ("f", b"abd", "1"), ("g", SHORT, "1")):
        with pytest.raises(OutputConflict, match="t holds other bytes than expected"):
            store.commit("t", data, fingerprint=fingerprint, seen=seen)
    server.calls.clear()
    assert store.commit("t", SHORT, fingerprint="f") == store.commit("t", SHORT, fingerprint="f", seen="1") == ours
    assert dict(server.calls) == {"insert": 2, "get": 2}
    assert objects(server, store)["t"].generation == int(ours.version)
    store.put("plan", SHORT)  # by somebody who has no fingerprints
    with pytest.raises(OutputConflict):
        store.commit("plan", SHORT, fingerprint="f")


# No ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_refusal_says_what_to_do(store, server, name):
    server.faults.append(Fault(match=PATHS[name], status=403))
    with pytest.raises(
        OutputDenied, match=rf"'{store.uri}': .+ 403.* Grant the account .+objectUser\) on the bucket\.$"
    ) as failure:
        ALL[name](store)
    assert not failure.value.passing
    assert server.faults[0].seen == 1


@pytest.mark.parametrize("name", ["put", "commit", "file", "big file", *READS])
def test_a_bucket_that_is_missing_is_told_as_such(client, server, name):
    store = CloudStore("missing", "p", client, again=QUICK)
    with pytest.raises(OutputMissing, match=r"^output = 'gs://missing/p': .+ Create the bucket, or give") as failure:
        ALL[name](store)
    assert not failure.value.passing
    with pytest.raises(OutputMissing):
        store.commit("k", SHORT, fingerprint="f", seen="1")


@pytest.mark.parametrize("status", [400, 409, 412, 413])
@pytest.mark.parametrize("name", ALL)
def test_whatever_the_service_says_is_an_error_of_the_output(store, server, name, status):
    server.faults.append(Fault(match=PATHS[name], status=status))
    with pytest.raises(StorageError, match=rf"^output = '{store.uri}': ") as failure:
        ALL[name](store)
    assert not failure.value.passing
    assert type(failure.value) is not OutputMissing


@pytest.mark.parametrize("change", [lambda store: store.put("k", LONG[:-1]), lambda store: store.delete("k")])
def test_an_object_that_is_replaced_while_it_is_read_may_be_read_again(store, change):
    store.put("k", LONG)
    with store.open("k") as file:
        file.read(1)
        change(store)
        with pytest.raises(
            OutputBusy, match=r"k cannot be read \(HTTP 404\)\. The cause may be temporary: run again\."
        ):
            file.read()


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_is_no_more_may_be_begun_again(store, server, status):
    server.faults.append(Fault(match="PUT /upload/", status=status))
    with pytest.raises(OutputBusy, match=rf"cannot be written \(HTTP {status}\)\. The cause may be temporary"):
        put_file(store, LONG)


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_whose_session_is_lost_begins_again(store, server, status):
    """Cloud Storage forgets a session after a week, or at once: https://cloud.google.com/storage/docs/resumable-uploads."""
    server.faults.append(Fault(match="PUT /upload/", status=status, times=2))
    stored = put_file(store, LONG)
    assert dict(server.calls) == {"start": 3, "chunk": 3}
    assert (stored, store.get("k")) == (store.find("k"), LONG)


@pytest.mark.parametrize("lost", [{"kind": "drop_after_store"}, {"status": 503}])
def test_an_upload_that_is_lost_at_its_very_end_is_whole_in_the_end(store, server, lost):
    """First the answer, then the session."""
    server.faults += [Fault(match="PUT /upload/", times=1, **lost), Fault(match="PUT /upload/", status=404, times=1)]
    stored = put_file(store, LONG)
    assert (stored, store.get("k")) == (store.find("k"), LONG)


def random_bytes(size):
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("kind", ["corrupt_download", "cut_download"])
@pytest.mark.parametrize("size", [1000, BIG])
def test_a_range_that_is_damaged_on_its_way_is_read_again_or_refused(store, server, kind, size):
    data = random_bytes(size)
    store.put("k", data)

    def read_parts():
        with store.open("k") as file:
            file.seek(size // 2)
            middle = file.read(300)
            file.seek(0)
            return file.read(100), middle, file.seek(0, 2)

    whole = data[:100], data[size // 2 :][:300], size
    server.faults.append(Fault(match="GET /download/", kind=kind))
    with pytest.raises(OutputDamaged, match=r"k cannot be read \(DataCorruption\)\. Run again\.$"):
        read_parts()
    server.faults[:] = [Fault(match="GET /download/", kind=kind, after=after, times=1) for after in (0, 2)]
    if size > cloud.WHOLE:
        assert read_parts() == whole
    server.faults.clear()
    assert read_parts() == whole


def test_a_tile_that_is_removed_meanwhile_is_written(store, server):
    """Another's was there first, and is gone when it is looked at."""
    server.faults.append(Fault(match="POST /upload/", status=412, times=1))
    assert store.commit("t", SHORT, fingerprint="f") == store.find("t")
    assert store.get("t") == SHORT
