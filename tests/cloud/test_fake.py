"""Laws of the servers that stand in for Cloud Storage, held with its own client."""

import base64
import gc
import io
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import InvalidOperation, RefreshError
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2.service_account import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tests.cloud.bucket import Bucket, content
from tests.cloud.emulator import emulator
from tests.cloud.fake import fake, running
from tests.cloud.fault import Fault
from tests.cloud.process import serving
from tests.cloud.tokens import service_account_info

CHUNK = 256 * 1024
# What the client repeats by default, without its pauses of a second and more.
QUICK = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05)


@pytest.fixture(autouse=True)
def _told_not_to_look_at_buckets(monkeypatch):
    """Otherwise a thread of the client asks for the bucket, for traces that nobody makes, and would be counted."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


@pytest.fixture(scope="module")
def refusing():
    """The URL of a server that is only asked for what it refuses, by many tests."""
    with fake() as server:
        server.create_bucket("bucket")
        yield server.url


@pytest.fixture
def server():
    with fake() as server:
        server.create_bucket("bucket")
        yield server


@pytest.fixture
def client(server):
    with connected(server.url) as client:
        yield client


@pytest.fixture
def bucket(client):
    return client.bucket("bucket")


@pytest.fixture
def account(server):
    """A client that has a token from the server, which the server insists on."""
    server.requires_token = True
    credentials = Credentials.from_service_account_info(service_account_info(f"{server.url}/token"))
    with connected(server.url, credentials) as client:
        yield client


def connected(url, credentials=None):
    credentials = credentials or AnonymousCredentials()
    return Client(project="p", credentials=credentials, client_options={"api_endpoint": url})


def crc32c(data):
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def upload(blob, data, **options):
    """Upload in one request."""
    blob.upload_from_string(data, content_type="image/tiff", checksum="crc32c", retry=QUICK, **options)


def upload_in_chunks(blob, data, **options):
    """Upload in chunks, however small it is: the client does so where it does not know the size."""
    blob.chunk_size = CHUNK
    blob.upload_from_file(io.BytesIO(data), content_type="image/tiff", checksum="crc32c", retry=QUICK, **options)
    blob.chunk_size = None  # or it would download in chunks, without holding any checksum against them


def upload_file(blob, data):
    """Upload a file, in chunks of 100 MB if it is of more than 8."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        blob.upload_from_filename(file.name, content_type="image/tiff", checksum="crc32c")


BOTH_WAYS = pytest.mark.parametrize("upload", [upload, upload_in_chunks], ids=["whole", "in chunks"])


# What is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "size", "chunks"),
    [
        (upload, 0, 0),
        (upload, 5_000, 0),
        (upload_file, 5_000, 0),
        (upload_file, 9_000_001, 1),
        (upload_in_chunks, 0, 1),
        (upload_in_chunks, CHUNK, 2),
        (upload_in_chunks, 9_000_001, 35),
    ],
)
def test_what_is_uploaded_is_listed_and_downloaded(server, bucket, *, way, size, chunks):
    data, name = os.urandom(size), "tiles/a b/ü?#%.tif"
    blob = bucket.blob(name)
    blob.metadata = {"fingerprint": "f" * 64}
    way(blob, data)
    (listed,) = bucket.list_blobs(prefix="tiles/")
    for each in (blob, listed):
        assert (each.name, each.size, each.content_type) == (name, size, "image/tiff")
        assert (each.crc32c, each.metadata) == (crc32c(data), {"fingerprint": "f" * 64})
    assert (listed.generation, listed.md5_hash, listed.etag) == (blob.generation, blob.md5_hash, blob.etag)
    assert abs(listed.updated.timestamp() - time.time()) < 60
    assert listed.download_as_bytes(checksum="crc32c") == data  # from its media link
    assert bucket.blob(name).download_as_bytes(checksum="md5") == data
    assert server.objects("bucket")[name].data == data
    assert server.calls["chunk"] == chunks


def test_the_environment_may_name_the_server(server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    with Client(project=None) as client:
        upload(client.bucket("bucket").blob("a"), b"abc")
        assert [blob.name for blob in client.list_blobs("bucket")] == ["a"]


def test_a_part_of_an_object_is_downloaded(bucket):
    blob = bucket.blob("a")
    upload(blob, b"0123456789")
    assert blob.download_as_bytes(start=3, end=5) == b"345"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=7, end=100) == b"789"
    assert blob.download_as_bytes(start=-2) == b"89"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


def test_what_is_deleted_is_gone(bucket):
    blob = bucket.blob("a")
    upload(blob, b"abc")
    assert bucket.exists()
    assert blob.exists()
    blob.delete()
    assert not bucket.blob("a").exists()
    with pytest.raises(exceptions.NotFound, match="No such object: bucket/a"):
        bucket.blob("a").delete()


# Preconditions -----------------------------------------------------------------------------------------------------


@BOTH_WAYS
def test_an_object_is_created_once(server, bucket, upload):
    upload(bucket.blob("a"), b"one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed, match="pre-conditions you specified did not hold") as failure:
        upload(bucket.blob("a"), b"two", if_generation_match=0)
    assert failure.value.response.json()["error"]["errors"][0]["reason"] == "conditionNotMet"
    assert server.objects("bucket")["a"].data == b"one"


@BOTH_WAYS
def test_only_the_generation_that_was_seen_is_replaced(server, bucket, upload):
    first, second = bucket.blob("a"), bucket.blob("a")
    with pytest.raises(exceptions.PreconditionFailed):
        upload(first, b"one", if_generation_match=1)
    upload(first, b"one")
    upload(second, b"two", if_generation_match=first.generation)
    assert second.generation > first.generation
    with pytest.raises(exceptions.PreconditionFailed):
        upload(bucket.blob("a"), b"three", if_generation_match=first.generation)
    for stale in (first.reload, first.download_as_bytes, first.delete):
        with pytest.raises(exceptions.NotFound):
            stale()
    for call in (bucket.blob("a").reload, bucket.blob("a").download_as_bytes, bucket.blob("a").delete):
        with pytest.raises(exceptions.PreconditionFailed):
            call(if_generation_match=first.generation)
    assert bucket.blob("a").download_as_bytes(if_generation_match=second.generation) == b"two"
    bucket.blob("a").delete(if_generation_match=second.generation)
    assert server.objects("bucket") == {}


def test_whether_a_generation_matches_is_seen_when_all_chunks_are_there(server, bucket):
    with pytest.raises(exceptions.PreconditionFailed):
        upload_in_chunks(bucket.blob("a"), bytes(2 * CHUNK), if_generation_match=1)
    assert (server.calls["start"], server.calls["chunk"]) == (1, 3)


# Checksums ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kind"), [(5, "insert"), (None, "chunk")])
def test_a_wrong_checksum_is_refused(server, bucket, size, kind):
    blob = bucket.blob("a")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(exceptions.BadRequest, match=r"Provided CRC32C .*AAAAAA==.* doesn\'t match calculated"):
        blob.upload_from_file(io.BytesIO(b"abcde"), size=size, checksum=None)
    assert server.calls[kind] == 1
    assert server.objects("bucket") == {}


def test_a_corrupt_upload_shows_in_the_checksum_of_the_answer(server, bucket):
    server.faults.append(Fault(match="POST /upload/", kind="corrupt", times=1))
    blob = bucket.blob("a")
    upload(blob, b"abc")  # which the client does not look at
    assert blob.crc32c == crc32c(server.objects("bucket")["a"].data) != crc32c(b"abc")


def test_a_corrupt_chunk_is_found_by_the_client(server, bucket):
    server.faults.append(Fault(match="PUT /upload/", kind="corrupt", after=1, times=1))
    with pytest.raises(DataCorruption):
        upload_in_chunks(bucket.blob("a"), bytes(3 * CHUNK))
    # And deleted, whatever its generation is by then.
    assert (server.calls["delete"], server.objects("bucket")) == (1, {})


def test_a_corrupt_download_is_found_by_the_client(server, bucket):
    upload(bucket.blob("a"), b"abc")
    server.faults.append(Fault(match="GET /download/", kind="corrupt_download", times=1))
    with pytest.raises(DataCorruption):
        bucket.blob("a").download_as_bytes(checksum="crc32c")
    assert bucket.blob("a").download_as_bytes(checksum="crc32c") == b"abc"


# Listings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [None, 1000, 5000])
def test_a_page_holds_a_thousand_at_the_most(server, client, page_size):
    names = [f"tiles/{number}" for number in range(2500)]
    server.seed("bucket", reversed(names), b"abc", {"fingerprint": "f"})
    listed = list(client.list_blobs("bucket", prefix="tiles/", page_size=page_size))
    assert [blob.name for blob in listed] == sorted(names)
    assert server.calls["list"] == 3
    assert listed[0].metadata == {"fingerprint": "f"}
    assert listed[0].download_as_bytes(checksum="crc32c") == b"abc"


def test_a_delimiter_gives_prefixes(server, client):
    server.seed("bucket", ["out/a/1", "out/a/2", "out/b/1", "out/c", "other/1"])
    pages = client.list_blobs("bucket", prefix="out/", delimiter="/", page_size=1)
    assert [blob.name for blob in pages] == ["out/c"]
    assert pages.prefixes == {"out/a/", "out/b/"}
    assert server.calls["list"] == 3


def test_only_the_fields_that_are_asked_for_are_told(server):
    server.seed("bucket", ["a/1", "b"], b"abc", {"fingerprint": "f"})

    def told(selected, **more):
        return requests.get(f"{server.url}/storage/v1/b/bucket/o", {"fields": selected, **more}, timeout=5).json()

    assert told("items(name,size),nextPageToken") == {
        "items": [{"name": "a/1", "size": "3"}, {"name": "b", "size": "3"}]
    }
    assert told("items/name,prefixes", delimiter="/") == {"items": [{"name": "b"}], "prefixes": ["a/"]}
    assert set(told("nextPageToken", maxResults=1)) == {"nextPageToken"}
    for wrong in ("items(name", "items(name))", "items(", "a b", "", ",", "items,,kind"):
        assert told(wrong)["error"]["message"] == f"Invalid field selection {wrong}"
    assert "'nmae'" in told("items(nmae)")["error"]["message"]


def test_a_hundred_thousand_objects_are_there_in_seconds(server, client):
    begun = time.monotonic()
    server.seed("bucket", (f"tiles/{number:06d}.tif" for number in range(100_000)), bytes(5_000), {"fingerprint": "f"})
    assert time.monotonic() - begun < 5
    fields = "items(name,size,generation,crc32c,metadata),nextPageToken"
    assert sum(blob.size for blob in client.list_blobs("bucket", fields=fields)) == 100_000 * 5_000
    assert server.calls["list"] == 100


@given(
    names=st.sets(st.text("ab/é", min_size=1, max_size=5)),
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "ab"]),
    most=st.integers(1, 4),
)
def test_pages_are_the_listing_in_pieces(names, prefix, delimiter, most):
    bucket = Bucket("bucket")
    bucket.seed(names, content(b""), {})
    objects, prefixes, start = [], [], ""
    while start is not None:
        page = bucket.page(prefix=prefix, delimiter=delimiter, start=start, most=most)
        assert len(page.objects) + len(page.prefixes) <= most
        objects += [stored.name for stored in page.objects]
        prefixes += page.prefixes
        start = page.next
    below = {name for name in names if name.startswith(prefix)}
    groups = {name: name[len(prefix) :].partition(delimiter) for name in below} if delimiter else {}
    shortened = {name for name in groups if groups[name][1]}
    assert objects == sorted(below - shortened)
    assert prefixes == sorted({prefix + groups[name][0] + delimiter for name in shortened})


# Refusals ----------------------------------------------------------------------------------------------------------


def test_an_unknown_bucket_is_not_found(client):
    missing = client.bucket("missing")
    assert not missing.exists()
    calls = (
        lambda: list(client.list_blobs(missing)),
        lambda: upload(missing.blob("a"), b""),
        lambda: upload_in_chunks(missing.blob("a"), b""),
        missing.blob("a").reload,
        missing.blob("a").download_as_bytes,
        missing.blob("a").delete,
    )
    for call in calls:
        with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
            call()


def test_an_unknown_object_is_not_found(bucket):
    for call in (bucket.blob("a").reload, bucket.blob("a").download_as_bytes):
        with pytest.raises(exceptions.NotFound, match="No such object: bucket/a"):
            call()


def test_what_the_fake_does_not_know_is_refused_by_name(server, client, bucket):
    upload(bucket.blob("a"), b"abc")
    cached = bucket.blob("b")
    cached.cache_control = "no-store"
    calls = {
        "parameter 'versions' of list": lambda: list(client.list_blobs("bucket", versions=True)),
        "value 'full' of 'projection'": lambda: list(client.list_blobs("bucket", projection="full")),
        "parameter 'userProject' of get": client.bucket("bucket", user_project="p").blob("a").reload,
        "property 'cacheControl'": lambda: upload(cached, b""),
        "no POST /storage/v1/b/bucket/o/a/rewriteTo/": lambda: bucket.blob("c").rewrite(bucket.blob("a")),
        "no GET /storage/v1/b": lambda: list(client.list_buckets()),
    }
    for name, call in calls.items():
        with pytest.raises(exceptions.MethodNotImplemented, match=name):
            call()
    assert server.calls["unknown"] == 2


@pytest.mark.parametrize("query", ["ifGenerationMatch=-1", "ifGenerationMatch=x", "generation="])
def test_a_number_that_is_none_is_refused(refusing, query):
    answer = requests.get(f"{refusing}/storage/v1/b/bucket/o/a?{query}", timeout=5)
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalidParameter")


@pytest.mark.parametrize("query", ["maxResults=0", "pageToken=x"])
def test_a_wrong_page_is_refused(refusing, query):
    assert requests.get(f"{refusing}/storage/v1/b/bucket/o?{query}", timeout=5).status_code == 400


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"name": 1},
        {"name": ".."},
        {"name": "a\nb"},
        {"name": "é" * 513},
        {"name": "a", "metadata": {"n": 1}},
        {"name": "a", "metadata": [1]},
        {"name": "a", "contentType": "image/png"},
        [],
    ],
    ids=lambda described: str(described)[:20],
)
def test_an_object_that_the_service_would_not_take_is_refused(refusing, described):
    begin = f"{refusing}/upload/storage/v1/b/bucket/o?uploadType=resumable"
    headers = {"x-upload-content-type": "image/tiff"}
    assert requests.post(begin, json=described, headers=headers, timeout=5).status_code == 400


PART = b"\r\n--x\r\ncontent-type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed; boundary=x", PART[2:] + b"{}" + PART + b"\r\n--x--"),
        ("multipart/related; boundary=x", PART[2:] + b"{}" + b"\r\n--x--"),
        ("multipart/related; boundary=x", PART[2:] + b"{}" + PART),
        ("multipart/related; boundary=x", b"\r\n--x\r\n\r\n{}" + PART + b"\r\n--x--"),
        ("multipart/related; boundary=x", PART.replace(b"json", b"xml")[2:] + b"{}" + PART + b"\r\n--x--"),
    ],
    ids=["type", "one part", "no end", "no type", "no JSON"],
)
def test_a_body_of_other_parts_is_refused(refusing, content_type, body):
    to = f"{refusing}/upload/storage/v1/b/bucket/o?uploadType=multipart"
    answer = requests.post(to, body, headers={"content-type": content_type}, timeout=5)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Malformed multipart body.")


def test_a_chunk_that_does_not_fit_is_refused(server):
    begun = requests.post(
        f"{server.url}/upload/storage/v1/b/bucket/o?uploadType=resumable", json={"name": "a"}, timeout=5
    )
    assert begun.headers["location"].startswith(
        f"{server.url}/upload/storage/v1/b/bucket/o?uploadType=resumable&upload_id="
    )

    def put(content_range, size):
        headers = {"content-range": content_range}
        return requests.put(begun.headers["location"], bytes(size), headers=headers, timeout=5, allow_redirects=False)

    assert put("bytes */*", 0).status_code == 308
    assert "range" not in put("bytes */*", 0).headers
    assert "There should have been 10 byte(s)" in put("bytes 0-9/20", 9).text
    assert "equal or greater than 262144" in put("bytes 0-9/20", 10).text
    assert "exceeds already uploaded size of 0 byte(s)" in put("bytes 10-19/20", 10).text
    assert "Failed to parse Content-Range" in put("bytes 0-9", 10).text
    assert put(f"bytes 0-{CHUNK - 1}/*", CHUNK).headers["range"] == f"bytes=0-{CHUNK - 1}"
    assert put(f"bytes 0-{CHUNK + 1}/{CHUNK + 2}", CHUNK + 2).json()["size"] == str(CHUNK + 2)
    assert put("bytes */*", 0).json()["name"] == "a"


def test_a_session_that_was_not_begun_is_not_found(refusing):
    for query in ("uploadType=resumable", "uploadType=resumable&upload_id=none"):
        assert requests.put(f"{refusing}/upload/storage/v1/b/bucket/o?{query}", b"", timeout=5).status_code == 404


def test_a_failure_of_the_fake_itself_is_not_taken_for_one_that_passes(server, client):
    server._buckets["bucket"] = None
    with pytest.raises(exceptions.MethodNotImplemented, match="The fake failed: AttributeError"):
        list(client.list_blobs("bucket"))


# Faults ------------------------------------------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("status", [429, 503])
def test_the_client_repeats_what_was_too_much(server, bucket, upload, status):
    server.faults.append(
        Fault(match="(POST|PUT) /upload/storage/v1/b/bucket/o$", status=status, times=2, retry_after=1)
    )
    upload(bucket.blob("a"), b"abc", if_generation_match=0)
    assert server.objects("bucket")["a"].data == b"abc"
    assert server.calls["insert"] + server.calls["start"] == 3


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (403, exceptions.Forbidden, "forbidden"),
        (404, exceptions.NotFound, "notFound"),
        (412, exceptions.PreconditionFailed, "conditionNotMet"),
    ],
)
def test_a_fault_is_told_as_the_service_tells_it(server, bucket, status, error, reason):
    server.faults.append(Fault(match="POST /upload/", status=status))
    for _ in range(2):
        with pytest.raises(error) as failure:
            upload(bucket.blob("a"), b"abc")
        assert failure.value.response.json()["error"]["errors"][0]["reason"] == reason
    server.faults.clear()
    upload(bucket.blob("a"), b"abc")


def test_a_fault_spares_some_calls_and_has_a_text_of_its_own(server):
    server.faults.append(
        Fault(match="GET .*/o$", status=403, after=1, times=1, reason="quota", message="No.", retry_after=7)
    )
    answers = [requests.get(f"{server.url}/storage/v1/b/bucket/o", timeout=5) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 403, 200]
    error = answers[1].json()["error"]
    assert (error["code"], error["message"], error["errors"][0]["reason"]) == (403, "No.", "quota")
    assert answers[1].headers["retry-after"] == "7"


@pytest.mark.parametrize("rule", [{}, {"status": 500, "kind": "corrupt"}, {"kind": "slow"}])
def test_a_fault_is_of_one_kind(rule):
    with pytest.raises(ValueError, match="one of the kinds"):
        Fault(match="", **rule)


def test_an_object_whose_answer_was_lost_is_met_by_the_next_try(server, bucket):
    server.faults.append(Fault(match="POST /upload/", kind="drop_after_store", times=1))
    with pytest.raises(exceptions.PreconditionFailed):
        upload(bucket.blob("a"), b"abc", if_generation_match=0)
    assert server.calls["insert"] == 2
    assert server.objects("bucket")["a"].data == b"abc"


def test_chunks_whose_answers_were_lost_are_sent_again(server, bucket):
    server.faults.append(Fault(match="PUT /upload/", kind="drop_after_store", times=2))
    data = os.urandom(CHUNK + 1)
    upload_in_chunks(bucket.blob("a"), data, if_generation_match=0)
    assert server.objects("bucket")["a"].data == data


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_error_that_passes_does_not_end_a_download(server, bucket):
    upload(bucket.blob("a"), b"abc")
    server.faults.append(Fault(match="GET /download/", status=500, times=1))
    assert bucket.blob("a").download_as_bytes(retry=QUICK) == b"abc"
    assert server.calls["download"] == 2
    gc.collect()  # the client leaves the connection that it got the error by to the garbage


# Tokens ------------------------------------------------------------------------------------------------------------


def test_an_expired_token_is_renewed_once(server, account):
    bucket = account.bucket("bucket")
    upload(bucket.blob("a"), b"abc")
    assert server.calls["token"] == 1
    server.expire_tokens()
    upload(bucket.blob("b"), b"abc")
    assert server.calls["token"] == 2
    assert bucket.blob("b").download_as_bytes() == b"abc"
    assert (server.calls["token"], server.calls["insert"]) == (2, 3)


def test_an_account_that_gets_no_token_can_do_nothing(server, account):
    server.refuse_tokens = True
    with pytest.raises(RefreshError, match="invalid_grant"):
        upload(account.bucket("bucket").blob("a"), b"abc")
    assert server.calls["insert"] == 0


def test_nobody_is_refused_where_a_token_is_required(server, bucket):
    server.requires_token = True
    answer = requests.get(f"{server.url}/storage/v1/b/bucket/o", timeout=5)
    error = answer.json()["error"]
    assert (answer.status_code, error["errors"][0]["reason"]) == (401, "required")
    assert "Anonymous caller does not have storage.objects.list access" in error["message"]
    with pytest.raises(InvalidOperation, match="Anonymous credentials cannot be refreshed"):
        upload(bucket.blob("a"), b"abc")


def test_a_made_up_token_is_refused_everywhere(refusing):
    headers = {"authorization": "Bearer ya29.none"}
    answer = requests.get(f"{refusing}/storage/v1/b/bucket", headers=headers, timeout=5)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "Invalid Credentials")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}, "invalid_grant"),
    ],
)
def test_what_is_no_grant_gives_no_token(refusing, form, error):
    answer = requests.post(f"{refusing}/token", form, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def answers(url):
    try:
        requests.get(url, timeout=5)
    except requests.RequestException:
        return False
    return True


# Servers -----------------------------------------------------------------------------------------------------------


def test_calls_at_once_are_counted(server, client, bucket):
    server.latency = 0.4
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: upload(bucket.blob(str(number)), b""), range(6)))
    assert server.most_at_once == 6
    assert server.calls == {"insert": 6}


def test_the_fake_runs_as_a_process_of_its_own():
    with running("bucket", "other") as url, connected(url) as client:
        control = f"{url}/fake"
        seed = {"bucket": "bucket", "prefix": "tiles/", "count": 1500, "size": 7, "metadata": {"fingerprint": "f"}}
        assert requests.post(f"{control}/seed", json=seed, timeout=5).ok
        assert requests.post(f"{control}/seed", json={"bucket": "other", "names": ["a"]}, timeout=5).ok
        rule = {"match": "POST /upload/", "status": 429, "times": 1}
        assert requests.patch(f"{control}/faults", json=[rule], timeout=5).ok
        assert len(list(client.list_blobs("bucket"))) == 1500
        upload(client.bucket("other").blob("b"), b"abc")
        told = requests.get(f"{control}/calls", timeout=5).json()
        assert told == {"calls": {"list": 2, "insert": 2}, "most_at_once": 1}
        first, second = requests.get(f"{control}/objects", {"bucket": "other"}, timeout=5).json()
        assert (first["name"], second["name"]) == ("a", "b")
        assert (second["size"], second["crc32c"]) == (3, crc32c(b"abc"))
        for wrong in ({"bucket": "none", "names": []}, {"bucket": "other", "names": [], "colour": 1}, {}):
            assert not requests.post(f"{control}/seed", json=wrong, timeout=5).ok
        assert requests.patch(f"{control}/faults", json=[{"math": ""}], timeout=5).status_code == 400
        assert requests.get(f"{control}/others", timeout=5).status_code == 400
    assert not answers(url)


def test_the_emulator_runs_as_a_process_of_its_own():
    with emulator() as url, connected(url) as client:
        bucket = client.create_bucket("bucket")
        blob = bucket.blob("tiles/a.tif")
        blob.metadata = {"fingerprint": "f"}
        upload(blob, b"abc")
        (listed,) = client.list_blobs("bucket", prefix="tiles/")
        assert (listed.name, listed.size, listed.crc32c) == ("tiles/a.tif", 3, crc32c(b"abc"))
        assert listed.metadata == {"fingerprint": "f"}
        assert bucket.blob("tiles/a.tif").download_as_bytes(checksum="crc32c") == b"abc"
    assert not answers(url)


@pytest.mark.parametrize(
    "call", ["tests.cloud.fake import running as server", "tests.cloud.emulator import emulator as server"]
)
def test_a_server_ends_with_the_process_that_started_it(call):
    code = f"import time\nfrom {call}\nwith server() as url:\n    print(url, flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        url = parent.stdout.readline().strip()
        assert urlsplit(url).port
        assert answers(url)
        parent.kill()
    end = time.monotonic() + 10
    while answers(url) and time.monotonic() < end:
        time.sleep(0.05)
    assert not answers(url)


def test_a_server_that_can_not_start_says_why():
    with pytest.raises(RuntimeError, match="unrecognized arguments: --bad"), serving("tests.cloud.fake", "--bad"):
        pass
