"""Parameters from fields as a command line or `adhoc` takes them: those of `advanced` beside the others."""

from typing import Any


def parameters_of(model: type, **fields: object) -> Any:
    """The parameters of a flow."""
    return model.model_validate(model.nested(fields))


def call(flow: Any, *, return_state: bool = False, **fields: object) -> Any:
    """What a flow returns, or its state."""
    return flow(**flow.model.nested(fields), return_state=return_state)


def bare(flow: Any, **fields: object) -> Any:
    """The state that a flow's function returns without Prefect's engine."""
    return flow.fn(**flow.model.nested(fields))
