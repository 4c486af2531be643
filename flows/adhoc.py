"""Ad hoc Python: turn an `ee.Image` of a script or a notebook into files.

    from flows import adhoc

    result = adhoc.region(image, region=[-54.60, -25.30, -54.55, -25.26], scale=30)

If a Prefect server is configured (PREFECT_API_URL), the run appears there and shares the quota with other runs. If
none is configured, a temporary server starts, and runs until the script or the kernel ends. Your `ee` session is not
changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from flows.image_parameters import ExpressionImage, RecipeImage, StoredImage
from flows.parameters import ExtractionParameters, PatchesParameters, RegionParameters, TimeseriesParameters
from flows.profile import with_client
from flows.start import ready
from tasks.earthengine.expression import encode, is_computed
from tasks.errors.input import BadInputError

if TYPE_CHECKING:
    import ee

    from flows.patches import PatchesResult
    from flows.region import RegionResult
    from flows.timeseries import TimeseriesResult

Image: TypeAlias = "ee.Image | ee.ImageCollection | StoredImage | RecipeImage | ExpressionImage | Mapping[str, Any]"
F = TypeVar("F", bound=Callable[..., object])


def _takes(parameters: type[ExtractionParameters]) -> Callable[[F], F]:
    """Return a decorator that shows the parameters of a flow in a signature, for `help` and completion in notebooks."""

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
        image: An `ee.Image`, or an asset, a recipe or an expression as a model or a dictionary.
        name: Folder name for the tiles of an `ee.Image`. Default: `expression`.
        as_of: Day up to which an `ee.Image` reads a growing collection. It is part of the image's identity.
        **fields: Fields of :class:`flows.parameters.RegionParameters`, which describes them.

    Raises:
        InputError: A value is refused. Nothing was fetched.
        EarthEngineError, StorageError, ExtractionFailedError: The run failed. The message contains what to do.
        RunCancelled: The run was cancelled on the Prefect server.
        QuarryError: Any other error. No exception of a library is raised.
    """
    result: RegionResult = _run("region", RegionParameters, fields | {"image": _image(image, name, as_of)})
    return result


@_takes(TimeseriesParameters)
def timeseries(image: Image, *, name: str | None = None, as_of: date | None = None, **fields: Any) -> TimeseriesResult:
    """Extract every image of a collection, as :func:`flows.timeseries.extract_timeseries` does.

    Args:
        image: An `ee.ImageCollection`, or an asset, a recipe or an expression as a model or a dictionary.
        name: See :func:`region`.
        as_of: See :func:`region`.
        **fields: Fields of :class:`flows.parameters.TimeseriesParameters`, which describes them.

    Raises:
        QuarryError: See :func:`region`.
    """
    result: TimeseriesResult = _run("timeseries", TimeseriesParameters, fields | {"image": _image(image, name, as_of)})
    return result


@_takes(PatchesParameters)
def patches(image: Image, *, name: str | None = None, as_of: date | None = None, **fields: Any) -> PatchesResult:
    """Extract square patches of one image around points, as :func:`flows.patches.extract_patches` does.

    Args:
        image: See :func:`region`.
        name: See :func:`region`.
        as_of: See :func:`region`.
        **fields: Fields of :class:`flows.parameters.PatchesParameters`, which describes them.

    Raises:
        QuarryError: See :func:`region`.
    """
    result: PatchesResult = _run("patches", PatchesParameters, fields | {"image": _image(image, name, as_of)})
    return result


def _image(image: Image, name: str | None, as_of: date | None) -> Any:
    """Return the image as a flow needs it: an `ee` object becomes the JSON of its expression.

    Raises:
        BadInputError: `name` or `as_of` is given for an image that is not an `ee` object.
    """
    given = {key: value for key, value in (("name", name), ("as_of", as_of)) if value is not None}
    if is_computed(image):
        return {"expression": encode(image), **given}
    for key, value in given.items():
        remedy = f"Leave it out, or set image.{key} if the image has such a field"
        raise BadInputError(key, value, "only for an ee.Image or an ee.ImageCollection", remedy)
    return image


def _run(name: str, parameters: type[ExtractionParameters], given: Mapping[str, Any]) -> Any:
    """Run a flow and return its result. Expected errors come without the fifty frames of Prefect's engine.

    Raises:
        QuarryError: See :func:`region`.
    """
    try:
        checked = parameters.read(parameters.nested(given), with_client())
        with ready(f"flows.{name}", f"extract_{name}", checked) as flow:
            return flow(**checked.given())
    except Exception as error:  # noqa: BLE001 - nothing but errors of this project leaves a call
        from tasks.prefect_io.boundary import ours

        raise ours(error).with_traceback(None) from None
    except KeyboardInterrupt as signal:
        again = "To resume, make the same call again: only the missing tiles are fetched."
        raise KeyboardInterrupt(str(signal) or f"Interrupted by Ctrl-C. The stored tiles are kept. {again}") from None
