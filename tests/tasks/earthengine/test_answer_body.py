"""Laws of answers: none takes more memory than its request allows, whatever a server sends."""

import gzip
import json
import subprocess
import sys
import threading
import zlib

import pytest
import requests

from tasks.earthengine.answer_body import ERROR_BYTES, decompressed
from tasks.earthengine.bounded_session import BoundedSession
from tasks.earthengine.errors import Rejected, TooHeavy, Transient
from tasks.earthengine.translation import TEXT_LIMIT
from tasks.earthengine.transport import PixelRequest, fetch, send
from tests.tasks.earthengine.test_transport import NPY, answer, serving

SMALL = PixelRequest(asset=None, body=b'{"fileFormat":"NPY"}', largest=len(NPY))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MEMORY_MB = 600


def bomb():
    """Return 2 MB of gzip that hold 2 GB of zeros."""
    piece = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = piece.compress(bytes(16 << 20)) + piece.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + zeros * 128 + zlib.compress(b"", wbits=-zlib.MAX_WBITS) + bytes(8)


def endless(start, piece):
    """Send a start, and then pieces until the client goes away."""

    def reply(sock, head, body):
        sock.sendall(start)
        try:
            while True:
                sock.sendall(piece)
        except OSError:
            return False

    return reply


MEGABYTE = bytes(1 << 20)
NEVER_WHOLE = {
    "bomb": answer(bomb(), Content_Encoding="gzip"),
    "no length": endless(b"HTTP/1.1 200 OK\r\n\r\n", MEGABYTE),
    "chunks": endless(CHUNKED, b"100000\r\n" + MEGABYTE + b"\r\n"),
    "small chunks": endless(CHUNKED, b"2\r\nab\r\n" * 10_000),
    "extensions": endless(CHUNKED, b"1;" + b"x" * 60_000 + b"\r\na\r\n"),
    "trailers": endless(CHUNKED + b"1\r\na\r\n0\r\n", b"X-Trailer: x\r\n" * 1_000),
    "continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n" * 1_000),
    "line": endless(b"HTTP/1.1 200 OK\r\nX-Header: ", MEGABYTE),
    "length": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", MEGABYTE),
    "chunk": endless(CHUNKED + b"fffffffffff\r\n", MEGABYTE),
    "error": endless(b"HTTP/1.1 500 Away\r\n\r\n", b"<p>away" * 100_000),
    "members": answer(gzip.compress(b"") * 100_000, Content_Encoding="gzip"),
}

MEASURE = """
import json, resource, sys
from tasks.earthengine.connection import Connection
from tasks.earthengine.transport import PixelRequest, fetch, send
from tasks.errors import QuarryError
for name, endpoint in json.loads(sys.argv[1]).items():
    connection = Connection(project="my-project", endpoint=endpoint)
    for call in (
        lambda: fetch(connection, PixelRequest(asset=None, body=b'{"fileFormat":"NPY"}', largest=20 << 20)),
        lambda: send(connection, "GET", "projects/p/assets/x"),
    ):
        try:
            outcome = str(call())
        except QuarryError as error:
            outcome = type(error).__name__
        peak = int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024  # of this program alone
        print(json.dumps([name, outcome, peak]), flush=True)
"""


@pytest.fixture(scope="module")
def measured():
    """What becomes of each answer in another process: outcomes of pixels and metadata, and peak memory in MB."""
    servers = {name: serving(reply) for name, reply in NEVER_WHOLE.items()}
    try:
        endpoints = {name: server.__enter__()[0].endpoint for name, server in servers.items()}
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, json.dumps(endpoints)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    finally:
        for server in servers.values():
            server.__exit__(None, None, None)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", NEVER_WHOLE)
def test_no_answer_takes_more_memory_than_its_request_allows(measured, name):
    pixels, metadata = [(outcome, peak) for which, outcome, peak in measured if which == name]
    assert pixels[0] == "Transient"
    assert metadata[0] in {"Transient", "TooHeavy"}
    assert max(pixels[1], metadata[1]) < MEMORY_MB


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_the_largest_answer_is_read_and_one_byte_more_is_not(compressed, chunked):
    def reply(sock, head, body):
        data = NPY + bytes(b"more" in body)
        data = gzip.compress(data) if compressed else data
        coding = {"Content_Encoding": "gzip"} if compressed else {}
        if chunked:
            head = answer(b"", **coding).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            sock.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
        else:
            sock.sendall(answer(data, **coding))

    with serving(reply) as (connection, _):
        assert fetch(connection, SMALL).body == NPY
        more = PixelRequest(asset=None, body=b'{"more":1}', largest=len(NPY))
        with pytest.raises(Transient, match=f"larger than its request allows: more than {len(NPY):,} bytes"):
            fetch(connection, more)
        assert fetch(connection, SMALL).body == NPY
        with pytest.raises(TooHeavy, match="larger"):
            send(connection, "GET", "projects/p/assets/x", largest=len(NPY) - 1)
        assert send(connection, "GET", "projects/p/assets/x", largest=len(NPY)) == NPY


@pytest.mark.parametrize("size", [ERROR_BYTES - 1, ERROR_BYTES, ERROR_BYTES + 1])
@pytest.mark.parametrize("compressed", [True, False])
def test_of_a_long_error_the_beginning_is_shown(size, compressed):
    text = (b"Band X is not there. " * ERROR_BYTES)[:size]
    content = gzip.compress(text) if compressed else text
    coding = {"Content_Encoding": "gzip"} if compressed else {}
    with serving(answer(content, status="400 Bad Request", **coding)) as (connection, _):
        for _ in range(2):
            with pytest.raises(Rejected, match="Band X is not there") as caught:
                fetch(connection, SMALL)
            assert len(str(caught.value)) < TEXT_LIMIT + 200


def test_the_parts_of_a_compressed_answer_are_one():
    parts = gzip.compress(b"a" * 100) + b"\0\0" + gzip.compress(b"") + gzip.compress(b"b")
    assert decompressed(parts, 101) == b"a" * 100 + b"b"
    assert decompressed(parts, 100) is None
    assert decompressed(b"", 0) == b""
    with pytest.raises(EOFError):
        decompressed(parts[:-9], 101)
    with pytest.raises(zlib.error):
        decompressed(parts + b"more", 101)


def test_an_answer_that_is_too_large_frees_its_thread_and_its_connection():
    gone = threading.Event()

    def reply(sock, head, body):
        endless(CHUNKED, b"100000\r\n" + MEGABYTE + b"\r\n")(sock, head, body)
        gone.set()
        return False

    with serving(reply) as (connection, _):
        with pytest.raises(Transient, match="larger"):
            fetch(connection, SMALL)
        assert gone.wait(10)


@pytest.mark.parametrize("name", sorted(NEVER_WHOLE.keys() - {"members"}))
def test_what_libraries_read_is_bounded_too(name):
    with (
        serving(NEVER_WHOLE[name]) as (connection, _),
        BoundedSession(1 << 20, 30) as session,
        pytest.raises((requests.RequestException, Transient)),
    ):
        session.get(connection.endpoint, timeout=30)


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (CHUNKED + b"1;", b"x"),
    ],
)
def test_what_libraries_read_drop_by_drop_ends_at_its_deadline(head, drop):
    """Each drop comes within the timeout of a read."""
    gone = threading.Event()

    def reply(sock, *_):
        sock.sendall(head)
        while not gone.wait(0.02):
            sock.sendall(drop)

    with serving(reply) as (connection, _), BoundedSession(1 << 20, 0.3) as session:
        with pytest.raises(requests.RequestException, match="timed out"):
            session.get(connection.endpoint, timeout=30)
        gone.set()


def test_what_libraries_read_comes_from_where_it_was_asked_for():
    with (
        serving(answer()) as (elsewhere, other),
        serving(answer(b"", status="302 Found", Location=elsewhere.url("x"))) as (connection, _),
    ):
        with BoundedSession(1 << 20, 30) as session:
            assert session.get(connection.endpoint, timeout=30).status_code == 302
        assert other.sockets == 0


def test_a_client_that_is_answered_without_end_does_not_start():
    """In a process of its own, since the client has one state for a process."""
    with serving(NEVER_WHOLE["chunks"]) as (connection, _):
        code = (
            "import sys; from tasks.earthengine import connection\n"
            "from tasks.earthengine.connection import Connection, ensure_client\n"
            "connection.START_S = 0.5\n"
            "try: ensure_client(Connection(project='my-project', endpoint=sys.argv[1]))\n"
            "except Exception as error: print(type(error).__name__)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, connection.endpoint], stdout=subprocess.PIPE, text=True, check=True, timeout=60
        )
    assert done.stdout == "Transient\n"
