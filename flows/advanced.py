"""The nested value `advanced` of every flow: account, quota, deadlines, retries, limits."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from flows.form_schema import TextOr
from flows.validation import Parameters, matching, refusal
from flows.visualization import Visualization
from flows.written_value import csv
from tasks.earthengine.connection import HIGH_VOLUME, WORKLOAD_TAG, ConnectionReference
from tasks.earthengine.deadlines import Deadlines
from tasks.errors.input import BadInputError
from tasks.extraction.hedge import HEDGE
from tasks.plan.choices import MAX_SIDE, Codec, GroupBy, MissingBands, PerFeature, Verify

FARTHEST = 1e12
"""Largest coordinate, in units of the CRS: 25,000 times around the earth in metres."""
MOST_REQUESTS = 1_000_000_000
"""Largest limit of a plan: four months of requests at 100 a second."""
Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Clip = Literal["auto", "yes", "no"]


def _yes_or_no(value: object) -> object:
    """Return `yes` or `no` for a boolean, and any other value unchanged."""
    return ("yes" if value else "no") if isinstance(value, bool) else value


class Advanced(Parameters):
    """Account, quota, deadlines and retries of a run."""

    project: Annotated[str | None, Field(title="Earth Engine project")] = None
    """Google Cloud project whose quota is used. Empty = that of the connection, else of the profile, else
    EARTHENGINE_PROJECT where the flow runs."""
    endpoint: Annotated[str | None, Field(title="Endpoint")] = None
    """Base URL. Empty = that of the connection, else EARTHENGINE_ENDPOINT where the flow runs, else Earth Engine's
    high-volume endpoint."""
    credentials_file: Annotated[str | None, Field(title="Service-account key")] = None
    """Path of a key file where the flow runs. Empty = that of the connection, else Application Default Credentials or
    `earthengine authenticate`."""
    requests_in_flight: Annotated[int | None, Field(ge=1, le=1000, title="Requests in flight")] = None
    """At most so many of this run at once. Empty = as the connection has it, else 40, the interactive quota that a
    project has by default."""
    requests_per_second: Annotated[float | None, Field(gt=0, le=1000, title="Requests a second")] = None
    """At most so many of the whole project may begin in a second. Empty = as the connection has it, else 100."""
    read_deadline: Annotated[float, Field(gt=0, le=3600, title="Deadline of a request")] = Deadlines.read_s
    """Seconds after which an answer is no longer awaited, and the request is repeated. Earth Engine may compute for
    300."""
    computation_limit: Annotated[float, Field(ge=0, le=3600, title="Longest computation")] = Deadlines.computing_s
    """Seconds that Earth Engine may go on with a request that was given up: so long it keeps its place in the quota."""
    hedged_share: Annotated[float, Field(ge=0, le=0.01, title="Requests sent twice")] = HEDGE.share
    """Largest share of the requests that are sent a second time at the end of the run, because they take far longer
    than the others (10 s, and 5 times the 99th percentile). The first answer counts, and Earth Engine may compute both.
    One request is allowed in any run; 0 = none."""
    workload_tag: Annotated[
        Annotated[str, matching(WORKLOAD_TAG, "a label of Cloud Monitoring")] | None, Field(title="Workload tag")
    ] = None
    """Label of the run's requests in Cloud Monitoring, which separates their cost: up to 63 lower-case letters,
    digits, dashes and underscores, a letter or digit first and last. Empty = that of the connection, else
    `pixel-quarry`."""
    run_retries: Annotated[int, Field(ge=0, le=100, title="Retries of the run")] = 3
    """How often a run that fails for a passing reason (an outage, throttling) is started again by Prefect. It resumes:
    nothing is fetched twice. One that fails for a lasting reason is not started again."""
    run_retry_delay: Annotated[float, Field(ge=0, le=3600, title="Delay before a retry")] = 60.0
    """Seconds before the first retry of the run, twice as many before each further one (3600 at the most), half of it
    by chance. No slot of the quota is held meanwhile."""

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        """Refuse an endpoint with a password, or a key in place of its path: parameters are stored and shown."""
        try:
            ConnectionReference(
                project="my-project", endpoint=self.endpoint or HIGH_VOLUME, credentials_file=self.credentials_file
            ).check()
        except BadInputError as error:
            raise refusal(error) from None
        return self


class AdvancedExtraction(Advanced):
    """What few extractions need: grid, compression, colours, limits, account, quota, deadlines and retries."""

    anchor: Annotated[tuple[Coordinate, Coordinate], BeforeValidator(csv), TextOr("array"), Field(title="Anchor")] = (
        0.0,
        0.0,
    )
    """Some pixel corner `x, y` in units of the CRS: all corners lie there plus multiples of the scale. Landsat in UTM
    is `15, 15` with a scale of 30. Not used with `crs=native`."""
    codec: Annotated[Codec, Field(title="Compression")] = "zstd"
    """Compression of GeoTIFF tiles: `zstd` (level 1), `deflate` (opens everywhere, slower) or `none`."""
    as_of: Annotated[date | None, Field(title="As of")] = None
    """Day up to which a recipe reads a growing collection; part of the image's identity. Empty = unpinned."""
    visualization: Annotated[Visualization, Field(title="Visualization")] = Visualization()
    """How bands become colours; for PNG and JPEG only."""
    max_requests: Annotated[int, Field(ge=1, le=MOST_REQUESTS, title="Largest number of requests")] = 100_000
    """A plan of more is refused before the first: raise it on purpose."""
    allow_failures: Annotated[bool, Field(title="Allow failures")] = False
    """Finish although tiles failed, leaving holes. Otherwise products are made of what is there, and the run fails."""
    verify: Annotated[Verify, Field(title="Verify")] = "quick"
    """How what is stored already is held against its receipts: `quick` by size and time (folder) or checksum (bucket),
    `full` by reading every byte."""
    layer: Annotated[str | None, Field(title="Layer")] = None
    """Name of the layer of the file of region or points, such as a GeoPackage; `*` = all layers. Empty = the only one
    with areas (with points; of a KML, all)."""


class AdvancedRegion(AdvancedExtraction):
    """What few regions need: tiles, clipping, grid, compression, limits, account, quota, deadlines and retries."""

    tile_size: Annotated[int, Field(ge=16, le=MAX_SIDE, title="Tile size")] = 512
    """Pixels a side of one request; the mosaic does not depend on it."""
    clip: Annotated[Clip, BeforeValidator(_yes_or_no), Field(title="Clip")] = "auto"
    """Mask pixels whose centre is outside the region, and leave out tiles outside it. A polygon that covers no centre
    keeps the pixels it touches. `auto` = polygons are clipped, boxes are not; `yes`, `no`. Only for GEO_TIFF with known
    masks."""


class AdvancedTimeseries(AdvancedRegion):
    """What few series need: grouping, tiles, clipping, grid, limits, account, quota, deadlines and retries."""

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
