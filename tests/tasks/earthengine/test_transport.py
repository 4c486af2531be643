"""Laws of the transport: whole pixels or one typed error, within the deadline, and no secret in either."""

import contextlib
import gzip
import itertools
import json
import socket
import socketserver
import ssl
import struct
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import ee
import google.auth.credentials
import google.auth.exceptions
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.sandbox.process import running
from tasks.earthengine import metadata
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.deadlines import Deadlines
from tasks.earthengine.errors import Denied, Rejected, Throttled, Transient
from tasks.earthengine.transport import PixelRequest, fetch, send
from tasks.errors.input import BadInputError

NPY = b"\x93NUMPY" + bytes(5000)
REQUEST = PixelRequest(asset=None, body=b'{"fileFormat":"NPY"}')
SHORT = Deadlines(read_s=0.2, computing_s=1000.0)
LANDSAT = "projects/sandbox/assets/landsat7_nc_2000"


def answer(content=NPY, *, status="200 OK", length=None, **headers):
    head = {"Content-Length": len(content) if length is None else length} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + content


class Server(socketserver.ThreadingTCPServer):
    """A real server on loopback: `reply(socket, head, body)` for each request, until it returns False."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, reply, context=None):
        super().__init__(("127.0.0.1", 0), None)
        self.reply, self.context, self.seen, self.sockets = reply, context, [], 0

    def handle_error(self, request, client_address):
        """A client that goes away is what some tests are about."""

    def finish_request(self, request, client_address):
        self.sockets += 1
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        with request, request.makefile("rb") as file:
            while True:
                head = b"".join(itertools.takewhile(b"\r\n".__ne__, file))  # up to an empty line, or the end
                if not head:
                    return
                length = next(
                    (int(line[15:]) for line in head.splitlines() if line.lower()[:15] == b"content-length:"), 0
                )
                body = file.read(length)
                self.seen.append((head, body))
                if self.reply(request, head, body) is False:
                    return


@contextlib.contextmanager
def serving(reply, context=None):
    if isinstance(reply, bytes):
        whole = reply

        def reply(sock, head, body):
            sock.sendall(whole)

    with Server(reply, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            scheme = "https" if context else "http"
            yield Connection(project="my-project", endpoint=f"{scheme}://localhost:{server.server_address[1]}"), server
        finally:
            server.shutdown()
            thread.join()


def failing(reply, **more):
    with serving(reply) as (connection, _), pytest.raises(Transient) as caught:
        fetch(connection, REQUEST, **more)
    return caught.value


# What is whole ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False])
def test_an_answer_is_what_the_client_gets(connection, compressed):
    ensure_client(connection)
    grid = {"dimensions": {"width": 64, "height": 48}}
    body = json.dumps({"fileFormat": "NPY", "bandIds": ["B1", "B2"], "grid": grid}).encode()
    with running(gzip=False) if not compressed else contextlib.nullcontext(connection.endpoint) as url:
        answer = fetch(
            Connection(project="my-project", endpoint=url), PixelRequest(asset=LANDSAT, body=body), workload_tag="a-tag"
        )
    theirs = ee.data.getPixels({"assetId": LANDSAT, "fileFormat": "NPY", "bandIds": ["B1", "B2"], "grid": grid})
    assert answer.body == theirs
    assert not answer.restricted


@pytest.mark.parametrize(
    "reply",
    [
        answer(),
        answer(gzip.compress(NPY), Content_Encoding="gzip"),
        answer(gzip.compress(NPY), Content_Encoding="GZIP", Content_Type="text/html"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(NPY), NPY),
    ],
)
def test_a_whole_answer_is_its_pixels(reply):
    with serving(reply) as (connection, _):
        assert fetch(connection, REQUEST).body == NPY
        assert fetch(connection, REQUEST).body == NPY


def test_restricted_mode_is_told():
    with serving(answer(X_Earth_Engine_Quota_Status="a=b;parallelism_restricted=true")) as (connection, _):
        assert fetch(connection, REQUEST).restricted


def test_a_workload_tag_is_sent_as_the_client_sends_it():
    with serving(answer()) as (connection, server):
        fetch(connection, REQUEST, workload_tag="a-tag_1")
        with pytest.raises(BadInputError, match="workload_tag"):
            fetch(connection, REQUEST, workload_tag='a","b":"')
        ((_, body),) = server.seen
        assert json.loads(body) == {"fileFormat": "NPY", "workloadTag": "a-tag_1"}


def test_sockets_are_kept_however_many_are_in_flight():
    many = 150
    together = threading.Barrier(many)

    def reply(sock, head, body):
        together.wait()
        sock.sendall(answer())

    with serving(reply) as (connection, server), ThreadPoolExecutor(many) as pool:
        for _ in range(3):
            assert [done.body for done in pool.map(lambda _: fetch(connection, REQUEST), range(many))] == [NPY] * many
        assert server.sockets == many


# What is not whole -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        answer(length=len(NPY) + 1),
        answer(gzip.compress(NPY)[:-9], Content_Encoding="gzip"),
        answer(gzip.compress(NPY)[:-8] + bytes(8), Content_Encoding="gzip"),
        answer(b"\x1f\x8bno gzip", Content_Encoding="gzip"),
        answer(Content_Encoding="br"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(NPY), NPY),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
)
def test_a_part_is_never_taken_for_a_whole(reply):
    def cut(sock, head, body):
        sock.sendall(reply)
        return False

    assert failing(cut).may_compute_s == 0.0


def test_a_reset_is_transient():
    def reset(sock, head, body):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    assert failing(reset).may_compute_s == 0.0


def test_nobody_there_is_transient_and_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Transient, match=endpoint) as caught:
            fetch(Connection(project="my-project", endpoint=endpoint), REQUEST)
    assert caught.value.may_compute_s == 0.0


def dripping(start):
    """Send a start, and then a byte now and then, until the client goes away."""

    def drip(sock, head, body):
        sock.sendall(start)
        sock.settimeout(0.01)
        while True:
            try:
                if not sock.recv(1):
                    return False
            except TimeoutError:
                sock.sendall(b"x")

    return drip


@pytest.mark.parametrize(
    "reply",
    [
        dripping(b""),
        dripping(b"HTTP/1.1 200 OK\r\nX-Long: "),
        dripping(answer(length=10**7)),
        dripping(answer(b"\x1f\x8b", length=10**7, Content_Encoding="gzip")),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["status", "head", "body", "gzip", "chunk", "unlimited"],
)
def test_the_deadline_bounds_the_whole_answer(reply):
    error = failing(reply, deadlines=SHORT)
    assert 900 < error.may_compute_s <= SHORT.computing_s
    assert "deadline" in str(error)


def test_what_could_have_ended_computes_no_more():
    def silent(sock, head, body):
        sock.recv(1)  # until the client goes away
        return False

    assert failing(silent, deadlines=Deadlines(read_s=0.1, computing_s=0.0)).may_compute_s == 0.0


# What is no pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        answer(b'{"error":{"code":403,"message":"no"}}'),
        answer(b"<!DOCTYPE html><title>Sign in to the network</title>"),
        answer(b""),
        answer(b"[]"),
        answer(NPY[1:]),
        answer(b"", status="204 No Content"),
        answer(status="202 Accepted"),
        answer(b"", status="304 Not Modified"),
        answer(b"{}", status="503 Service Unavailable", Content_Encoding="gzip"),
    ],
)
def test_what_holds_no_pixels_is_none(reply):
    assert isinstance(failing(reply), Transient)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_nothing_is_sent_to_where_an_answer_points(status):
    with serving(answer()) as (elsewhere, other):
        error = failing(answer(b"", status=status, Location=elsewhere.url("x?key=AIzaSecret")))
        assert other.sockets == 0
    assert "Secret" not in str(error)


def test_a_refusal_in_gzip_is_read():
    refusal = gzip.compress(b'{"error":{"code":400,"message":"Band X is not there."}}')
    with serving(answer(refusal, status="400 Bad Request", Content_Encoding="gzip")) as (connection, _):
        with pytest.raises(Rejected, match="Band X is not there"):
            fetch(connection, REQUEST)
        with pytest.raises(Rejected, match="Band X is not there"):
            send(connection, "GET", "projects/p/assets/x", params={"filter": "a b&c"})


@pytest.mark.parametrize("content", [b'{"error":{"code":403,"message":"no"}}', b"<html>", b"", b"[]"])
def test_metadata_that_is_none_is_transient(content):
    with serving(answer(content)) as (connection, _), pytest.raises(Transient):
        metadata._call.__wrapped__(connection, "GET", "projects/p/assets/x")


# The sandbox's faults --------------------------------------------------------------------------------------------


def test_faults_of_the_sandbox_have_their_types():
    body = json.dumps({"fileFormat": "NPY", "grid": {"dimensions": {"width": 64, "height": 64}}}).encode()
    request = PixelRequest(asset=LANDSAT, body=body)
    with running() as url:
        connection = Connection(project="my-project", endpoint=url)

        def met(**knobs):
            requests.patch(f"{url}/sandbox/knobs", json=knobs, timeout=10).raise_for_status()
            try:
                return fetch(connection, request, deadlines=SHORT if "p_hanging" in knobs else Deadlines())
            except (Transient, Throttled) as error:
                return error

        for fault in ("p_500", "p_503", "p_dropped", "p_truncated", "p_hanging"):
            error = met(**{fault: 1.0})
            assert type(error) is Transient
            assert (error.may_compute_s > 0) == (fault == "p_hanging")
            met(**{fault: 0.0})
        whole = met()
        assert met(restricted=True).restricted
        assert met(restricted=False) == whole
        met(qps=0.001)  # the first is let in
        assert type(met()) is Throttled


# Credentials -----------------------------------------------------------------------------------------------------


class Tokens(google.auth.credentials.Credentials):
    """Credentials as google.auth has them; each refresh gives the next token, or an error."""

    def __init__(self, *outcomes):
        super().__init__()
        self.outcomes, self.refreshed = list(outcomes), 0

    def refresh(self, request):
        self.refreshed += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        self.token, self.expiry = outcome, datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

    def apply(self, headers, token=None):
        super().apply(headers, token)
        headers["x-goog-user-project"] = "another-project"


def only(token):
    def reply(sock, head, body):
        good = f"authorization: Bearer {token}\r\n".encode() in head
        sock.sendall(answer() if good else answer(b"{}", status="401 Unauthorized"))

    return reply


@pytest.fixture
def signed_in(monkeypatch):
    """Toward loopback there are no credentials, so they are given here."""

    def sign_in(*outcomes):
        tokens = Tokens(*outcomes)
        monkeypatch.setattr(Connection, "credentials", lambda _: tokens)
        return tokens

    return sign_in


def test_many_threads_ask_for_one_token(signed_in):
    tokens = signed_in("first")
    with serving(only("first")) as (connection, server), ThreadPoolExecutor(20) as pool:
        assert all(done.body == NPY for done in pool.map(lambda _: fetch(connection, REQUEST), range(60)))
        assert tokens.refreshed == 1
        for head, _ in server.seen:
            assert head.lower().count(b"x-goog-user-project: my-project") == 1
            assert b"another-project" not in head


def test_a_revoked_token_is_renewed_once_for_all(signed_in):
    tokens = signed_in("revoked", "second")
    with serving(only("second")) as (connection, _), ThreadPoolExecutor(20) as pool:
        assert all(done.body == NPY for done in pool.map(lambda _: fetch(connection, REQUEST), range(60)))
    assert tokens.refreshed == 2


def test_who_is_not_let_in_is_denied(signed_in):
    signed_in("one", "two")
    with serving(only("three")) as (connection, _), pytest.raises(Denied, match="Sign in again"):
        fetch(connection, REQUEST)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (google.auth.exceptions.RefreshError("invalid_grant", {"access_token": "ya29.SECRET"}), Denied),
        (google.auth.exceptions.TransportError("ya29.SECRET"), Transient),
    ],
)
def test_a_token_that_is_not_given_shows_no_secret(signed_in, outcome, kind):
    signed_in(outcome)
    with serving(answer()) as (connection, server), pytest.raises(kind) as caught:
        fetch(connection, REQUEST)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    assert server.seen == []


# TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    """Path of a certificate for localhost that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + plain)
    return path


def test_tls_trusts_whom_the_environment_names_and_nobody_else(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(answer(), context) as (connection, server):
        with pytest.raises(Transient, match="SSLError"):
            fetch(connection, REQUEST)
        assert server.seen == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(answer(), context) as (connection, server):
        assert [fetch(connection, REQUEST).body for _ in range(3)] == [NPY] * 3
        assert server.sockets == 1
    drip = dripping(b"HTTP/1.1 200 OK\r\nX-Long: ")
    with serving(drip, context) as (connection, _), pytest.raises(Transient, match="deadline"):
        fetch(connection, REQUEST, deadlines=SHORT)
