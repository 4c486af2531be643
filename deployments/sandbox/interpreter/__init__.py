"""The interpreter of Earth Engine expressions: a table of functions over lazy images, with numpy.

``evaluate`` gives the value of an expression and ``to_json`` what ``value:compute`` returns of it. To add a
function of Earth Engine's, add a row to the module of its kind (see ``registry``); every name, argument and
default is checked against the list of algorithms in the installed ``earthengine-api``.
"""

from deployments.sandbox.interpreter import (  # each of them fills the table
    aggregates,
    arithmetic,
    composites,
    dictionaries,
    expressions,
    features,
    filters,
    geometry,
    imagecollections,
    images,
    lists,
    masks,
    metadata,
    moments,
    reducers,
    rendering,
    reprojection,
    strings,
)
from deployments.sandbox.interpreter.evaluator import evaluate
from deployments.sandbox.interpreter.output import to_json

ROWS = (
    aggregates,
    arithmetic,
    composites,
    dictionaries,
    expressions,
    features,
    filters,
    geometry,
    imagecollections,
    images,
    lists,
    masks,
    metadata,
    moments,
    reducers,
    rendering,
    reprojection,
    strings,
)
"""The modules whose rows make the table."""

__all__ = ["evaluate", "to_json"]
