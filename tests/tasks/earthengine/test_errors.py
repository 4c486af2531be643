"""Laws of the error taxonomy: every status and text has one type, and every error crosses processes."""

import json
import pickle
import re
import typing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import google.auth.exceptions
import pytest
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from tasks.earthengine import errors, translation
from tasks.earthengine.errors import (
    Action,
    BudgetExhausted,
    Denied,
    GivenUp,
    OutOfReach,
    Rejected,
    Stopped,
    Throttled,
    TooHeavy,
    Transient,
)
from tasks.earthengine.translation import TABLE, from_exception, from_response
from tasks.errors.input import BadInputError


def body(code, message, status="INVALID_ARGUMENT", reason=None):
    error = {"code": code, "message": message, "status": status}
    if reason:
        error["errors"] = [{"reason": reason, "message": message}]
    return json.dumps({"error": error}).encode()


# All that are named in the module; tests elsewhere may have more.
KINDS = (Transient, Throttled, TooHeavy, Rejected, Denied, BudgetExhausted, GivenUp, OutOfReach, Stopped)

ANSWERS = [
    (400, "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.", None, TooHeavy),
    (400, "Pixel grid dimensions (40818x1) must be less than or equal to 32768.", None, TooHeavy),
    (400, "User memory limit exceeded.", None, TooHeavy),
    (400, "Computation timed out.", None, TooHeavy),
    (400, "Computed value too large", None, TooHeavy),
    (400, "Computed value is too large.", None, TooHeavy),
    (400, "Output of image computation is too large (21 bands for 9000000 pixels).", None, TooHeavy),
    (400, "Memory capacity exceeded.", None, TooHeavy),
    (400, "Execution timed out.", None, TooHeavy),
    (400, "Quota exceeded.", None, Throttled),
    (200, "Sign in to the network", None, Transient),
    (204, "", None, Transient),
    (302, "Found", None, Transient),
    (402, "Payment required", None, BudgetExhausted),
    (407, "Proxy authentication required", None, Denied),
    (408, "Request timeout", None, Transient),
    (409, "The operation was aborted.", None, Transient),
    (413, "Request Entity Too Large", None, Rejected),
    (413, "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.", None, TooHeavy),
    (421, "Misdirected request", None, Transient),
    (425, "Too early", None, Transient),
    (499, "The operation was cancelled.", None, Transient),
    (400, "Internal error encountered.", None, Transient),
    (400, "Image.load: Image asset 'projects/p/assets/EECU_map' not found.", None, Rejected),
    (400, "Image.select: Band pattern 'too many requests' did not match any bands.", None, Rejected),
    (400, 'Asset "User memory limit exceeded" not found.', None, Rejected),
    (400, "Request payload size exceeds the limit: 10485760 bytes", None, Rejected),
    (400, "Image.select: Band pattern 'X' did not match any bands. Available bands: [B1]", None, Rejected),
    (400, "Image.load: Image asset 'x' not found (does not exist or caller does not have access).", None, Rejected),
    (404, "Asset 'x' not found.", None, Rejected),
    (401, "Request had invalid authentication credentials.", None, Denied),
    (403, "Earth Engine API has not been used in project 1 before or it is disabled.", None, Denied),
    (400, "Permission denied.", None, Denied),
    (404, "Permission denied.", None, Denied),
    (403, "Permission 'earthengine.assets.get' denied on resource 'projects/p/assets/EECU_map'.", None, Denied),
    (403, "Not signed up for Earth Engine or project is not registered.", None, Denied),
    (403, "Caller does not have required permission to use project p.", "USER_PROJECT_DENIED", Denied),
    (403, "", None, Denied),
    (403, "Daily Limit Exceeded", "dailyLimitExceeded", BudgetExhausted),
    (403, "The EECU limit of this month is reached.", None, BudgetExhausted),
    (429, "Quota exceeded for quota metric 'EECU-seconds' and limit 'EECU-seconds per day'.", None, BudgetExhausted),
    (429, "Quota exceeded for quota metric 'EECU-seconds' and limit 'EECU-seconds per minute'.", None, Throttled),
    (429, "The monthly EECU quota is used up; at most 5 requests per minute.", None, BudgetExhausted),
    (403, "Rate Limit Exceeded", "rateLimitExceeded", Throttled),
    (403, "User Rate Limit Exceeded", "userRateLimitExceeded", Throttled),
    (
        429,
        "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded.",
        None,
        Throttled,
    ),
    (
        429,
        "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per minute'.",
        None,
        Throttled,
    ),
    (429, "Quota exceeded: Too many concurrent aggregations.", None, Throttled),
    (400, "Quota exceeded: Too many concurrent aggregations.", None, Throttled),
    (429, "The project has used its monthly EECU quota.", None, BudgetExhausted),
    (500, "An internal error has occurred", None, Transient),
    (502, "Bad Gateway", None, Transient),
    (503, "The service is currently unavailable.", None, Transient),
    (503, "User memory limit exceeded.", None, Transient),
]


@pytest.mark.parametrize(("status", "message", "reason", "kind"), ANSWERS, ids=lambda value: str(value)[:40])
def test_every_status_and_text_has_one_type(status, message, reason, kind):
    error = from_response(status, {}, body(status, message, reason=reason))
    assert type(error) is kind
    assert message in str(error)
    assert error.status == status
    assert error.action in typing.get_args(Action)


def test_every_row_of_the_table_is_walked():
    texts = [
        (status, translation._text(body(status, message, reason=reason))) for status, message, reason, _ in ANSWERS
    ]
    first = {next(i for i, row in enumerate(TABLE) if row.fits(*answer)) for answer in texts}
    assert first == set(range(len(TABLE)))
    assert all(row.source for row in TABLE)


@given(st.integers(100, 999), st.binary(max_size=80) | st.sampled_from([body(400, text) for _, text, _, _ in ANSWERS]))
def test_the_table_is_total(status, content):
    error = from_response(status, {}, content)
    assert type(error) in KINDS
    if status >= 500:
        assert type(error) is Transient


def test_the_docstring_says_what_the_classes_do():
    rows = dict(re.findall(r"[├└]── (\w+) .*-> ([a-z ]+):", errors.__doc__))
    assert rows == {kind.__name__: kind.action for kind in KINDS}


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Earth Engine API has not been used in project 1 before or it is disabled.", "Enable the Earth Engine API"),
        ("Project 'p' is not registered to use Earth Engine.", "code.earthengine.google.com/register"),
        ("Caller does not have required permission to use project p.", "Service Usage Consumer"),
        ("Permission 'earthengine.assets.get' denied on resource 'a'.", "share the asset with this account"),
        ("The request is forbidden.", "signed in"),
    ],
)
def test_who_is_denied_is_told_what_to_do(text, remedy):
    error = from_response(403, {}, body(403, text))
    assert type(error) is Denied
    assert remedy in str(error)


def test_a_budget_says_when_it_returns_and_how_to_go_on():
    text = "The project has used its monthly EECU quota. It returns on 1 December 2026."
    error = from_response(429, {"Retry-After": "86400"}, body(429, text))
    assert type(error) is BudgetExhausted
    assert text in str(error)
    assert "run the flow again" in str(error)
    assert error.retry_after == 86_400


OTHER_SHAPES = [
    *(b"{}", b"[]", b"null", b'"text"', b"7", b"\xff\xfe", b"<html", b"<<<>>>"),
    *(b'{"error":null}', b'{"error":[]}', b'{"error":{"code":403}}', b'{"error":{"message":7,"errors":[3]}}'),
    b'{"error":{"message":"m","details":{"reason":1}}}',
]


@pytest.mark.parametrize("content", OTHER_SHAPES)
@pytest.mark.parametrize(("status", "kind"), [(400, Rejected), (403, Denied), (429, Throttled), (503, Transient)])
def test_json_of_another_shape_goes_by_its_status(content, status, kind):
    assert type(from_response(status, {}, content)) is kind


def test_html_and_nothing_are_answers_too():
    html = b"<html><head><title>Error 502</title></head><body><h1>Server   Error</h1></body></html>"
    assert type(from_response(502, {}, html)) is Transient
    assert "Server Error" in str(from_response(502, {}, html))
    assert type(from_response(400, {}, b"")) is Rejected
    assert "HTTP 400" in str(from_response(400, {}, b""))
    assert type(from_response(429, {}, b"[]")) is Throttled
    assert len(str(from_response(400, {}, body(400, "x" * 1_000_000)))) < 1000
    assert type(from_response(500, {}, b'{"error":' + b"[" * 100_000)) is Transient


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("-3", 0.0), ("inf", None), ("1e999", None), ("nan", None), ("soon", None), (None, None)],
)
def test_retry_after_is_read_where_it_is_a_number(header, seconds):
    headers = {} if header is None else {"Retry-After": header}
    assert from_response(429, headers, b"").retry_after == seconds


@given(st.integers(0, 10_000_000), st.booleans())
def test_a_moment_to_retry_after_is_counted_from_the_answers_date(seconds, dated):
    now = datetime(2026, 11, 22, 15, 0, 0, tzinfo=UTC) if dated else datetime.now(UTC)
    moment = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
    headers = {"Retry-After": moment} | ({"Date": format_datetime(now, usegmt=True)} if dated else {})
    asked = from_response(503, headers, b"").retry_after
    assert asked == seconds if dated else seconds - 60 <= asked <= seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError()), Transient),
        (urllib3.exceptions.ReadTimeoutError(None, "", "Bearer secret"), Transient),
        (urllib3.exceptions.NewConnectionError(None, "secret"), Transient),
        (urllib3.exceptions.ConnectTimeoutError(), Transient),
        (urllib3.exceptions.SSLError("secret"), Transient),
        (urllib3.exceptions.ProxyError("secret", OSError()), Transient),
        (urllib3.exceptions.LocationParseError("secret"), Rejected),
        (ConnectionResetError("secret"), Transient),
        (google.auth.exceptions.RefreshError("invalid_grant: secret-token"), Denied),
        (google.auth.exceptions.DefaultCredentialsError(), Denied),
        (google.auth.exceptions.TransportError("secret"), Transient),
        (google.auth.exceptions.TimeoutError(), Transient),
        (google.auth.exceptions.RefreshError("503 secret", retryable=True), Transient),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_the_libraries_raise_has_one_type_and_shows_no_secret(error, kind):
    translated = from_exception(error, "https://endpoint")
    assert type(translated) is kind
    assert "secret" not in str(translated)


def test_a_metadata_server_that_is_away_denies_nothing():
    error = google.auth.exceptions.RefreshError("metadata")
    error.__cause__ = google.auth.exceptions.TransportError("no route")
    assert type(from_exception(error, "https://endpoint")) is Transient


def test_only_what_we_gave_up_may_go_on_computing():
    given_up = urllib3.exceptions.ReadTimeoutError(None, "", "")
    assert from_exception(given_up, "https://endpoint", may_compute_s=7.0).may_compute_s == 7.0
    assert from_exception(ConnectionResetError(), "https://endpoint", may_compute_s=7.0).may_compute_s == 0.0


WORD = st.text("ABCxyz019-_", min_size=20, max_size=60)
SECRETS = st.one_of(
    WORD.map(lambda word: ("ya29.", word)),
    WORD.map(lambda word: ("1//", word)),
    WORD.map(lambda word: ("AIza", word)),
    WORD.map(lambda word: ("Bearer ", word)),
    WORD.map(lambda word: ("Authorization: Basic ", word)),
    WORD.map(lambda word: ('"Authorization": "Bearer ', word)),
    WORD.map(lambda word: ('"access_token": "', word)),
    WORD.map(lambda word: ('\\\\"refresh_token\\\\": \\\\"', word)),
    WORD.map(lambda word: ("client_secret=", word)),
    WORD.map(lambda word: ("-----BEGIN PRIVATE KEY-----\n", word)),
    WORD.map(lambda word: ("https://host/v1/path?key=", word)),
    WORD.map(lambda word: ("https://host/v1/path?", word)),
    WORD.map(lambda word: ("https://host/v1/path#", word)),
    WORD.map(lambda word: ("/v1/projects/p:listAssets?pageToken=", word)),
    WORD.map(lambda word: ("https://user:", word + "@host/")),
    WORD.map(lambda word: ("eyJhbGciOi.", word)),
)


@given(
    SECRETS, st.text("é {}\"'<.,:=", max_size=20), st.integers(0, 600), st.sampled_from([200, 403, 429]), st.booleans()
)
def test_no_message_shows_a_token_a_header_or_a_query(secret, before, filling, status, as_json):
    prefix, word = secret
    text = f"{before} {'x' * filling} {prefix}{word}"  # also where the message is cut
    content = body(status, text) if as_json else f"<html><p>{text}</p></html>".encode("utf-8", "surrogatepass")
    for error in (from_response(status, {}, content), Rejected(text)):
        assert word[:12] not in repr(error) + str(error)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, vars(again)) == (type(error), error.args, vars(error))


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_pickles_with_all_it_says(kind):
    error = kind("what it was", 429, 3.0, 250.0)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
    assert (again.status, again.retry_after, again.may_compute_s) == (429, 3.0, 250.0)


def test_bad_input_pickles_and_names_field_value_and_remedy():
    error = BadInputError("scale", -3, "must be positive", "Give 30")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "scale = -3: must be positive. Give 30."
