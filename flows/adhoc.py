"""Ad hoc Python: an `ee.Image` of your own in a script or a notebook, and its pixels as files.

    from flows import adhoc

    result = adhoc.region(image, region=[-54.60, -25.30, -54.55, -25.26], scale=30)

With a Prefect server (PREFECT_API_URL) the run is seen there and shares the quota. Without one, Prefect starts a
temporary server, which lasts as long as the script or the kernel. A session of `ee` is left as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import ValidationError

from flows.image_parameters import ExpressionImage, RecipeImage, StoredImage
from flows.parameters import ExtractionParameters, PatchesParameters, RegionParameters, TimeseriesParameters
from flows.start import ready
from tasks.earthengine.errors import EarthEngineError
from tasks.earthengine.expression import encode, is_computed
from tasks.errors.input import BadInputError, InputError
from tasks.storage.store import StorageError

if TYPE_CHECKING:
    import ee

    from flows.patches import PatchesResult
    from flows.region import RegionResult
    from flows.timeseries import TimeseriesResult

Image: TypeAlias = "ee.Image | ee.ImageCollection | StoredImage | RecipeImage | ExpressionImage | Mapping[str, Any]"
F = TypeVar("F", bound=Callable[..., object])


def _takes(parameters: type[ExtractionParameters]) -> Callable[[F], F]:
    """Show the fields in a function's signature, for `help` and for completion in a notebook."""

    def shown(function: F) -> F:
        own = inspect.signature(function)
        fields = [field for field in inspect.signature(parameters).parameters.values() if field.name != "image"]
        ours = list(own.parameters.values())[:-1]
        function.__signature__ = own.replace(parameters=[*ours, *fields])  # type: ignore[attr-defined]  # PEP 362
        return function

    return shown


@_takes(RegionParameters)
def region(image: Image, *, name: str | None = None, as_of: date | None = None, **fields: Any) -> RegionResult:
    """Extract a region of one image, as :func:`flows.region.extract_region` does.

    Args:
        image: An `ee.Image`; or an asset, a recipe or an expression, as a model or a dictionary.
        name: Folder of the tiles of an `ee.Image`; `expression` if not given.
        as_of: Day up to which an `ee.Image` reads a growing collection: part of its identity.
        **fields: Of :class:`flows.parameters.RegionParameters`, which says what each is.

    Raises:
        InputError: a value can't be; nothing was fetched.
        EarthEngineError, StorageError, ExtractionFailedError: the run failed; the message says what to do.
        CancelledRun: somebody has cancelled it on the Prefect server.
    """
    result: RegionResult = _run("region", RegionParameters, fields | {"image": _image(image, name, as_of)})
    return result


@_takes(TimeseriesParameters)
def timeseries(image: Image, *, name: str | None = None, as_of: date | None = None, **fields: Any) -> TimeseriesResult:
    """Extract every image of a collection, as :func:`flows.timeseries.extract_timeseries` does.

    Args:
        image: An `ee.ImageCollection`; or an asset, a recipe or an expression, as a model or a dictionary.
        name: As of :func:`region`.
        as_of: As of :func:`region`.
        **fields: Of :class:`flows.parameters.TimeseriesParameters`, which says what each is.

    Raises:
        InputError, EarthEngineError, StorageError, ExtractionFailedError, CancelledRun: As :func:`region`.
    """
    result: TimeseriesResult = _run("timeseries", TimeseriesParameters, fields | {"image": _image(image, name, as_of)})
    return result


@_takes(PatchesParameters)
def patches(image: Image, *, name: str | None = None, as_of: date | None = None, **fields: Any) -> PatchesResult:
    """Extract square patches of one image around points, as :func:`flows.patches.extract_patches` does.

    Args:
        image: As of :func:`region`.
        name: As of :func:`region`.
        as_of: As of :func:`region`.
        **fields: Of :class:`flows.parameters.PatchesParameters`, which says what each is.

    Raises:
        InputError, EarthEngineError, StorageError, ExtractionFailedError, CancelledRun: As :func:`region`.
    """
    result: PatchesResult = _run("patches", PatchesParameters, fields | {"image": _image(image, name, as_of)})
    return result


def _image(image: Image, name: str | None, as_of: date | None) -> Any:
    """Return an image as a flow takes it: an object of `ee` as the JSON of its expression."""
    said = {key: value for key, value in (("name", name), ("as_of", as_of)) if value is not None}
    if is_computed(image):
        return {"expression": encode(image), **said}
    for key, value in said.items():
        raise BadInputError(key, value, "given beside an image that says it itself", f"Give it as image.{key}")
    return image


def _run(name: str, parameters: type[ExtractionParameters], given: Mapping[str, Any]) -> Any:
    """Run a flow. What goes wrong is told as one message, without fifty frames of Prefect's engine above it."""
    try:
        checked = parameters.model_validate(given)
    except ValidationError as error:
        raise InputError("\n".join(details["msg"] for details in error.errors())) from None
    from prefect.exceptions import CancelledRun

    from tasks.errors.run import ExtractionFailedError

    try:
        with ready(f"flows.{name}", f"extract_{name}", checked) as flow:
            return flow(checked)
    except (InputError, EarthEngineError, StorageError, ExtractionFailedError, CancelledRun) as error:
        raise error.with_traceback(None) from None
    except KeyboardInterrupt:
        kept = "Interrupted. What is stored is kept: run the same again, and only the rest is fetched."
        raise KeyboardInterrupt(kept) from None
