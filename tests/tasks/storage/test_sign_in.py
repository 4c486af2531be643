"""Who writes to a bucket: credentials that are renewed, refused or none, and never shown."""

import itertools
import socket
import traceback

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2.service_account import Credentials

from tasks.storage.cloud import CloudStore
from tasks.storage.cloud_client import client
from tasks.storage.store import OutputBusy, SignInExpired, StorageError
from tests.cloud.fault import Fault
from tests.cloud.tokens import service_account_info
from tests.tasks.storage.conftest import BUCKET, QUICK, connected

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

IMPATIENT = QUICK.with_timeout(0.05)
NUMBERS = itertools.count()
CALLS = {
    "put": lambda store: store.put("k", b""),
    "commit": lambda store: store.commit("k", b"", fingerprint="f"),
    "get": lambda store: store.get("k"),
    "find": lambda store: store.find("k"),
    "open": lambda store: store.open("k").read(),
    "list": lambda store: list(store.list()),
    "folders": lambda store: store.folders(),
    "check": lambda store: store.check(),
    "delete": lambda store: store.delete("k"),
}
SIGN_IN = r"^output = 'gs://pixels/.+': .+ cannot be .+\. Sign in again \(`gcloud auth application-default login`\), or"


@pytest.fixture
def server(service):
    """The fake, which wants to know who calls."""
    service.requires_token = True
    service.calls.clear()
    yield service
    service.requires_token = service.refuse_tokens = False
    service.faults.clear()


@pytest.fixture(scope="module")
def key(service):
    """The key of a service account."""
    return service_account_info(f"{service.url}/token")


@pytest.fixture
def account(server, key):
    """The credentials of a service account, which has no token yet."""
    return Credentials.from_service_account_info(key)


@pytest.fixture
def store(server, account):
    """A store with something in it, of the account."""
    with connected(server.url, account) as client:
        store = CloudStore(BUCKET, f"sign in {next(NUMBERS)}", client, again=IMPATIENT)
        store.put("k", b"")
        yield store


@pytest.mark.parametrize("name", CALLS)
def test_a_token_that_expired_is_renewed_once(store, server, name):
    server.expire_tokens()
    server.calls.clear()
    if name == "commit":
        store.commit("t", b"", fingerprint="f")
    else:
        CALLS[name](store)
    store.put("other", b"")
    assert server.calls["token"] == 1


@pytest.mark.parametrize("name", CALLS)
def test_an_account_that_is_refused_must_sign_in(store, server, name):
    server.expire_tokens()
    server.refuse_tokens = True
    with pytest.raises(SignInExpired, match=SIGN_IN) as failure:
        CALLS[name](store)
    assert not failure.value.passing


@pytest.mark.parametrize("name", CALLS)
def test_a_token_that_is_refused_anew_is_no_sign_in(store, server, name):
    server.faults.append(Fault(match=f"/storage/v1/b/{BUCKET}/o", status=401))
    with pytest.raises(SignInExpired, match=SIGN_IN):
        CALLS[name](store)
    assert server.calls["token"] < 5


@pytest.mark.parametrize("name", CALLS)
def test_nobody_must_sign_in(client, server, name):
    with pytest.raises(SignInExpired, match=SIGN_IN) as failure:
        CALLS[name](CloudStore(BUCKET, "p", client, again=QUICK))
    assert not failure.value.passing


@pytest.mark.parametrize("name", CALLS)
def test_where_no_token_can_be_had_for_now_it_may_pass(server, key, name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/token"
    credentials = Credentials.from_service_account_info(key | {"token_uri": nowhere})
    with connected(server.url, credentials) as client, pytest.raises(OutputBusy, match="The cause may be temporary"):
        CALLS[name](CloudStore(BUCKET, "p", client, again=IMPATIENT))


def test_tokens_that_are_not_given_for_now_may_be_later(store, server, monkeypatch):
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    server.expire_tokens()
    server.faults.append(Fault(match="POST /token", status=503))
    with pytest.raises(OutputBusy, match="The cause may be temporary"):
        store.get("k")
    server.faults.clear()
    assert store.get("k") == b""


def test_without_credentials_there_is_no_client(monkeypatch):
    def none(**_):
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(SignInExpired, match=r"^Cloud Storage: there are no credentials .+ Sign in again"):
        client()


# What is never shown or sent -----------------------------------------------------------------------------------------


def test_no_message_holds_a_secret(store, server, key):
    """Neither its own, nor those of the errors behind it, unless the service itself repeats what it was sent."""
    secrets = {line for line in key["private_key"].splitlines() if line and "-" not in line} | {"Bearer"}
    begin, account = f"/storage/v1/b/{BUCKET}/o", store._client._credentials
    for fault in (
        *(Fault(match=begin, status=status) for status in (400, 401, 403, 404, 412, 429, 503)),
        Fault(match=begin, kind="corrupt"),
        Fault(match=begin, kind="corrupt_download"),
        Fault(match="POST /token", status=400),
        Fault(match="POST /token", status=503),
    ):
        for call in CALLS.values():
            server.faults[:] = [fault]
            if "/token" in fault.match:
                server.expire_tokens()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
                try:
                    call(store)
                except (StorageError, KeyError) as error:
                    secrets.add(account.token)
                    whole = "".join(traceback.format_exception(error))
                    assert not {secret for secret in secrets if secret in whole}
    for call in CALLS.values():
        for status in (400, 401, 403, 412, 429, 503):
            server.faults[:] = [Fault(match=begin, status=status, message=f"Authorization: Bearer {account.token}")]
            with pytest.raises(StorageError) as failure:
                call(store)
            error = failure.value
            own = " ".join([str(error), repr(error), *map(str, error.args), *getattr(error, "__notes__", ())])
            assert not {secret for secret in {*secrets, account.token, "Authorization"} if secret in own}


@pytest.mark.parametrize("url", ["http://storage.example:80", "HTTP://10.0.0.1", "http://127.0.0.1@storage.example"])
def test_no_token_goes_to_another_machine_as_plain_text(account, server, monkeypatch, url):
    def sent(*_, **__):
        raise AssertionError("Something was sent.")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, sent)
    for credentials in (account, AnonymousCredentials()):
        with pytest.raises(
            SignInExpired, match="plain http to another machine would expose the access token"
        ) as failure:
            connected(url, credentials)
        assert url in str(failure.value)
    for here, given in ((url, None), ("https://storage.example", account), ("http://[::1]:80", account)):
        connected(here, given).close()
    assert account.token is None
