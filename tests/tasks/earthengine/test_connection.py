"""Laws of the connection: no secret in it, none sent in clear text, nobody's session touched."""

import json
import pickle
import subprocess
import sys
import textwrap

import ee
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from tasks.earthengine.connection import HIGH_VOLUME, Connection, check_workload_tag
from tasks.errors.input import BadInputError

# Ends a process that reaches for anything but this machine.
GUARD = """
import socket
real = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and not str(address[0]).startswith("127."):
        raise SystemExit(f"reached for {address}")
    return real(self, address)
socket.socket.connect = connect
def getaddrinfo(host, *rest, _real=socket.getaddrinfo, **more):
    if host not in ("127.0.0.1", "localhost", None):
        raise SystemExit(f"asked for {host}")
    return _real(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9"],
)
def test_loopback_needs_no_credentials(endpoint):
    connection = Connection(project="my-project", endpoint=endpoint)
    assert connection.is_loopback
    assert connection.credentials() is None


@pytest.mark.parametrize("endpoint", ["http://192.0.2.1", "http://127.0.0.1.example.com", "http://localhost.example"])
def test_clear_text_goes_nowhere_else(endpoint):
    with pytest.raises(BadInputError, match="clear text"):
        Connection(project="my-project", endpoint=endpoint)


@pytest.mark.parametrize("project", ["my-project", "example.com:my-project", "a23456"])
def test_projects_as_google_cloud_names_them(project):
    assert Connection(project=project).endpoint == HIGH_VOLUME


def test_a_connection_is_a_value_that_crosses_processes():
    connection = Connection(project="my-project", endpoint="http://127.0.0.1:9")
    assert pickle.loads(pickle.dumps(connection)) == connection


@given(st.text('ab0-_A. \n"', max_size=4) | st.from_regex(r"[a-z0-9][-_a-z0-9]{55,70}", fullmatch=True))
def test_a_workload_tag_is_one_for_the_client_too(tag):
    client = ee.data._get_state().workload_tag
    try:
        check_workload_tag(tag)
    except BadInputError:
        with pytest.raises(ValueError, match="Invalid tag"):
            client.validate(tag or " ")  # of nothing the client makes no tag
    else:
        assert client.validate(tag) == tag


def test_a_service_account_key_gives_scoped_credentials(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "robot@my-project.iam.gserviceaccount.com",
                "token_uri": "https://oauth2.googleapis.com/token",
                "private_key": pem.decode(),
            }
        )
    )
    connection = Connection(project="my-project", credentials_file=str(path))
    credentials = connection.credentials()
    assert credentials.service_account_email == "robot@my-project.iam.gserviceaccount.com"
    assert "https://www.googleapis.com/auth/earthengine" in credentials.scopes
    assert "PRIVATE" not in repr(connection)


def test_the_client_reaches_for_nothing_but_the_sandbox(sandbox_url):
    code = GUARD + textwrap.dedent("""
        import sys
        import ee
        from tasks.earthengine.connection import Connection, ensure_client
        ensure_client(Connection(project="my-project", endpoint=sys.argv[1]))
        print(ee.Number(1).add(2).getInfo())
    """)
    done = python(code, sandbox_url)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def test_a_session_that_the_user_opened_stays_as_it_is(sandbox_url):
    """Another project, another endpoint, a deadline of its own: all are there afterwards."""
    code = """
        import sys
        import ee
        from tasks.earthengine.connection import Connection, ensure_client
        ee.deprecation._FetchDataCatalogStac = dict
        ee.Initialize(None, url=sys.argv[1].replace("127.0.0.1", "localhost"), project="of-the-user")
        ee.data.setDeadline(12_345)
        state = ee.data._get_state()
        before = dict(vars(state))
        ensure_client(Connection(project="my-project", endpoint=sys.argv[1]))
        assert vars(ee.data._get_state()) == before and ee.data._get_state() is state
        print(state.cloud_api_user_project, state.deadline_ms)
    """
    done = python(code, sandbox_url)
    assert done.stdout.split() == ["of-the-user", "12345"], done.stderr
