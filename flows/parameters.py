"""Parameters of the flows: pydantic models with units, bounds, defaults and error messages.

The same models are the form in the Prefect UI, the options of the command line, and the arguments from Python.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from flows.advanced import FARTHEST, AdvancedExtraction, AdvancedRegion, AdvancedTimeseries, Coordinate
from flows.form_schema import TextOr
from flows.image_parameters import ExpressionImage, ImageChoice, RecipeImage, StoredImage, without_credential
from flows.run_options import RunOptions
from flows.stored_value import storable_geojson
from flows.validation import FlowParameters, form_error, matching, one_of
from flows.written_value import csv, pairs
from tasks.earthengine.expression import canonical
from tasks.plan.choices import MAX_BANDS, MAX_SIDE, FileFormat, Masks, Verify

if TYPE_CHECKING:
    from tasks.plan.plan import TileFormat
    from tasks.plan.specs import ImageSpec, PixelSpec

LABEL = r"[\w.-][\w .-]{0,38}[\w.-]|[\w.-]?"
"""Pattern of a label: a name of a folder in every store."""


class Pixels(FlowParameters):
    """Which pixels are read, and how they are stored."""

    image: ImageChoice
    """Asset id such as `USGS/SRTMGL1_003`, a recipe (`sentinel2_median`, `landsat_median`, `sentinel2_ndvi`,
    `modis_ndvi`, `ndvi`, `elevation`, or your own as `module:function`), or the JSON of an expression."""
    recipe_parameters: Annotated[
        dict[str, Any],
        BeforeValidator(pairs),
        AfterValidator(without_credential),
        TextOr("object"),
        Field(title="Recipe parameters"),
    ] = Field(default={})
    """Such as `start=2020-05-01, end=2020-08-01` (medians), `asset=..., red=B4, nir=B5` (ndvi), `worst_quality=1`
    (modis_ndvi), or JSON. Empty or `none` = none."""
    bands: Annotated[
        Annotated[list[str], Field(max_length=MAX_BANDS)], BeforeValidator(csv), TextOr("array"), Field(title="Bands")
    ] = Field(default=[])
    """In the order of the files, such as `B4, B3, B2`. Empty or `all` = all."""
    crs: Annotated[str, Field(title="CRS")] = "utm"
    """`utm`, any CRS that pyproj knows (`EPSG:32621`), or `native` for the image's own pixels."""
    scale: Annotated[float | None, Field(ge=0, le=FARTHEST, title="Scale")] = None
    """Pixel size in units of the CRS, such as 30 (metres in UTM). Empty or 0 only with `crs=native`."""
    file_format: Annotated[FileFormat, Field(title="File format")] = "GEO_TIFF"
    """GEO_TIFF keeps type, mask and place. NPY, PNG and JPEG are stored as Earth Engine sends them."""
    masks: Annotated[Masks, Field(title="Masks")] = "exact"
    """`exact` keeps each mask bit. `nodata` takes them from Earth Engine's nodata, for signed or floating bands of one
    type. `unknown`: zeroes stay."""
    advanced: Annotated[AdvancedExtraction, Field(title="Advanced")] = AdvancedExtraction()
    """What few runs need: its defaults serve."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pictures = self.file_format in {"PNG", "JPEG"}
        if (colours := self.advanced.visualization).given and not pictures:
            raise form_error(
                "visualization",
                colours,
                f"file_format = {self.file_format} stores values, not colours",
                "Leave visualization empty, or choose PNG or JPEG",
            )
        if not self.crs.strip():
            raise form_error("crs", self.crs, "it is empty", "Give `utm`, `native` or a CRS such as EPSG:32621")
        if (not self.scale) != (self.crs.lower() == "native"):
            raise form_error(
                "scale",
                self.scale,
                f"with crs = {self.crs} it must be "
                + ("empty: the grid is the image's own" if self.scale else "given"),
                "Give both a CRS and a scale in its units, or crs=native and no scale",
            )
        if len(set(self.bands)) < len(self.bands):
            raise form_error("bands", self.bands, "a band is named twice", "Name each band once")
        return self

    @model_validator(mode="after")
    def _of_the_image(self) -> Self:
        """Check that only a recipe has parameters, and an asset no day."""
        image = self.image
        if self.recipe_parameters and (not isinstance(image, RecipeImage) or image.parameters):
            kind = "the image has them already" if isinstance(image, RecipeImage) else "the image is no recipe"
            raise form_error("recipe_parameters", self.recipe_parameters, kind, "Leave them empty, or write `none`")
        if (day := self.advanced.as_of) is not None and getattr(image, "as_of", day) is not None:
            reason = "the image is an asset, which has no such day" if isinstance(image, StoredImage) else "given twice"
            raise form_error("as_of", day.isoformat(), reason, "Leave it empty")
        return self

    @property
    def clips(self) -> bool:
        """Whether pixels outside a region are masked. Not here: there is no region."""
        return False

    def whole_image(self) -> StoredImage | RecipeImage | ExpressionImage:
        """Return the image with its parameters and its day, wherever these were given."""
        given = {"parameters": self.recipe_parameters, "as_of": self.advanced.as_of}
        return self.image.model_copy(update={name: value for name, value in given.items() if value})

    def image_spec(self) -> ImageSpec:
        """Return the image to read, as the planner needs it."""
        from tasks.plan.specs import ImageSpec

        image = self.whole_image().model_dump()
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

        pictures = self.file_format in {"PNG", "JPEG"}
        return TileFormat(
            file_format=self.file_format,
            codec=self.advanced.codec if self.file_format == "GEO_TIFF" else "none",
            masks="exact" if pictures else self.masks,  # a picture has no masks
            visualization=canonical(self.advanced.visualization.options()) if pictures else None,
        )


class ExtractionParameters(RunOptions, Pixels):
    """Parameters of every extraction."""

    plan_only: Annotated[bool, Field(title="Plan only")] = False
    """Dry run: show requests, bytes, best time and a map of the grid, and fetch nothing."""
    label: Annotated[
        Annotated[str, matching(LABEL, "at most 40 letters, digits, spaces, `_`, `.` and `-`")], Field(title="Label")
    ] = ""
    """Your word for the job, such as `itaipu`: in the names of run and folder, and in titles. It changes no pixel."""
    advanced: Annotated[AdvancedExtraction, Field(title="Advanced")] = AdvancedExtraction()
    """What few runs need: its defaults serve."""

    def pixel_spec(self) -> PixelSpec:
        """Return which pixels to read, as the planner needs it."""
        from odc.geo import xy_

        from tasks.plan.specs import PixelSpec

        return PixelSpec(
            bands=self.bands or None,
            crs=self.crs,
            scale=self.scale or None,
            anchor=xy_(*self.advanced.anchor),
            max_requests=self.advanced.max_requests,
            clip=self.clips,
            tile_format=self.tile_format(),
        )


Place = Annotated[list[Coordinate], Field(min_length=4, max_length=4)] | dict[str, Any] | str
Region = Annotated[
    Place | None,
    one_of("a box of four numbers, GeoJSON, or the path of a vector file"),
    AfterValidator(storable_geojson),
    TextOr("array", "object"),
    Field(title="Region"),
]
Points = Annotated[
    dict[str, Any] | str,
    one_of("GeoJSON, or the path of a file with points"),
    AfterValidator(storable_geojson),
    TextOr("object"),
    Field(title="Points"),
]


class ArealParameters(ExtractionParameters):
    """Parameters of an extraction of an area."""

    region: Region = None
    """Box `west, south, east, north` in degrees (west > east crosses 180), GeoJSON, or the path of a vector file. Empty
    or `all` = the whole asset."""
    advanced: Annotated[AdvancedRegion, Field(title="Advanced")] = AdvancedRegion()
    """What few runs need: its defaults serve."""

    @property
    def clips(self) -> bool:
        """Whether pixels outside the region are masked."""
        given = self.advanced.clip
        return self._can_clip and not isinstance(self.region, list) if given == "auto" else given == "yes"

    def pixel_spec(self) -> PixelSpec:
        """Return which pixels to read. Where polygons cannot be clipped, tiles far from them may be left out."""
        leave_out = self.advanced.clip == "auto" and not isinstance(self.region, list)
        return replace(super().pixel_spec(), leave_out=leave_out)

    @property
    def _can_clip(self) -> bool:
        return self.file_format == "GEO_TIFF" and self.masks != "unknown"

    @model_validator(mode="after")
    def _clippable(self) -> Self:
        if self.advanced.clip == "yes" and not self._can_clip:
            reason = f"with file_format = {self.file_format} and masks = {self.masks} pixels cannot be masked"
            raise form_error("clip", "yes", reason, "Use clip=auto, or choose GEO_TIFF and masks=exact")
        if self.advanced.layer and not isinstance(self.region, str):
            raise form_error(
                "layer", self.advanced.layer, "the region is no file", "Leave layer empty, or give a file as region"
            )
        return self


class RegionParameters(ArealParameters):
    """A region of one image: its tiles, then one mosaic."""


class TimeseriesParameters(ArealParameters):
    """Every image of a collection between two dates, or since a date, over one grid."""

    image: ImageChoice
    """Id of an image collection such as `MODIS/061/MOD13Q1`, a recipe (`sentinel2_ndvi`, `modis_ndvi`, or your
    own as `module:function`), or the JSON of an expression."""
    start: Annotated[date, Field(title="Start")]
    """First day, UTC (with `group_by=solar_day`, solar time), such as 2020-01-01."""
    end: Annotated[date | None, Field(title="End")] = None
    """Day after the last, UTC. Empty = a growing series: each run fetches what is new or changed in the collection, and
    renews table and plot."""
    region: Region
    """Box `west, south, east, north` in degrees (west > east crosses 180), GeoJSON, or the path of a vector file."""
    advanced: Annotated[AdvancedTimeseries, Field(title="Advanced")] = AdvancedTimeseries()
    """What few runs need: its defaults serve."""

    @model_validator(mode="after")
    def _cuts(self) -> Self:
        if self.advanced.per_feature == "files" and self.file_format != "GEO_TIFF":
            reason = f"with file_format = {self.file_format} no files can be cut from tiles"
            raise form_error("per_feature", "files", reason, "Choose GEO_TIFF, or per_feature=tables")
        return self

    @model_validator(mode="after")
    def _shows_missing(self) -> Self:
        if self.advanced.missing_bands == "mask" and self.masks == "unknown":
            reason = "with masks = unknown a band that is missing would be stored as zeroes"
            raise form_error("missing_bands", "mask", reason, "Use missing_bands=skip, or masks=exact")
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
    """Path of a table (`.csv` with `lon`, `lat`), GeoJSON, GeoParquet or other vector file, or GeoJSON."""
    size: Annotated[int, Field(ge=1, le=MAX_SIDE, title="Patch size")] = 256
    """Pixels a side of one patch."""


class AuditParameters(RunOptions):
    """A check of an output, or of one plan in it."""

    plan: Annotated[
        Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "the name of a folder")] | None, Field(title="Plan")
    ] = None
    """Folder of one plan in the output, such as `region-7e709b739ba8`. Empty = all."""
    repair: Annotated[bool, Field(title="Repair")] = False
    """Fetch what is missing, damaged or failed, and nothing else."""
    prune: Annotated[bool, Field(title="Prune")] = False
    """Remove superseded plans, tiles that no other plan holds, and what killed runs left unfinished. Without it they
    are listed."""
    verify: Annotated[Verify, Field(title="Verify")] = "quick"
    """How files are held against their receipts: `quick` by size and time (folder) or checksum (bucket), `full` by
    reading every byte."""
    plan_only: Annotated[bool, Field(title="Plan only")] = False
    """Dry run: show what repair would fetch and pruning would remove, and do neither."""

    @property
    def asks_earth_engine(self) -> bool:
        """Whether the run needs a project and credentials: only a repair does."""
        return self.repair
