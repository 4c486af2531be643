"""The Prefect flow of a job: plain keyword parameters, which a model checks."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import Flow
from prefect.context import SettingsContext, get_settings_context
from prefect.runtime import flow_run
from pydantic import BaseModel, WithJsonSchema

from flows.batches import one_batch_at_a_time
from flows.failures import fails_with_one_message
from flows.form_schema import TextOr, form, in_order
from flows.profile import Source, lines, noted, origins_noted
from flows.run_options import RunOptions
from flows.stored_value import check_size, check_storable, storable
from flows.validation import BY_NAME, OLD
from tasks.errors.input import BadInputError, InputError
from tasks.errors.redaction import HIDDEN
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.run_end import Caller, called_by
from tasks.prefect_io.run_name import name_first
from tasks.prefect_io.server import server
from tasks.prefect_io.start_watch import watch_start

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

P = ParamSpec("P")
M = TypeVar("M", bound=RunOptions)
R = TypeVar("R", bound=BaseModel)
OF_PREFECT = ("return_state", "wait_for")
"""Arguments of a call that are Prefect's."""


class Job(Flow[P, R]):
    """A flow whose parameters are the fields of a model.

    Prefect does not check them: the model does, in its own words. In Python bad input is refused before there is a run.
    A deployment's run fails with the message.
    """

    model: type[RunOptions]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # Prefect has overloads
        """Run the flow. A signal that ends it changes settings of Prefect for what is left of this run alone.

        Raises:
            InputError: Parameters are refused. There is no run.
        """
        if args:
            raise BadInputError(OLD, HIDDEN, "given without names", BY_NAME)
        given: dict[str, Any] = dict(kwargs)
        own = {name: given.pop(name) for name in OF_PREFECT if name in given}
        read = self.model.read(given)
        now = get_settings_context()
        caller = Caller(gets_error=not own.get("return_state"))
        with SettingsContext(profile=now.profile, settings=now.settings), called_by(caller), noted(read.origins):
            result: Any = super().__call__(**read.given(), **own)
            return result  # type: ignore[no-any-return]  # Prefect has overloads

    def with_options(self, *args: Any, **options: Any) -> Job[P, R]:
        """Return the flow with other options of Prefect. Prefect makes a plain flow of it."""
        return _of_model(super().with_options(*args, **options), self.model)  # type: ignore[no-any-return]  # as above

    def __reduce__(self) -> Any:
        """Return how to pickle the flow of a module: by its name. One with other options is pickled by value."""
        named = getattr(sys.modules.get(self.fn.__module__), self.fn.__name__, None)
        return (_of_module, (self.fn.__module__, self.fn.__name__)) if named is self else super().__reduce__()

    async def ato_deployment(self, *args: Any, **options: Any) -> RunnerDeployment:
        """Return a deployment with the form of the model, as `provision` makes it: Prefect would make its own form."""
        return self._with_form(await super().ato_deployment(*args, **options))

    def to_deployment(self, *args: Any, **options: Any) -> Any:
        """Return a deployment as above; in a coroutine, what is to be awaited for it."""
        made: Any = super().to_deployment(*args, **options)
        return self.ato_deployment(*args, **options) if _closed(made) else self._with_form(made)

    def _with_form(self, made: RunnerDeployment) -> RunnerDeployment:
        made._parameter_openapi_schema = self.parameters  # noqa: SLF001 - there is no argument for it
        return made

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call that are not the defaults, as Prefect stores them.

        Raises:
            BadInputError: The server could not send them again, or they are too large.
        """
        default = {name: each.default for name, each in inspect.signature(self.fn).parameters.items()}
        chosen = {name: _plain(value) for name, value in parameters.items() if value is not default.get(name)}
        stored = super().serialize_parameters(chosen)
        for value in stored.values():
            check_storable(value)
        check_size(stored)
        return stored

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments unchanged: the flow's function checks them.

        A deployment's run was stored before this code could check it. If the server cannot send it again, its stored
        parameters are replaced, so that lists of runs work again.
        """
        try:
            for value in parameters.values():
                check_storable(value)
        except InputError:
            with contextlib.suppress(httpx.HTTPError, TypeError, ValueError), server() as client:
                client.update_flow_run(UUID(flow_run.id), parameters=storable(parameters))
        return parameters


def _of_module(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _closed(made: Any) -> bool:
    """Close a coroutine, and return whether it was one."""
    if coroutine := inspect.iscoroutine(made):
        made.close()
    return coroutine


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def _of_model(flow: Any, model: type[RunOptions]) -> Any:
    """Return a flow of Prefect as a job. The signature that others see is without the old parameter."""
    flow.__class__, flow.model, flow.parameters = Job, model, form(model)
    flow.__signature__ = _signature(model)
    return flow


def _signature(model: type[BaseModel]) -> inspect.Signature:
    """Return the fields of a model as keyword parameters, in the order of its form."""
    taken = []
    for name in in_order(list(model.model_fields)):
        field = model.model_fields[name]
        text = any(isinstance(each, TextOr) for each in field.metadata)
        kind: Any = Annotated[Any, WithJsonSchema({"type": "string"})] if text else field.annotation
        default = inspect.Parameter.empty if field.is_required() else field.default
        taken.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default))
    return inspect.Signature(taken)


def _documented(text: str, model: type[BaseModel]) -> str:
    """Return a docstring with the fields of a model as its arguments."""
    fields = {name: model.model_fields[name] for name in in_order(list(model.model_fields))}
    lines = (f"    {name}: {' '.join((field.description or '').split())}" for name, field in fields.items())
    return "\n".join([text.rstrip(), "", "Args:", *lines])


def _flat(function: Callable[[Any], R], model: type[RunOptions]) -> Callable[..., R]:
    """Return a function of the fields of a model. What the model refuses is given to the function as an error."""
    signature = _signature(model)
    # Prefect binds the stored parameters of a run: it must find no fault, so that the model names what is missing.
    fields = [each.replace(default=_given(each.default)) for each in signature.parameters.values()]
    old = inspect.Parameter(OLD, inspect.Parameter.KEYWORD_ONLY, annotation=Any, default=None)
    default = {each.name: each.default for each in fields}

    def called(**given: Any) -> R:
        chosen = {name: value for name, value in given.items() if value is not default.get(name)}
        origins = origins_noted()
        # The call has filled in what it was not given, and a value that is the default was given.
        parameters = _read(model, chosen, None if origins is None else ())
        if isinstance(parameters, RunOptions):
            for line in lines(parameters, parameters.origins if origins is None else origins):
                run_logger().info(line)
        return function(parameters)

    called.__module__, called.__name__, called.__qualname__ = function.__module__, function.__name__, function.__name__
    called.__signature__ = signature.replace(parameters=[*fields, old])  # type: ignore[attr-defined]  # PEP 362
    called.__doc__ = _documented(inspect.getdoc(function) or "", model)
    return called


def _given(default: Any) -> Any:
    return None if default is inspect.Parameter.empty else default


def _read(
    model: type[RunOptions], given: dict[str, Any], found: tuple[Source, ...] | None = ()
) -> RunOptions | InputError:
    try:
        return model.read(given, found)
    except InputError as error:
        return error


def job(name: str, model: Callable[P, M], run_name: Callable[[M], str]) -> Callable[[Callable[[M], R]], Job[P, R]]:
    """Return a decorator that makes a function of a model the Prefect flow of a job.

    Args:
        name: Name of the flow on the server.
        model: Class of the parameters. Its fields become the parameters of the flow.
        run_name: Returns the first name of a run.
    """
    watch_start()
    kind: Any = model

    def first_name() -> str:
        read: Any = _read(kind, {name: value for name, value in flow_run.parameters.items() if value is not None})
        return f"{name.removeprefix('extract-')} refused" if isinstance(read, InputError) else run_name(read)

    def made(function: Callable[[M], R]) -> Job[P, R]:
        flat = _flat(fails_with_one_message(function), kind)
        flow: Any = Flow(
            flat, name=name, flow_run_name=partial(name_first, first_name), task_runner=one_batch_at_a_time()
        )
        return _of_model(flow, kind)  # type: ignore[no-any-return]  # a flow of Prefect until now

    return made
