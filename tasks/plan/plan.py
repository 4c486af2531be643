"""The plan of an extraction: a small immutable value. A tile is an integer, a request is arithmetic."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tasks.earthengine.expression import MASK_THRESHOLD, fingerprint
from tasks.earthengine.transport import PixelRequest
from tasks.plan.choices import Codec, FileFormat, Masks
from tasks.plan.tiles import PixelGrid, Tiles, is_code, tiles_from_json
from tasks.raster.crs import SINUSOIDAL, crs_of

# Part of every fingerprint: raised when the same request would give other bytes.
PLAN_VERSION = 1
SUFFIXES: Mapping[str, str] = {"GEO_TIFF": ".tif", "NPY": ".npy", "PNG": ".png", "JPEG": ".jpg"}


@dataclass(frozen=True, kw_only=True)
class Band:
    """One band of the output."""

    id: str
    dtype: str
    """NumPy type as Earth Engine sends it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the pixels are taken from: one image, stored or computed."""

    name: str
    """Folder of its tiles: a recipe, an asset, a collection and a date. No part of its identity."""
    origin: str = ""
    """What the user would call it: an asset id, a recipe. No part of its identity."""
    asset: str | None = None
    """Full asset name, read with getPixels; None for a computed image."""
    expression: str | None = None
    """Canonical expression JSON, sent with computePixels; None for a stored image."""
    version: str
    """``updateTime`` of the assets, ``as_of:<date>`` of an expression, or ``unpinned``."""
    time: str | None = None
    """Start of its acquisition, ISO 8601."""
    wire: FileFormat
    """File format that is asked for."""
    wire_bands: tuple[str, ...]
    """Bands that are asked for, those that carry the mask among them."""
    wire_dtypes: tuple[str, ...]
    """NumPy types of `wire_bands`."""

    @functools.cached_property
    def identity(self) -> str:
        """Digest of what decides its pixels."""
        return fingerprint([self.asset, self.expression, self.version, self.wire, self.wire_bands])

    @property
    def label(self) -> str:
        """Its date in a series, else its name."""
        return self.name.rsplit("/", maxsplit=1)[-1]

    def tags(self, fingerprint: str) -> dict[str, str]:
        """Return the metadata that its files carry; dates as GDAL and TIFF name them."""
        tags = {"SOURCE": self.origin or self.name, "VERSION": self.version, "FINGERPRINT": fingerprint}
        if self.time:
            tags["DATE_ACQUIRED"] = self.time[:10]
            tags["TIFFTAG_DATETIME"] = self.time[:19].replace("-", ":").replace("T", " ")
        return tags


@dataclass(frozen=True, kw_only=True)
class TileFormat:
    """What is stored for each tile."""

    file_format: FileFormat = "GEO_TIFF"
    codec: Codec = "zstd"
    """Compression of GeoTIFF tiles; no part of other formats."""
    masks: Masks = "exact"
    """``exact``: every mask bit; ``nodata``: as Earth Engine's nodata value has it, which a stored value may equal;
    ``unknown``: zeroes are stored as they come, and the file says that its mask is not known."""
    visualization: str | None = None
    """Canonical JSON of VisualizationOptions, for PNG and JPEG."""
    clip: str | None = None
    """WKT, in the CRS of the grid, of the region outside of which pixels are masked; None = nothing is clipped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Sources x tiles x bands x format. Index = source * tiles + tile.

    Plans are equal if their fingerprints are: what they are called and where they are stored is no part of it.
    """

    name: str
    """Which flow made it. No part of its identity."""
    sources: tuple[Source, ...]
    tiles: Tiles
    bands: tuple[Band, ...]
    tile_format: TileFormat
    home: str | None = None
    """Folder, where it is not told by the fingerprint: that of a series that grows. No part of its identity."""

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __len__(self) -> int:
        return len(self.sources) * len(self.tiles)

    def locate(self, index: int) -> tuple[Source, int]:
        """Return the source and the tile of a request.

        Raises:
            IndexError: there is no such request.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        source, tile = divmod(index, len(self.tiles))
        return self.sources[source], tile

    def grid(self, index: int) -> PixelGrid:
        """Return the pixel grid of a request."""
        return self.tiles.grid(self.locate(index)[1])

    def request(self, index: int, part: PixelGrid | None = None) -> PixelRequest:
        """Return the index-th request, or that for a part of its grid."""
        source, tile = self.locate(index)
        grid = part or self.tiles.grid(tile)
        parts = [
            f'"fileFormat":"{source.wire}"',
            f'"grid":{json.dumps(grid.json(), separators=(",", ":"))}',
            f'"bandIds":{json.dumps(source.wire_bands, separators=(",", ":"))}',
        ]
        if source.expression is not None:
            parts.insert(0, f'"expression":{source.expression}')
        if self.tile_format.visualization is not None:
            parts.append(f'"visualizationOptions":{self.tile_format.visualization}')
        return PixelRequest(asset=source.asset, body=("{" + ",".join(parts) + "}").encode())

    def tile_fingerprint(self, index: int) -> str:
        """Return the identity of a tile: sha256 over source, grid, bands and format."""
        source, tile = self.locate(index)
        return fingerprint([source.identity, self.tiles.grid(tile).json(), self.format_identity])

    def key(self, index: int, fingerprint: str | None = None) -> str:
        """Return where a tile is stored: its place for a person, its fingerprint (if it is known) for the rest."""
        source, tile = self.locate(index)
        identity = fingerprint or self.tile_fingerprint(index)
        name = self.tiles.name(tile)
        stem = f"{name}-{identity[:12]}" if name else f"{identity[:2]}/{identity[:24]}"
        return f"tiles/{source.name}/{stem}{SUFFIXES[self.tile_format.file_format]}"

    @functools.cached_property
    def fingerprint(self) -> str:
        """The identity of the whole plan. Names, credentials, endpoint, quota and engine are no part of it."""
        return fingerprint([[source.identity for source in self.sources], self.tiles.json(), self.format_identity])

    @property
    def folder(self) -> str:
        """Where the plan, its receipts and its products are stored, beside the tiles."""
        return self.home or f"{self.name}-{self.fingerprint[:12]}"

    def places(self) -> str:
        """Return the CRS of its grids in a word: `32721`, `utm` for patches in several zones, `sinusoidal`."""
        names = set(self.tiles.names)
        if len(names) > 1:
            return "utm"
        name = names.pop()
        if name == SINUSOIDAL:
            return "sinusoidal"
        return name.removeprefix("EPSG:") if is_code(name) else crs_of(name).proj.name.replace(" ", "_")

    def only(self, sources: Iterable[int]) -> Plan:
        """Return the plan of some of the sources, in their order, with the same home."""
        return replace(self, sources=tuple(self.sources[number] for number in sources))

    @functools.cached_property
    def format_identity(self) -> str:
        """Digest of the bands and of what is stored of them."""
        bands = [[band.id, band.dtype] for band in self.bands]
        return fingerprint([PLAN_VERSION, MASK_THRESHOLD, bands, asdict(self.tile_format)])

    def json(self) -> dict[str, Any]:
        """Return the plan as JSON values; :meth:`from_json` reads them back."""
        return {
            "plan": PLAN_VERSION,
            "fingerprint": self.fingerprint,
            "name": self.name,
            "sources": [asdict(source) for source in self.sources],
            "tiles": self.tiles.json(),
            "bands": [asdict(band) for band in self.bands],
            "output": asdict(self.tile_format),
            **({} if self.home is None else {"home": self.home}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read a plan.

        Raises:
            ValueError: it was made by another version, or does not have the fingerprint that it says.
        """
        if value.get("plan") != PLAN_VERSION:
            raise ValueError(f"plan version {value.get('plan')!r} can't be read: this is version {PLAN_VERSION}.")
        plan = cls(
            name=value["name"],
            sources=tuple(
                Source(**source | {k: tuple(source[k]) for k in ("wire_bands", "wire_dtypes")})
                for source in value["sources"]
            ),
            tiles=tiles_from_json(value["tiles"]),
            bands=tuple(Band(**band) for band in value["bands"]),
            tile_format=TileFormat(**value["output"]),
            home=value.get("home"),
        )
        if plan.fingerprint != value["fingerprint"]:
            raise ValueError("the plan does not have the fingerprint that it says: it was changed by hand.")
        return plan
