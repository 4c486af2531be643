"""The fields of a stored plan. Others may have written it, so each is checked as if a user had typed it.

What a plan would ask of Earth Engine is checked afterwards: :func:`tasks.plan.limits.check_stored`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    Strict,
    ValidationError,
    model_validator,
)

from tasks.earthengine.asset_name import asset_path
from tasks.errors.input import brief
from tasks.plan.choices import MAX_BANDS, MAX_PAYLOAD_BYTES, MAX_SIDE, MAX_TILES, Codec, FileFormat, Masks

LARGEST = 1e15
"""Largest coordinate or size of a pixel, CRS units: whole numbers up to it are exact."""
MAX_GRID = 2**31 - 1
"""Pixels per side of a whole grid, as in GDAL."""
_PART = "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,249}"


def _asset(name: str) -> str:
    asset_path(name)
    return name


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _version(text: str) -> str:
    if text.startswith("["):  # of several images: see tasks.extraction.versions
        value = json.loads(text)
        if not all(isinstance(pair, list) and [type(one) for one in pair] == [str, str] for pair in value):
            raise ValueError("must be pairs of a name and a version")
    return text


def _json_object(text: str) -> str:
    """Return the text if it is one JSON object. It becomes part of the body of a request as it is."""
    try:
        if isinstance(json.loads(text, parse_constant=_no_constant), dict):
            return text
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    raise ValueError("must be a JSON object")


def _flat(text: str) -> str:
    if text.count("GEOMETRYCOLLECTION") > 1:  # GEOS reads nested ones by recursion: many would end the process
        raise ValueError("must not be nested")
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


Int = Annotated[int, Strict()]
# A whole number stays one, since it has another text in the fingerprint.
Number = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict()], Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)
]
Dtype = Literal["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
Text = Annotated[str, Strict()]
# Control characters are in no name, and a band begins with no blank.
Name = Annotated[Text, Field(max_length=1_000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
BandName = Annotated[Text, Field(max_length=1_000, pattern=r"^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")]
Folder = Annotated[Text, Field(max_length=1_000, pattern=f"^{_PART}(/{_PART})*$")]
Label = Annotated[Text, Field(pattern=f"^({_PART})?$")]
FlowName = Annotated[Text, Field(max_length=40, pattern="^[a-z][a-z0-9_-]*$")]
Home = Annotated[Text, Field(max_length=40, pattern="^series-[0-9a-f]+$")]
Fingerprint = Annotated[Text, Field(pattern="^[0-9a-f]{64}$")]
Ids = Annotated[tuple[Name, ...], FailFast()]
Asset = Annotated[Text, AfterValidator(_asset)]
Json = Annotated[Text, Field(max_length=MAX_PAYLOAD_BYTES), AfterValidator(_json_object)]
Version = Annotated[Text, Field(max_length=MAX_PAYLOAD_BYTES), AfterValidator(_version)]
Moment = Annotated[Text, Field(max_length=40), AfterValidator(_moment)]
Crs = Annotated[Text, Field(min_length=1, max_length=20_000)]
Wkt = Annotated[
    Text, Field(pattern=r"^(MULTIPOLYGON|POLYGON|GEOMETRYCOLLECTION) [-+0-9.e, ()A-Z]*$"), AfterValidator(_flat)
]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BandFields(_Fields):
    """Fields of a band."""

    id: BandName
    dtype: Dtype


class SourceFields(_Fields):
    """Fields of a source: see :class:`tasks.plan.plan.Source`."""

    name: Folder
    origin: Name = ""
    asset: Asset | None = None
    expression: Json | None = None
    version: Version
    time: Moment | None = None
    end: Moment | None = None
    title: Label = ""
    images: Ids = ()
    superseded: Ids = ()
    wire: FileFormat
    wire_bands: Annotated[tuple[BandName, ...], FailFast(), Field(min_length=1, max_length=MAX_BANDS)]
    wire_dtypes: Annotated[tuple[Dtype, ...], FailFast(), Field(min_length=1, max_length=MAX_BANDS)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.asset is None) == (self.expression is None):
            raise ValueError("must have either an asset or an expression")
        if len(self.wire_dtypes) != len(self.wire_bands):
            raise ValueError("must have one type for each band that is requested")
        return self


class FormatFields(_Fields):
    """Fields of a tile format: see :class:`tasks.plan.plan.TileFormat`."""

    file_format: FileFormat
    codec: Codec
    masks: Masks
    visualization: Json | None = None
    clip: Wkt | None = None
    alike: Annotated[bool, Strict()] = False


class RegionFields(_Fields):
    """Fields of the tiles of a region: see :class:`tasks.plan.tiles.RegionTiles`."""

    kind: Literal["region"]
    crs: Crs
    affine: tuple[Number, Number, Number, Number, Number, Number]
    shape: tuple[Annotated[Int, Field(ge=1, le=MAX_GRID)], Annotated[Int, Field(ge=1, le=MAX_GRID)]]
    tile_size: Annotated[Int, Field(ge=1, le=MAX_SIDE)]
    kept: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MAX_TILES)] | None
    map_edge: Number | None = None

    @property
    def count(self) -> int:
        """Number of tiles, by arithmetic."""
        rows, columns = (-(-side // self.tile_size) for side in self.shape)
        return rows * columns if self.kept is None else len(self.kept)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_pixel(self.affine[0], self.affine[1], self.affine[3], self.affine[4])
        if self.kept is not None:
            rows, columns = (-(-side // self.tile_size) for side in self.shape)
            numbers = set(map(type, self.kept)) == {int}
            if not (numbers and self.kept[0] >= 0 and self.kept[-1] < rows * columns and _rising(self.kept)):
                raise ValueError("kept must be numbers of its tiles, in order")
        return self


class PatchFields(_Fields):
    """Fields of patches: see :class:`tasks.plan.tiles.PatchTiles`."""

    kind: Literal["patches"]
    crs: Annotated[tuple[Crs, ...], Field(min_length=1, max_length=1_000)]
    zone: Annotated[list[Annotated[Int, Field(ge=0)]], FailFast(), Field(min_length=1, max_length=MAX_TILES)]
    left: Annotated[list[Number], FailFast(), Field(max_length=MAX_TILES)]
    top: Annotated[list[Number], FailFast(), Field(max_length=MAX_TILES)]
    scale: Annotated[Number, Field(gt=0)]
    size: Annotated[Int, Field(ge=1, le=MAX_SIDE)]
    pixel: tuple[Number, Number, Number, Number] | None = None
    beyond: Annotated[bool, Strict()] = False

    @property
    def count(self) -> int:
        """Number of patches."""
        return len(self.zone)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.zone) == len(self.left) == len(self.top):
            raise ValueError("zone, left and top must be equally long")
        if max(self.zone) >= len(self.crs):
            raise ValueError("zone must be numbers of crs")
        _check_pixel(*(self.pixel or (self.scale, 0, 0, -self.scale)))
        return self


class PlanFields(BaseModel):
    """Fields of a plan: see :class:`tasks.plan.plan.Plan`."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    fingerprint: Fingerprint
    name: FlowName
    sources: Annotated[tuple[SourceFields, ...], FailFast(), Field(min_length=1)]
    tiles: Annotated[RegionFields | PatchFields, Field(discriminator="kind")]
    bands: Annotated[tuple[BandFields, ...], FailFast(), Field(min_length=1, max_length=MAX_BANDS)]
    output: FormatFields
    home: Home | None = None
    named: Annotated[Text, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] | None = None
    left_out: dict[Annotated[Text, Field(max_length=1_000)], Annotated[Text, Field(max_length=10_000)]] = {}

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if len(self.sources) * self.tiles.count > MAX_TILES:
            raise ValueError(
                f"has {len(self.sources):,} images x {self.tiles.count:,} tiles, and {MAX_TILES:,} tiles is the limit"
            )
        return self


def checked(value: object, version: int) -> PlanFields:
    """Return the fields of a plan from its JSON values.

    Args:
        value: The JSON values.
        version: Version that the plan must have.

    Raises:
        ValueError: The plan has another version, or a field has the wrong type or a value that no plan has. The message
            names the first such field.
    """
    if isinstance(value, Mapping) and value.get("plan") != version:
        raise ValueError(f"plan version {brief(value.get('plan'))} cannot be read: only version {version} can.")
    try:
        return PlanFields.model_validate(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "plan"
        raise ValueError(f"{brief(where)}: {first['msg'].removeprefix('Value error, ')}") from None


def _check_pixel(a: float, b: float, d: float, e: float) -> None:
    if not 1 / LARGEST**2 < abs(a * e - b * d) < LARGEST**2:
        raise ValueError("a pixel must have an area")


def _rising(numbers: Sequence[int]) -> bool:
    return all(one < other for one, other in pairwise(numbers))
