"""How long a flow's own code waits for the Prefect server: for less than a minute, and its products do without it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import ImageArtifact, MarkdownArtifact, ProgressArtifact, TableArtifact
from prefect.context import SyncClientContext
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.prefect_io.client_log import REPORT_S, log_retries
from tasks.prefect_io.publishing import own_key, publish
from tasks.prefect_io.server import ServerAwayError, ServerGoneError, server_error
from tasks.prefect_io.unsent import bound_exit

P = ParamSpec("P")
R = TypeVar("R")

# Seconds to wait for an answer, and retries. By default Prefect waits 60 s for each of six attempts, with up to a
# minute in between. What a flow asks in its own code are artifacts and slots, without which it goes on.
ANSWER_S, RETRIES = 10.0, 3
# Seconds to wait for an answer, once, after a signal.
LEAVING_S = 3.0
_leaving: list[contextlib.AbstractContextManager[Any]] = []
_signalled = threading.Event()
# Set while the server did not take the last artifact: it is asked but once for the next one.
_away = threading.Event()


def hurry() -> None:
    """From now on, ask the Prefect server once, for `LEAVING_S` seconds: the run is to end. For tasks, too."""
    _signalled.set()


def _hurried(request: httpx.Request) -> None:
    """Shorten a request after a signal.

    Raises:
        ServerAwayError: Prefect's client sends it again.
    """
    if _signalled.is_set():
        if request.extensions.get("hurried"):
            raise ServerAwayError("The Prefect server does not answer, and the run has ended.")
        request.extensions |= {"hurried": True, "timeout": httpx.Timeout(LEAVING_S).as_dict()}


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Wait for at most a minute for each answer of the Prefect server inside the `with` block, and in its tasks.

    The engine of Prefect, which reports the state of the flow run before and after the block, keeps its retries. If a
    signal (SIGTERM, Ctrl-C) ends the block, or the server has been away for minutes, it does not.
    """
    log_retries()
    context = SyncClientContext.get()  # that of the flow's engine; None outside of it
    http = context.client._client if context else None  # noqa: SLF001 - its timeout is public, and only this leads to it
    after_s = min(http.timeout.read or REPORT_S, REPORT_S) if http else REPORT_S
    changed = {PREFECT_API_REQUEST_TIMEOUT: ANSWER_S, PREFECT_CLIENT_MAX_RETRIES: RETRIES}
    _signalled.clear()
    _away.clear()
    if http:
        http.timeout = ANSWER_S
        http.event_hooks = {**http.event_hooks, "request": [_hurried]}  # Prefect sets none
    try:
        with temporary_settings(changed):
            yield
    except BaseException as error:
        # The process is to leave within seconds, so the engine does not get its patience.
        if not isinstance(error, Exception) or isinstance(error, ServerGoneError):
            after_s = LEAVING_S
            hurry()
            _leaving.append(temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}))
            _leaving[-1].__enter__()  # never left: it ends with the settings around the run
        raise
    finally:
        if http:
            http.timeout = after_s
            bound_exit(str(http.base_url))


@contextlib.contextmanager
def ignoring_server_errors() -> Iterator[None]:
    """Log an error in the `with` block as a warning: what is shown in the UI must not stop the run."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the pixels matter more than the artifacts
        _warn(error)


def _warn(error: Exception) -> None:
    words = "The Prefect server did not store an artifact or the run's name (%s). The run goes on."
    get_run_logger().warning(words, type(error).__name__ + (f": {error}" if str(error) else ""))


def _published(create: Callable[P, R]) -> Callable[P, R | None]:
    """Return a function that publishes an artifact; if the server fails, it logs that and returns None."""

    def publish(*args: P.args, **kwargs: P.kwargs) -> R | None:
        once = {PREFECT_API_REQUEST_TIMEOUT: LEAVING_S, PREFECT_CLIENT_MAX_RETRIES: 0} if _away.is_set() else None
        try:
            with temporary_settings(once) if once else contextlib.nullcontext():
                made = create(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - as in `ignoring_server_errors`
            if isinstance(server_error(error), ServerAwayError):
                _away.set()
            _warn(error)
            return None
        _away.clear()
        return made

    return publish


@_published
def image_artifact(url: str, *, key: str, description: str) -> UUID:
    """Publish a picture: see :func:`tasks.prefect_io.publishing.publish`."""
    return publish(ImageArtifact(key=key, description=description, image_url=url))


@_published
def markdown_artifact(text: str, *, key: str, description: str) -> UUID:
    """Publish a text in Markdown."""
    return publish(MarkdownArtifact(key=key, description=description, markdown=text))


@_published
def table_artifact(rows: Sequence[Mapping[str, object]], *, key: str, description: str) -> UUID:
    """Publish a table. The UI shows text in its cells as Markdown."""
    return publish(TableArtifact(key=key, description=description, table=[dict(row) for row in rows]))


@_published
def progress_artifact(*, key: str, description: str) -> UUID:
    """Publish a progress bar at 0 %, under a key of its own: each of a run goes on by itself."""
    return publish(ProgressArtifact(key=own_key(key), description=description, progress=0.0))
