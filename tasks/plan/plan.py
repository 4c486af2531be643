"""The plan of a job: a small immutable value. A tile is a number, and its request is computed from that number."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tasks.earthengine.expression import MASK_THRESHOLD, fingerprint
from tasks.earthengine.transport import PixelRequest
from tasks.plan.answer_size import largest_answer
from tasks.plan.choices import Codec, FileFormat, Masks
from tasks.plan.map_edge import edge_of, turned, windows
from tasks.plan.plan_fields import checked
from tasks.plan.tiles import PixelGrid, Tiles, tiles_from_json

# Part of every fingerprint. It must be raised when a change of the code gives other bytes for the same request.
PLAN_VERSION = 1
LONGEST_TAG = 1_000
"""Characters of a tag of a file that grows with the number of images."""
SUFFIXES: Mapping[str, str] = {"GEO_TIFF": ".tif", "NPY": ".npy", "PNG": ".png", "JPEG": ".jpg"}


@dataclass(frozen=True, kw_only=True)
class Band:
    """One band of the tiles."""

    id: str
    dtype: str
    """NumPy type in which Earth Engine sends it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image of a plan, and how its pixels are requested."""

    name: str
    """Folder of its tiles: a recipe, an asset, or a collection and a date. Not part of its identity."""
    origin: str = ""
    """Name that the user knows: an asset id, a recipe. Not part of its identity."""
    asset: str | None = None
    """Full asset name, if the pixels are requested with getPixels. None = `expression` is used."""
    expression: str | None = None
    """Canonical JSON of the expression, if the pixels are requested with computePixels. None = `asset` is used."""
    version: str
    """``updateTime`` of an asset (of several: JSON with their names), ``as_of:<date>`` of an expression, or
    ``unpinned``."""
    time: str | None = None
    """Start of the acquisition, ISO 8601. None = not known."""
    end: str | None = None
    """End of the acquisition, ISO 8601: of a mosaic, that of its last image. None = not known."""
    title: str = ""
    """Name of its files in a series. Empty = the last part of `name`. Not part of its identity."""
    images: tuple[str, ...] = ()
    """Ids of the images of a series that it is made of, each on top of those before it. Empty = not known."""
    superseded: tuple[str, ...] = ()
    """Ids of older copies of these images, which are not used."""
    wire: FileFormat
    """File format that is requested."""
    wire_bands: tuple[str, ...]
    """Bands that are requested, including those that carry the mask."""
    wire_dtypes: tuple[str, ...]
    """NumPy types of `wire_bands`."""

    @functools.cached_property
    def identity(self) -> str:
        """SHA-256 over all that determines its pixels."""
        return fingerprint([self.asset, self.expression, self.version, self.wire, self.wire_bands])

    @property
    def label(self) -> str:
        """Name of its files in a series: its start, or its day. Else its name."""
        return self.title or self.name.rsplit("/", maxsplit=1)[-1]

    def tags(self, fingerprint: str) -> dict[str, str]:
        """Return the metadata tags of a file made from the image. Dates have the names that GDAL and TIFF use.

        Args:
            fingerprint: Fingerprint that the tag FINGERPRINT shows.
        """
        tags = {"SOURCE": self.origin or self.name, "VERSION": _short(self.version), "FINGERPRINT": fingerprint}
        if self.time:
            tags["DATE_ACQUIRED"] = self.time[:10]
            tags["TIFFTAG_DATETIME"] = self.time[:19].replace("-", ":").replace("T", " ")
        if self.time and self.end:
            tags |= {"TIME_START": self.time, "TIME_END": self.end}
        if self.images:
            tags["IMAGES"] = _bounded(self.images)
        return tags


def _short(version: str) -> str:
    """Return a version as a tag shows it: of the mosaic of many images, a checksum of their versions."""
    return version if len(version) <= LONGEST_TAG else f"sha256:{fingerprint(version)}"


def _bounded(ids: Sequence[str]) -> str:
    """Return ids as a tag shows them: as many as fit, and the number of the others."""
    shown = 0
    while shown < len(ids) and (not shown or len(" ".join(ids[: shown + 1])) <= LONGEST_TAG):
        shown += 1
    more = len(ids) - shown
    return " ".join(ids[:shown]) + (f" and {more} more" if more else "")


@dataclass(frozen=True, kw_only=True)
class TileFormat:
    """How each tile is stored."""

    file_format: FileFormat = "GEO_TIFF"
    codec: Codec = "zstd"
    """Compression of GeoTIFF tiles. Other formats have none."""
    masks: Masks = "exact"
    """Which mask is stored.

    - ``exact``: the mask of every pixel and band, as Earth Engine has it.
    - ``nodata``: pixels with Earth Engine's nodata value are masked, including valid pixels that have this value.
    - ``unknown``: masked pixels are stored as zeroes, as Earth Engine sends them. A GeoTIFF has the tag MASK=unknown.
    """
    visualization: str | None = None
    """Canonical JSON of VisualizationOptions, for PNG and JPEG. None = none are sent."""
    clip: str | None = None
    """Region as WKT in the CRS of the grid. Pixels outside it are masked. None = nothing is clipped."""
    alike: bool = False
    """Whether all GeoTIFF files have one dtype and one nodata value, which follow from the bands alone. If not, each
    file has what its own pixels need. Plans of earlier versions are without it."""

    def json(self) -> dict[str, Any]:
        """Return the format as JSON values, for plans and fingerprints. `alike` is left out where it is not set."""
        return {name: value for name, value in asdict(self).items() if name != "alike" or value}


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The immutable description of a job: sources x tiles of the grid x bands x format.

    A tile of the plan has the number `index` = source * (tiles of the grid) + tile of the grid. Two plans are equal if
    their fingerprints are equal. Names, and the place where the plan is stored, are not part of the fingerprint.
    """

    name: str
    """Flow that made it: ``region``, ``timeseries`` or ``patches``. Not part of its identity."""
    sources: tuple[Source, ...]
    tiles: Tiles
    bands: tuple[Band, ...]
    tile_format: TileFormat
    home: str | None = None
    """Folder of a growing series. None = the folder has the fingerprint in its name. Not part of its identity."""
    named: str | None = None
    """Folder with words that say what it holds. Its end is that of the folder without words. Not part of its
    identity."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Images of a series that are not in it: why, by id. Not part of its identity."""
    doubts: tuple[str, ...] = ()
    """What looks like a mistake of the user: see :mod:`tasks.plan.doubts`. Not part of its identity, and not stored."""

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __len__(self) -> int:
        return len(self.sources) * len(self.tiles)

    def locate(self, index: int) -> tuple[Source, int]:
        """Return the source and the tile of the grid for a tile of the plan.

        Args:
            index: Number of the tile in the plan.

        Raises:
            IndexError: There is no such tile.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        source, tile = divmod(index, len(self.tiles))
        return self.sources[source], tile

    def grid(self, index: int) -> PixelGrid:
        """Return the pixel grid of a tile of the plan."""
        return self.tiles.grid(self.locate(index)[1])

    def request(self, index: int, part: PixelGrid | None = None) -> PixelRequest:
        """Return the request for a tile of the plan.

        Args:
            index: Number of the tile in the plan.
            part: Part of the tile's grid that is requested. None = all of it.
        """
        source = self.locate(index)[0]
        grid = self.sent(index, part)
        parts = [
            f'"fileFormat":"{source.wire}"',
            f'"grid":{json.dumps(grid.json(), separators=(",", ":"))}',
            f'"bandIds":{json.dumps(source.wire_bands, separators=(",", ":"))}',
        ]
        if source.expression is not None:
            parts.insert(0, f'"expression":{source.expression}')
        if self.tile_format.visualization is not None:
            parts.append(f'"visualizationOptions":{self.tile_format.visualization}')
        largest = largest_answer(source.wire, grid.shape, len(source.wire_bands))
        return PixelRequest(asset=source.asset, body=("{" + ",".join(parts) + "}").encode(), largest=largest)

    def sent(self, index: int, part: PixelGrid | None = None) -> PixelGrid:
        """Return the grid that is sent for a tile, or a part of it: on the other side of the map, if it lies beyond."""
        return turned(part or self.grid(index), edge_of(self.tiles, self.locate(index)[1]))

    def tile_fingerprint(self, index: int) -> str:
        """Return the fingerprint of a tile: SHA-256 over its source and grid, the bands and the format."""
        source, tile = self.locate(index)
        grid, edge = self.tiles.grid(tile), edge_of(self.tiles, tile)
        beyond = [edge] if turned(grid, edge) != grid or len(windows(grid, edge)) > 1 else []
        return fingerprint([source.identity, grid.json(), self.format_identity, *beyond])

    def key(self, index: int, fingerprint: str | None = None) -> str:
        """Return the key under which a tile is stored.

        It is `tiles/<source>/<row and column>-<fingerprint>` for a tile of a region, `tiles/<source>/<fingerprint>` for
        a patch, with a shortened fingerprint and the suffix of the format.

        Args:
            index: Number of the tile in the plan.
            fingerprint: Fingerprint of the tile, if it is known already. None = it is computed.
        """
        source, tile = self.locate(index)
        identity = fingerprint or self.tile_fingerprint(index)
        name = self.tiles.name(tile)
        stem = f"{name}-{identity[:12]}" if name else f"{identity[:2]}/{identity[:24]}"
        return f"tiles/{source.name}/{stem}{SUFFIXES[self.tile_format.file_format]}"

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over sources, grids, bands and format, and not over names, credentials, endpoint, quota or engine."""
        return fingerprint([[source.identity for source in self.sources], self.tiles.json(), self.format_identity])

    @property
    def folder(self) -> str:
        """Folder in the output where the plan, its receipts and its products are stored. Tiles are beside it."""
        return self.named or self.home or f"{self.name}-{self.fingerprint[:12]}"

    def only(self, sources: Iterable[int]) -> Plan:
        """Return a plan of some of its sources.

        Args:
            sources: Numbers of the sources, in the order of the new plan.
        """
        return replace(self, sources=tuple(self.sources[number] for number in sources))

    @functools.cached_property
    def format_identity(self) -> str:
        """SHA-256 over the bands and the tile format."""
        bands = [[band.id, band.dtype] for band in self.bands]
        return fingerprint([PLAN_VERSION, MASK_THRESHOLD, bands, self.tile_format.json()])

    def json(self) -> dict[str, Any]:
        """Return the plan as JSON values. :meth:`from_json` reads them."""
        return {
            "plan": PLAN_VERSION,
            "fingerprint": self.fingerprint,
            "name": self.name,
            "sources": [asdict(source) for source in self.sources],
            "tiles": self.tiles.json(),
            "bands": [asdict(band) for band in self.bands],
            "output": self.tile_format.json(),
            **({} if self.home is None else {"home": self.home}),
            **({} if self.named is None else {"named": self.named}),
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Return the plan from its JSON values.

        Raises:
            ValueError: The plan has another version, a wrong field, or another fingerprint than the one stored with it.
        """
        fields = checked(value, PLAN_VERSION)
        plan = cls(
            name=fields.name,
            sources=tuple(Source(**dict(source)) for source in fields.sources),
            tiles=tiles_from_json(dict(fields.tiles)),
            bands=tuple(Band(**dict(band)) for band in fields.bands),
            tile_format=TileFormat(**dict(fields.output)),
            home=fields.home,
            named=fields.named,
            left_out=fields.left_out,
        )
        if plan.fingerprint != fields.fingerprint:
            raise ValueError("the plan does not have the fingerprint that is stored with it: it was changed by hand.")
        kind, _, identity = replace(plan, named=None).folder.rpartition("-")
        if plan.named and not (plan.named.startswith(f"{kind}-") and plan.named.endswith(f"-{identity}")):
            raise ValueError(f"its folder {plan.named} is that of another plan: it was changed by hand.")
        return plan
