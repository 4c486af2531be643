"""Laws of lines: a request that another thread gives up ends at once, and no other request is disturbed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.earthengine.deadlines import Deadlines
from tasks.earthengine.errors import Transient
from tasks.earthengine.line import Line, current_line
from tasks.earthengine.transport import fetch
from tests.tasks.earthengine.test_transport import NPY, REQUEST, answer, serving

LONG = Deadlines(read_s=60.0, computing_s=1000.0)


def fetched(connection, line):
    with line.used():
        return fetch(connection, REQUEST, deadlines=LONG)


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", answer(length=10**7), b"HTTP/1.1 200 OK\r\n\r\n" + NPY],
    ids=["nothing", "head", "body", "unlimited"],
)
def test_a_request_that_is_cut_ends_before_its_deadline(start):
    asked, line = threading.Event(), Line()

    def hang(sock, head, body):
        sock.sendall(start)
        asked.set()
        sock.recv(1)  # until the client goes away
        return False

    with serving(hang) as (connection, _), ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(fetched, connection, line)
        assert asked.wait(30)
        line.cut()
        error = outcome.exception(timeout=30)
    assert isinstance(error, Transient)
    assert "given up" in str(error)
    assert 900 < error.may_compute_s <= LONG.computing_s  # it keeps its permit
    assert current_line() is not line


def test_a_request_that_was_cut_before_is_not_sent():
    line = Line()
    line.cut()
    with serving(answer()) as (connection, server):
        with pytest.raises(Transient, match="given up") as caught:
            fetched(connection, line)
        assert server.seen == []
    assert caught.value.may_compute_s == 0.0


def test_a_line_whose_answer_is_whole_cuts_no_other_request():
    with serving(answer()) as (connection, server):
        lines = [Line() for _ in range(3)]
        for line in lines:
            assert fetched(connection, line).body == NPY
            line.cut()
        assert server.sockets == 1  # the same connection, from request to request
