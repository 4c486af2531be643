"""Quota, latency and faults: what the knobs promise, on the dice alone and over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import statistics
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.knobs import Knobs, to_arguments
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.traffic import Traffic

THROTTLED = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
PIXELS = "/v1/projects/earthengine-public/assets/TEST/image:getPixels"
BODY = {"fileFormat": "NPY", "bandIds": ["u2"]}


# The dice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"p_500": -0.1},
        {"p_500": 1.1},
        {"p_500": 0.6, "p_hanging": 0.6},
        {"max_concurrent": 0},
        {"max_concurrent": 2.5},
        {"qps": 0},
        {"latency_median": math.inf},
        {"latency_sigma": "much"},
        {"restricted": 1},
        {"seed": None},
        {"p_404": 0.5},
        {"until": "soon"},
        {"until": "2020-02-30"},
        {"until": 20200301},
        {"changed": ["TEST/image"]},
        {"changed": ""},
    ],
)
def test_knobs_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        Knobs().turned(changes)
    assert refused.value.status == 400
    assert any(name in refused.value.message for name in changes)


def test_arguments_say_what_knobs_mean() -> None:
    changes = {"max_concurrent": 3, "p_500": 0.5, "gzip": False, "restricted": True, "qps": None, "seed": -1}
    expected = ["--max-concurrent=3", "--p-500=0.5", "--no-gzip", "--restricted", "--seed=-1"]
    assert to_arguments(changes | {"until": "2020-03-01"}) == [*expected, "--until=2020-03-01"]


def test_latency_is_log_normal() -> None:
    traffic = Traffic(Knobs(latency_median=0.3, latency_sigma=0.7, seed=5))
    drawn = [math.log(traffic.draw(i).latency) for i in range(4000)]
    assert statistics.fmean(drawn) == pytest.approx(math.log(0.3), abs=4 * 0.7 / math.sqrt(4000))
    assert statistics.stdev(drawn) == pytest.approx(0.7, rel=0.05)
    assert traffic.statistics.latency == pytest.approx(sum(map(math.exp, drawn)))


def test_faults_come_as_often_as_said() -> None:
    odds = {"500": 0.1, "503": 0.05, "dropped": 0.15, "truncated": 0.02, "hanging": 0.08}
    traffic = Traffic(Knobs().turned({f"p_{name}": p for name, p in odds.items()}))
    counts = Counter(traffic.draw(i).fault for i in range(10_000))
    for name, p in (odds | {None: 0.6}).items():
        assert counts[name] == pytest.approx(10_000 * p, abs=4 * math.sqrt(10_000 * p * (1 - p)))  # type: ignore[index] # None = no fault


@given(st.permutations(range(12)), st.integers(0, 3))
def test_a_rehearsal_meets_the_same_fate_in_any_order(order: list[int], seed: int) -> None:
    def fates(requests: list[int]) -> dict[tuple[int, int], object]:
        traffic = Traffic(Knobs(latency_median=1, latency_sigma=1, p_500=0.5, seed=seed))
        return {(attempt, i): traffic.draw(i) for attempt in range(3) for i in requests}

    assert fates(order) == fates(sorted(order))
    again = Traffic(Knobs(latency_median=1, latency_sigma=1, p_500=0.5, seed=seed))
    assert len({again.draw(7).latency for _ in range(20)}) == 20  # another attempt, another fate


@given(st.floats(0.5, 50), st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_the_rate_is_kept_over_any_time(qps: float, pauses: list[float]) -> None:
    traffic, now, admitted = Traffic(Knobs(qps=qps)), 100.0, []
    for pause in pauses:
        now += pause
        with contextlib.suppress(Refusal):
            traffic.admit(now)
            admitted.append(now)
    for i, first in enumerate(admitted):
        for j, last in enumerate(admitted[i:], 1):
            assert j <= max(qps, 1) + qps * (last - first) + 1e-6
    assert admitted  # the first one always comes in


def test_concurrency_is_kept_and_given_back() -> None:
    traffic = Traffic(Knobs(max_concurrent=2))
    traffic.admit(0)
    traffic.admit(0)
    with pytest.raises(Refusal, match=THROTTLED[:40]):
        traffic.admit(0)
    traffic.statistics.leave()
    traffic.admit(0)
    assert (traffic.statistics.peak_in_flight, traffic.statistics.throttled) == (2, 1)


# Over sockets ------------------------------------------------------------------------------------------------


def send(stack: ExitStack, server: Any) -> socket.socket:
    """Return a connection whose request has been sent, and nothing read."""
    address = urlsplit(server.url)
    connection = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
    connection.sendall(f"POST {PIXELS} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    return connection


def occupy(stack: ExitStack, server: Any, count: int) -> list[socket.socket]:
    """Return connections whose requests are in flight at a server that lets all of them hang."""
    connections = [send(stack, server) for _ in range(count)]
    until(server, lambda told: told["in_flight"] == count)
    return connections


def until(server: Any, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the statistics as soon as they pass a test. What never comes, the suite's timeout ends."""
    while True:
        told: dict[str, Any] = server.get("/sandbox/statistics").json()
        if test(told):
            return told


def test_more_than_the_quota_at_once_is_refused(serve: Callable[..., Any]) -> None:
    server = serve(max_concurrent=3, p_hanging=1.0)
    with ExitStack() as stack:
        first, *_ = occupy(stack, server, 3)
        refused = [server.post(PIXELS, BODY) for _ in range(4)]
        refused.append(server.post("/v1/projects/p/value:compute", {}))
        assert {answer.status_code for answer in refused} == {429}
        assert refused[0].json() == {"error": {"code": 429, "message": THROTTLED, "status": "RESOURCE_EXHAUSTED"}}
        first.close()
        until(server, lambda told: told["in_flight"] == 2)
        server.session.patch(server.url + "/sandbox/knobs", json={"p_hanging": 0}, timeout=20)
        assert server.post(PIXELS, BODY).status_code == 200
        told = server.get("/sandbox/statistics").json()
    assert (told["peak_in_flight"], told["throttled"], told["in_flight"]) == (3, 5, 2)
    assert told["requests"]["assets.getPixels"] == {"200": 1, "429": 4, "hanging": 1}
    assert told["pixel_requests"] == 8


def test_metadata_is_free_of_the_quota(serve: Callable[..., Any]) -> None:
    server = serve(qps=0.001)
    assert server.post(PIXELS, BODY).status_code == 200
    assert server.post(PIXELS, BODY).status_code == 429
    assert server.get("/v1/projects/earthengine-public/assets/TEST/image").status_code == 200


def test_an_abandoned_request_keeps_its_place(serve: Callable[..., Any]) -> None:
    server = serve(max_concurrent=1, latency_median=600.0)
    with ExitStack() as stack:
        occupy(stack, server, 1)
    assert server.post(PIXELS, BODY).status_code == 429
    assert server.get("/sandbox/statistics").json()["in_flight"] == 1


def test_an_abandoned_request_leaves_when_its_latency_ends(serve: Callable[..., Any]) -> None:
    server = serve(max_concurrent=1, latency_median=0.1)
    with ExitStack() as stack:
        send(stack, server)
    told = until(server, lambda told: "assets.getPixels" in told["requests"])
    assert told["in_flight"] == 0


@pytest.mark.parametrize(("knob", "status", "name"), [("p_500", 500, "INTERNAL"), ("p_503", 503, "UNAVAILABLE")])
def test_failures_have_google_s_shape(serve: Callable[..., Any], knob: str, status: int, name: str) -> None:
    answer = serve(**{knob: 1.0}).post(PIXELS, BODY)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == name


def test_a_dropped_connection_has_no_answer(serve: Callable[..., Any]) -> None:
    server = serve(p_dropped=1.0)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.request("POST", PIXELS, b"{}")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()
    assert server.get("/sandbox/statistics").json()["requests"] == {"assets.getPixels": {"dropped": 1}}


@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_body_is_half_of_what_was_promised(serve: Callable[..., Any], *, packed: bool) -> None:
    server = serve()
    headers = {"accept-encoding": "gzip"} if packed else {}
    bodies, promised = [], 0
    for p in (0.0, 1.0):
        server.session.patch(server.url + "/sandbox/knobs", json={"p_truncated": p}, timeout=20)
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
        connection.request("POST", PIXELS, b'{"fileFormat":"NPY","bandIds":["u2","f8"]}', headers)
        answer = connection.getresponse()
        assert answer.status == 200
        try:
            bodies.append(answer.read())
        except http.client.IncompleteRead as error:
            bodies.append(error.partial)
            promised = len(error.partial) + (error.expected or 0)
        connection.close()
    whole, half = bodies
    assert promised == len(whole)
    assert half == whole[: len(whole) // 2]


def test_a_hanging_request_has_no_answer_until_its_client_goes(serve: Callable[..., Any]) -> None:
    server = serve(p_hanging=1.0)
    with ExitStack() as stack:
        (connection,) = occupy(stack, server, 1)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert server.get("/sandbox/statistics").json()["in_flight"] == 1
    told = until(server, lambda told: told["in_flight"] == 0)
    assert told["requests"]["assets.getPixels"] == {"hanging": 1}


def test_too_many_pixels_exceed_memory(serve: Callable[..., Any]) -> None:
    server = serve(max_pixels=12)
    grid = {"affineTransform": {"scaleX": 10, "scaleY": -10}, "crsCode": "EPSG:32633"}
    for width, expected in ((4, 200), (5, 400)):
        size = {"dimensions": {"width": width, "height": 3}}
        answer = server.post(PIXELS, BODY | {"grid": grid | size})
        assert answer.status_code == expected
    assert answer.json() == {
        "error": {"code": 400, "message": "User memory limit exceeded.", "status": "INVALID_ARGUMENT"}
    }


def test_knobs_turn_while_it_runs(serve: Callable[..., Any]) -> None:
    server = serve(seed=4)
    session, url = server.session, server.url + "/sandbox/knobs"
    assert session.get(url, timeout=20).json()["seed"] == 4
    changed = session.patch(url, json={"p_500": 1.0, "restricted": True}, timeout=20)
    assert (changed.json()["p_500"], changed.json()["seed"]) == (1.0, 4)
    answer = server.post(PIXELS, BODY)
    assert answer.status_code == 500
    assert answer.headers["x-earth-engine-quota-status"] == "parallelism_restricted=true"
    refused = session.patch(url, json={"p_500": 2}, timeout=20)
    assert refused.status_code == 400
    assert "p_500" in refused.json()["error"]["message"]
    session.patch(url, json={"p_500": 0, "restricted": False}, timeout=20)
    answer = server.post(PIXELS, BODY)
    assert answer.status_code == 200
    assert "x-earth-engine-quota-status" not in answer.headers


def test_statistics_count_repeated_pixels_and_reset(serve: Callable[..., Any]) -> None:
    server = serve(gzip=False)
    first = server.post(PIXELS, BODY)
    server.post(PIXELS, BODY | {"bandIds": ["u1"]})
    server.post(PIXELS, BODY | {"bandIds": ["none"]})
    server.post(PIXELS, BODY | {"bandIds": ["none"]})  # twice refused is not twice fetched
    server.post(PIXELS, BODY)
    told = server.get("/sandbox/statistics").json()
    assert told["requests"]["assets.getPixels"] == {"200": 3, "400": 2}
    assert told["repeated_requests"] == 1
    assert told["bytes"] > 2 * len(first.content)
    server.session.delete(server.url + "/sandbox/statistics", timeout=20)
    server.post(PIXELS, BODY)
    told = server.get("/sandbox/statistics").json()
    assert (told["pixel_requests"], told["repeated_requests"]) == (1, 0)
    assert told["bytes"] == len(first.content)


def test_many_can_wait_at_once(serve: Callable[..., Any]) -> None:
    """Waiting takes no thread: far more requests are in flight than there are workers."""
    server = serve(p_hanging=1.0)
    with ExitStack() as stack:
        occupy(stack, server, 300)
    until(server, lambda told: told["requests"].get("assets.getPixels") == {"hanging": 300})
