"""Laws of the error taxonomy: every status and text has one type, and every error crosses processes."""

import json
import pickle

import google.auth.exceptions
import pytest
import requests

from tasks.earthengine.errors import (
    BadInputError,
    BudgetExhausted,
    Denied,
    EarthEngineError,
    Rejected,
    Throttled,
    TooHeavy,
    Transient,
    from_exception,
    from_response,
)


def body(code, message, status="INVALID_ARGUMENT", reason=None):
    error = {"code": code, "message": message, "status": status}
    if reason:
        error["errors"] = [{"reason": reason, "message": message}]
    return json.dumps({"error": error}).encode()


TABLE = [
    (400, "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.", None, TooHeavy),
    (400, "Pixel grid dimensions (40818x1) must be less than or equal to 32768.", None, TooHeavy),
    (400, "User memory limit exceeded.", None, TooHeavy),
    (400, "Computation timed out.", None, TooHeavy),
    (400, "Computed value too large", None, TooHeavy),
    (400, "Computed value is too large.", None, TooHeavy),
    (400, "Output of image computation is too large (21 bands for 9000000 pixels).", None, TooHeavy),
    (400, "Memory capacity exceeded.", None, TooHeavy),
    (400, "Execution timed out.", None, TooHeavy),
    (413, "Request Entity Too Large", None, TooHeavy),
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


@pytest.mark.parametrize(("status", "message", "reason", "kind"), TABLE, ids=lambda value: str(value)[:40])
def test_every_status_and_text_has_one_type(status, message, reason, kind):
    error = from_response(status, {}, body(status, message, reason=reason))
    assert type(error) is kind
    assert message in str(error)
    assert error.status == status


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


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.ConnectionError("reset by peer"), Transient),
        (requests.exceptions.ChunkedEncodingError("IncompleteRead"), Transient),
        (requests.ConnectTimeout(), Transient),
        (requests.ReadTimeout(), Transient),
        (requests.exceptions.SSLError(), Transient),
        (google.auth.exceptions.RefreshError("invalid_grant: secret-token"), Denied),
        (google.auth.exceptions.DefaultCredentialsError(), Denied),
        (google.auth.exceptions.TransportError(), Transient),
        (google.auth.exceptions.RefreshError("503", retryable=True), Transient),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_the_libraries_raise_has_one_type_and_shows_no_secret(error, kind):
    translated = from_exception(error, "https://endpoint")
    assert type(translated) is kind
    assert "secret" not in str(translated)


@pytest.mark.parametrize("kind", [EarthEngineError, *EarthEngineError.__subclasses__()])
def test_every_error_pickles(kind):
    error = kind("what it was", 429, 3.0)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.retry_after) == (kind, str(error), 3.0)


def test_bad_input_pickles_and_names_field_value_and_remedy():
    error = BadInputError("scale", -3, "must be positive", "Give 30")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "scale = -3: must be positive. Give 30."
