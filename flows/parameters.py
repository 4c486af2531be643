"""Parameters of the flows: pydantic models with units, bounds, defaults and error messages.

The same models are the form in the Prefect UI, the options of the command line, and the arguments from Python.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from flows.run_options import RunOptions
from flows.stored_value import storable_geojson
from flows.validation import FlowParameters, csv, form_error, one_of
from tasks.earthengine.expression import canonical
from tasks.plan.choices import MAX_BANDS, MAX_SIDE, Codec, FileFormat, GroupBy, Masks, MissingBands, PerFeature

if TYPE_CHECKING:
    from tasks.plan.plan import TileFormat
    from tasks.plan.specs import ImageSpec, PixelSpec
from flows.image_parameters import ImageChoice, Visualization

FARTHEST = 1e12
"""Largest coordinate, in units of the CRS: 25,000 times around the earth in metres."""
MOST_REQUESTS = 1_000_000_000
"""Largest limit of a plan: four months of requests at 100 a second."""
Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]


class Pixels(FlowParameters):
    """Which pixels are read, and how they are stored."""

    image: ImageChoice
    """What is read: an asset, a recipe or an expression."""
    bands: Annotated[
        Annotated[list[str], Field(max_length=MAX_BANDS)] | None, BeforeValidator(csv), Field(title="Bands")
    ] = None
    """Bands in the order of the output; empty = all."""
    crs: Annotated[str, Field(min_length=1, title="CRS")] = "utm"
    """Anything pyproj knows (`EPSG:32621`, WKT, PROJ), `utm` for the zone of the data, or `native` for the image's own
    pixels. The images of a series must then line up."""
    scale: Annotated[float | None, Field(gt=0, le=FARTHEST, title="Scale")] = None
    """Pixel size in units of the CRS, such as 30 (metres in UTM). Empty only with `crs=native`."""
    anchor: Annotated[tuple[Coordinate, Coordinate], BeforeValidator(csv), Field(title="Anchor")] = (0.0, 0.0)
    """Some pixel corner `[x, y]` in units of the CRS: all corners lie there plus multiples of the scale. Landsat in UTM
    is `[15, 15]` with a scale of 30. Not used with `crs=native`."""
    file_format: Annotated[FileFormat, Field(title="File format")] = "GEO_TIFF"
    """GEO_TIFF keeps type, mask and georeferencing. NPY, PNG and JPEG are stored as Earth Engine sends them."""
    codec: Annotated[Codec, Field(title="Compression")] = "zstd"
    """Compression of GeoTIFF tiles: `zstd` (level 1), `deflate` (opens everywhere, slower) or `none`."""
    masks: Annotated[Masks, Field(title="Masks")] = "exact"
    """`exact` keeps every mask bit (computePixels). `nodata` takes masks from Earth Engine's nodata value, for bands of
    one signed or floating type (getPixels for an asset). `unknown`: zeroes stay, and files say `MASK=unknown`."""
    visualization: Annotated[Visualization | None, Field(title="Visualization")] = None
    """How bands become colours; for PNG and JPEG only."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pictures = self.file_format in {"PNG", "JPEG"}
        if self.visualization is not None and not pictures:
            raise form_error(
                "visualization",
                self.visualization,
                f"file_format = {self.file_format} stores values, not colours",
                "Leave visualization empty, or choose PNG or JPEG",
            )
        if (self.scale is None) != (self.crs.lower() == "native"):
            raise form_error(
                "scale",
                self.scale,
                f"with crs = {self.crs} it must be "
                + ("empty: the grid is the image's own" if self.scale else "given"),
                "Give both a CRS and a scale in its units, or crs=native and no scale",
            )
        if self.bands is not None and (not self.bands or len(set(self.bands)) < len(self.bands)):
            raise form_error(
                "bands",
                self.bands,
                "a list of bands needs at least one name, and each name once",
                "Name different bands, or give no list for all bands",
            )
        return self

    @property
    def clips(self) -> bool:
        """Whether pixels outside a region are masked. Not here: there is no region."""
        return False

    def image_spec(self) -> ImageSpec:
        """Return the image to read, as the planner needs it."""
        from tasks.plan.specs import ImageSpec

        image = self.image.model_dump()
        return ImageSpec(
            asset=image.get("asset"),
            recipe=image.get("recipe"),
            recipe_parameters=image.get("parameters"),
            expression=image.get("expression"),
            name=image.get("name", "expression"),
            as_of=image.get("as_of"),
        )

    def tile_format(self) -> TileFormat:
        """Return the format in which each tile is stored."""
        from tasks.plan.plan import TileFormat

        options = None
        if self.file_format in {"PNG", "JPEG"}:
            options = canonical(self.visualization.options() if self.visualization else {})
        return TileFormat(
            file_format=self.file_format,
            codec=self.codec if self.file_format == "GEO_TIFF" else "none",
            masks=self.masks if self.visualization is None and options is None else "exact",  # a picture has no masks
            visualization=options,
        )


class ExtractionParameters(RunOptions, Pixels):
    """Parameters of every extraction. Pydantic lists the fields of the last base class first."""

    plan_only: Annotated[bool, Field(title="Plan only")] = False
    """Dry run: show the requests, bytes, best time and a map of the grid, and fetch and write nothing."""

    max_requests: Annotated[int, Field(ge=1, le=MOST_REQUESTS, title="Largest number of requests")] = 100_000
    """A plan of more is refused before the first: raise it on purpose."""
    allow_failures: Annotated[bool, Field(title="Allow failures")] = False
    """Finish although tiles failed, leaving holes. Otherwise products are made of what is there, and the run fails."""

    def pixel_spec(self) -> PixelSpec:
        """Return which pixels to read, as the planner needs it."""
        from odc.geo import xy_

        from tasks.plan.specs import PixelSpec

        return PixelSpec(
            bands=self.bands,
            crs=self.crs,
            scale=self.scale,
            anchor=xy_(*self.anchor),
            max_requests=self.max_requests,
            clip=self.clips,
            tile_format=self.tile_format(),
        )


TileSize = Annotated[int, Field(ge=16, le=MAX_SIDE, title="Tile size")]
Region = Annotated[
    Annotated[list[Coordinate], Field(title="Box")]
    | Annotated[dict[str, Any], Field(title="GeoJSON")]
    | Annotated[str, Field(title="File")]
    | None,
    one_of("a box of four numbers, GeoJSON, or the path of a vector file"),
    AfterValidator(storable_geojson),
    Field(title="Region"),
]
Points = Annotated[
    Annotated[dict[str, Any], Field(title="GeoJSON")] | Annotated[str, Field(title="File")],
    one_of("GeoJSON, or the path of a file with points"),
    AfterValidator(storable_geojson),
    Field(title="Points"),
]


Layer = Annotated[str | None, Field(title="Layer")]


class ArealParameters(ExtractionParameters):
    """Parameters of an extraction of an area."""

    clip: Annotated[bool | None, Field(title="Clip")] = None
    """Mask pixels whose centre is outside the region, and leave out tiles outside it. A polygon that covers no centre
    keeps the pixels it touches. Empty = polygons are clipped, boxes are not. Only for GEO_TIFF with known masks."""
    region: Region = None
    """Box `[west, south, east, north]` in degrees (west > east crosses 180), GeoJSON, or the path of a vector file.
    Empty = the whole asset."""
    layer: Layer = None
    """Name of the layer of the region's file, such as a GeoPackage; `*` = all layers. Empty = the only one with areas
    (of a KML, all)."""
    tile_size: TileSize = 512
    """Pixels a side of one request; the mosaic does not depend on it."""

    @property
    def clips(self) -> bool:
        """Whether pixels outside the region are masked."""
        return self._can_clip and not isinstance(self.region, list) if self.clip is None else self.clip

    def pixel_spec(self) -> PixelSpec:
        """Return which pixels to read. Where polygons cannot be clipped, tiles far from them may be left out."""
        return replace(super().pixel_spec(), leave_out=self.clip is None and not isinstance(self.region, list))

    @property
    def _can_clip(self) -> bool:
        return self.file_format == "GEO_TIFF" and self.masks != "unknown"

    @model_validator(mode="after")
    def _clippable(self) -> Self:
        if self.clip and not self._can_clip:
            reason = f"with file_format = {self.file_format} and masks = {self.masks} pixels cannot be masked"
            raise form_error("clip", self.clip, reason, "Leave clip empty, or choose GEO_TIFF and masks=exact")
        if self.layer and not isinstance(self.region, str):
            raise form_error(
                "layer", self.layer, "the region is no file", "Leave layer empty, or give a file as region"
            )
        return self


class RegionParameters(ArealParameters):
    """A region of one image: its tiles, then one mosaic."""


class TimeseriesParameters(ArealParameters):
    """Every image of a collection between two dates, or since a date, over one grid."""

    image: ImageChoice
    """What is read: an image collection as an asset, a recipe or an expression."""
    start: Annotated[date, Field(title="First day")]
    """UTC (with `group_by=solar_day`, solar time), such as 2020-01-01."""
    end: Annotated[date | None, Field(title="End")] = None
    """Day after the last, UTC. Empty = a growing series: each run finds by listing what is new or changed in the
    collection, fetches just that, and renews table and plot."""
    region: Region
    """Box `[west, south, east, north]` in degrees (west > east crosses 180), GeoJSON, or the path of a vector file."""
    group_by: Annotated[GroupBy, Field(title="Group by")] = "auto"
    """Which images become one. `auto`: those of one acquisition, if their properties name it (Sentinel-1, Sentinel-2,
    Landsat). `overpass`: also those of one platform and pass, minutes apart. `day`: those of one day, UTC. `solar_day`:
    those of one day, solar time. `image`: none."""
    missing_bands: Annotated[MissingBands, Field(title="Missing bands")] = "fail"
    """If an image lacks a band: `fail` refuses the series and names the image, `skip` leaves it out, `mask` masks the
    band."""
    per_feature: Annotated[PerFeature, Field(title="Per feature")] = "tables"
    """If the region has several features: `tables` gives each its own rows, `files` also its own GeoTIFF of each date,
    clipped to it, instead of one mosaic; `none` takes them as one area."""

    @model_validator(mode="after")
    def _cuts(self) -> Self:
        if self.per_feature == "files" and self.file_format != "GEO_TIFF":
            reason = f"with file_format = {self.file_format} no files can be cut from tiles"
            raise form_error("per_feature", self.per_feature, reason, "Choose GEO_TIFF, or per_feature=tables")
        return self

    @model_validator(mode="after")
    def _shows_missing(self) -> Self:
        if self.missing_bands == "mask" and self.masks == "unknown":
            reason = "with masks = unknown a band that is missing would be stored as zeroes"
            raise form_error("missing_bands", self.missing_bands, reason, "Use missing_bands=skip, or masks=exact")
        return self

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end is not None and self.end <= self.start:
            remedy = "Give a later day, or swap start and end"
            raise form_error("end", self.end.isoformat(), f"not after start = {self.start}", remedy)
        if self.region is None:
            raise form_error("region", None, "a time series needs a region", "Give a box, GeoJSON or a vector file")
        return self


class PatchesParameters(ExtractionParameters):
    """Square patches of one image around points."""

    points: Points
    """Centres as GeoJSON, or the path of a GeoJSON, GeoParquet, CSV (lon, lat) or other vector file."""
    layer: Layer = None
    """Name of the layer of the points' file, such as a GeoPackage; `*` = all layers. Empty = the only one with points
    (of a KML, all)."""
    size: Annotated[int, Field(ge=1, le=MAX_SIDE, title="Patch size")] = 256
    """Pixels a side of one patch."""


class AuditParameters(RunOptions):
    """A check of an output, or of one plan in it."""

    plan: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", title="Plan")] = None
    """Folder of one plan in the output, such as `region-7e709b739ba8`. Empty = all."""
    plan_only: Annotated[bool, Field(title="Plan only")] = False
    """Dry run: show what repair would fetch and pruning would remove, and do neither."""
    repair: Annotated[bool, Field(title="Repair")] = False
    """Fetch what is missing, damaged or failed, and nothing else."""
    prune: Annotated[bool, Field(title="Prune")] = False
    """Remove superseded plans, tiles that no other plan holds, and what killed runs left unfinished. Without it they
    are listed."""

    @property
    def asks_earth_engine(self) -> bool:
        """Whether the run needs a project and credentials: only a repair does."""
        return self.repair
