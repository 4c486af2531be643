"""The Prefect flow of a job: its parameters are stored on the server only if the server can send them again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import Flow
from prefect.context import SettingsContext, get_settings_context
from prefect.runtime import flow_run

from flows.batches import one_batch_at_a_time
from flows.stored_value import check_size, check_storable, storable
from tasks.errors.input import InputError
from tasks.prefect_io.server import server
from tasks.prefect_io.start_watch import watch_start

P = ParamSpec("P")
R = TypeVar("R")


class Job(Flow[P, R]):
    """A flow whose raw arguments are checked before Prefect stores them."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # Prefect has overloads
        """Run the flow. A signal that ends it changes settings of Prefect for what is left of this run alone."""
        now = get_settings_context()
        with SettingsContext(profile=now.profile, settings=now.settings):
            return super().__call__(*args, **kwargs)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call as Prefect stores them.

        Raises:
            BadInputError: The server could not send them again, or they are too large.
        """
        stored = super().serialize_parameters(parameters)
        for value in stored.values():
            check_storable(value)
        check_size(stored)
        return stored

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments as the flow's function takes them.

        A deployment's run was stored before this code could check it. If the server cannot send it again, its stored
        parameters are replaced, so that lists of runs work again.
        """
        try:
            for value in parameters.values():
                check_storable(value)
        except InputError:
            with contextlib.suppress(httpx.HTTPError, TypeError, ValueError), server() as client:
                client.update_flow_run(UUID(flow_run.id), parameters=storable(parameters))
        return super().validate_parameters(parameters)


def job(name: str, run_name: Callable[[], str]) -> Callable[[Callable[P, R]], Job[P, R]]:
    """Return a decorator that makes a function the Prefect flow of a job.

    Args:
        name: Name of the flow on the server.
        run_name: Returns the name of a run.
    """
    watch_start()

    def made(function: Callable[P, R]) -> Job[P, R]:
        return Job(function, name=name, flow_run_name=run_name, task_runner=one_batch_at_a_time())

    return made
