"""Between the rows of the table and the libraries below them: their errors become refusals."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError

from deployments.sandbox.refusal import Refusal

UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, ShapelyError, ProjError)

_LOG = logging.getLogger("deployments.sandbox")


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn errors over values that Python or a library cannot handle into refusals, and log them.

    The rows refuse, in better words, what they know to be wrong. The rest must not be answered as if the server
    had failed: a client would try again, and fail alike. Nor does the answer show Python's message: whether Earth
    Engine would take these values is not known.

    Args:
        what: Function or operation, for the message.

    Raises:
        Refusal: 400.
    """
    try:
        yield
    except MemoryError:
        raise Refusal("User memory limit exceeded.") from None
    except UNFIT as error:
        _LOG.warning("%s was given what it cannot handle", what, exc_info=True)
        raise Refusal(f"{what}: the sandbox does not support these arguments (the reason is in its log).") from error
