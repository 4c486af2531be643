"""Refusals: ten wrong requests, and whether their statuses and texts are those that runs know."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.doctor.asking import BOX, Asking, full_name, grid_json
from tasks.doctor.catalogue import ELEVATION, MODIS
from tasks.doctor.check import Check, Outcome, ok, skipped, warn
from tasks.earthengine.errors import Denied, EarthEngineError, Rejected

AREA = "Refusals"
EXPRESSION = {
    "result": "0",
    "values": {
        "0": {
            "functionInvocationValue": {"functionName": "Image.constant", "arguments": {"value": {"constantValue": 1}}}
        }
    },
}
UNKNOWN = {
    "result": "0",
    "values": {"0": {"functionInvocationValue": {"functionName": "Image.noSuchFunction", "arguments": {}}}},
}


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A wrong request."""

    name: str
    kind: type[EarthEngineError]
    """Error that a run raises for it: it decides what the run does."""
    status: int
    text: str
    """Regular expression of the text that is known."""
    path: str
    """Path below /v1/, with ``{project}``."""
    body: Mapping[str, Any] | None = None
    params: Mapping[str, str] | None = None


def _pixels(**more: Any) -> dict[str, Any]:
    return {"expression": EXPRESSION, "fileFormat": "NPY", "grid": grid_json(BOX)} | more


COMPUTE, GET = "projects/{project}/image:computePixels", f"{full_name(ELEVATION)}:getPixels"
_FLAT = grid_json(BOX) | {"affineTransform": {"scaleX": 0, "scaleY": 0, "translateX": 0, "translateY": 0}}
_FAR = grid_json(BOX, {"crsCode": "EPSG:999999"})
WRONG = (
    Wrong(
        name="unknown asset",
        kind=Rejected,
        status=404,
        text=r"not found|does not exist",
        path=full_name("USGS/SRTMGL1_003_no_such"),
    ),
    Wrong(
        name="asset of an unknown project",
        kind=Rejected,
        status=404,
        text=r"not found|does not exist|access",
        path="projects/pixel-quarry-no-such-project/assets/no-such",
    ),
    Wrong(
        name="unknown band",
        kind=Rejected,
        status=400,
        text=r"band",
        path=GET,
        body={"fileFormat": "NPY", "grid": grid_json(BOX), "bandIds": ["no_such_band"]},
    ),
    Wrong(
        name="unknown field",
        kind=Rejected,
        status=400,
        text=r"unknown name .*cannot find field",
        path=COMPUTE,
        body=_pixels(noSuchField=1),
    ),
    Wrong(
        name="unknown format",
        kind=Rejected,
        status=400,
        text=r"invalid value at .*file_format",
        path=COMPUTE,
        body=_pixels(fileFormat="NUMPY_NDARRAY"),
    ),
    Wrong(
        name="format of exports",
        kind=Rejected,
        status=400,
        text=r"format",
        path=COMPUTE,
        body=_pixels(fileFormat="TF_RECORD_IMAGE"),
    ),
    Wrong(
        name="unknown CRS",
        kind=Rejected,
        status=400,
        text=r"crs|projection",
        path=COMPUTE,
        body=_pixels(grid=_FAR),
    ),
    Wrong(
        name="pixels without an area",
        kind=Rejected,
        status=400,
        text=r"transform|scale|area",
        path=COMPUTE,
        body=_pixels(grid=_FLAT),
    ),
    Wrong(
        name="unknown function",
        kind=Rejected,
        status=400,
        text=r"noSuchFunction|function|algorithm",
        path=COMPUTE,
        body=_pixels(expression=UNKNOWN),
    ),
    Wrong(
        name="no pixels",
        kind=Rejected,
        status=400,
        text=r"dimensions",
        path=COMPUTE,
        body=_pixels(grid=grid_json(BOX) | {"dimensions": {"width": 0, "height": 1}}),
    ),
    Wrong(
        name="broken filter",
        kind=Rejected,
        status=400,
        text=r"filter",
        path=f"{full_name(MODIS)}:listAssets",
        params={"filter": "startTime <>< 1", "pageSize": "1"},
    ),
)


def refusals(ask: Callable[[], Asking]) -> Iterator[Check]:
    """Yield a check for each wrong request. None of them costs compute time."""
    for wrong in WRONG:
        yield Check(
            area=AREA,
            name=wrong.name,
            expected=f"{wrong.status}, {wrong.kind.__name__}: {wrong.kind.action}",
            act=functools.partial(refused, ask, wrong),
            needs=("value computed",),
            needed=False,
        )

    yield Check(
        area=AREA,
        name="Retry-After",
        expected="in answers with status 429",
        act=lambda: retry_after(ask()),
        needs=("value computed",),
        needed=False,
    )


def retry_after(asking: Asking) -> Outcome:
    """Return how long Earth Engine asked to wait when it throttled, during all requests before."""
    if not asking.throttled:
        return skipped("It is only seen when Earth Engine throttles, and it did not.")
    seconds = [each for each in asking.throttled if each is not None]
    asked = f"Retry-After {min(seconds):g} to {max(seconds):g} s" if seconds else "without Retry-After"
    return ok(f"{len(asking.throttled)} answers with status 429, {asked}")


def refused(ask: Callable[[], Asking], wrong: Wrong) -> Outcome:
    """Send a wrong request, and compare how it is refused with what is known."""
    asking = ask()
    method = "GET" if wrong.body is None else "POST"
    asking.pixel_requests += method == "POST"
    path = wrong.path.format(project=asking.connection.project)
    try:
        asking.ask(method, path, wrong.body, params=wrong.params)
    except EarthEngineError as error:
        return compared(wrong, error)
    return warn("it was answered")


def compared(wrong: Wrong, error: EarthEngineError) -> Outcome:
    """Compare an error with what is known of a wrong request."""
    found = f"{error.status}, {type(error).__name__}: {error.message}"
    if type(error) is not wrong.kind:
        worse = "the whole run stops" if isinstance(error, Denied) else f"a run would “{error.action}”"
        return warn(found, f"If a job meets this, {worse}: report this line, so that the table of errors is changed.")
    if error.status != wrong.status or re.search(wrong.text, error.message, re.IGNORECASE) is None:
        return warn(found)
    return ok(found)
