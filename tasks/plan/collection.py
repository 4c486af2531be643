"""Collections of images, stored or computed: what is in them, and how images of them become one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Protocol

import ee

from tasks.earthengine.connection import Connection, start_client
from tasks.earthengine.errors import Rejected
from tasks.earthengine.expression import canonical, encode
from tasks.earthengine.image_info import EPOCH, BandInfo, ImageInfo
from tasks.earthengine.metadata import list_computed, list_images
from tasks.earthengine.recipes import Box
from tasks.errors.input import BadInputError
from tasks.plan.images import (
    UNPINNED,
    ImageRecord,
    build_image,
    label_of,
    plain_name,
    read_asset,
    stored_image,
    version_of,
)
from tasks.plan.specs import ImageSpec
from tasks.raster.raster import common_dtype

# Types of Earth Engine, by the NumPy type in which it sends a band.
CASTS = {name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32")} | {
    "float32": "float",
    "float64": "double",
}


class Collection(Protocol):
    """A collection of images."""

    @property
    def label(self) -> str:
        """Its name, for messages."""

    @property
    def timed(self) -> bool:
        """Whether all its images are known to have a time: those of Earth Engine's own catalogue have one."""

    def find(self, *, start: date, end: date, geometry: Mapping[str, Any]) -> list[ImageInfo]:
        """Return the images that start in [start, end), UTC, and touch a region. No two have the same id."""

    def within(self, geometry: Mapping[str, Any]) -> ee.ImageCollection:
        """Return the images of a region, of all dates, as an object of the `ee` client."""

    def record(self, images: Sequence[ImageInfo], wanted: Sequence[BandInfo]) -> ImageRecord:
        """Return one image with the wanted bands. Each of the given images lies on top of those before it."""


def open_collection(connection: Connection, spec: ImageSpec, box: Box) -> Collection:
    """Return the collection that the user names.

    Raises:
        BadInputError: There is no such collection.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    if spec.asset is not None:
        info = read_asset(connection, spec.asset)
        if info.kind != "IMAGE_COLLECTION":
            raise BadInputError(
                "image",
                spec.asset,
                f"is of type {info.kind}, not IMAGE_COLLECTION",
                "Name a collection, or extract a region of the image",
            )
        return StoredCollection(connection, info.id or spec.asset)
    value = build_image(connection, spec, box)
    if not isinstance(value, ee.ImageCollection):
        raise BadInputError(
            "image",
            label_of(spec),
            "does not give an image collection",
            "Give an image collection, or extract a region of the image",
        )
    return ComputedCollection(connection, spec, value)


@dataclass(frozen=True)
class StoredCollection:
    """A collection asset."""

    connection: Connection
    label: str

    @property
    def timed(self) -> bool:
        """Whether it is in the catalogue of Earth Engine, where all images have a time."""
        return not self.label.startswith(("projects/", "users/"))

    def find(self, *, start: date, end: date, geometry: Mapping[str, Any]) -> list[ImageInfo]:
        """Return the images between two dates that touch a region: see :class:`Collection`."""
        return in_order(list_images(self.connection, self.label, start=start, end=end, region=geometry))

    def within(self, geometry: Mapping[str, Any]) -> ee.ImageCollection:
        """Return the images of a region, of all dates."""
        start_client(self.connection)
        return ee.ImageCollection(self.label).filterBounds(_area(geometry))

    def record(self, images: Sequence[ImageInfo], wanted: Sequence[BandInfo]) -> ImageRecord:
        """Return one image of some: see :class:`Collection`."""
        first, names = images[0], [band.id for band in wanted]
        assert first.time is not None
        name = f"{plain_name(self.label.rsplit('/', maxsplit=1)[-1])}/{first.time.date().isoformat()}"
        if len(images) == 1 and not _lacks(first, names):
            return replace(stored_image(first), name=name, info=replace(first, bands=_common(images, wanted)))
        start_client(self.connection)
        assets = [ee.data.convert_asset_id_to_asset_name(str(image.id)) for image in images]
        made = _joined([ee.Image(asset) for asset in assets], images, wanted)
        return ImageRecord(
            name=name,
            origin=self.label,
            info=replace(first, id=None, bands=_common(images, wanted)),
            asset=None,
            expression=encode(made),
            version=canonical(
                [[asset, image.version or UNPINNED] for asset, image in zip(assets, images, strict=True)]
            ),
            members=tuple(_filled(image, wanted) for image in images),
        )


@dataclass
class ComputedCollection:
    """A collection of a recipe or an expression."""

    connection: Connection
    spec: ImageSpec
    value: ee.ImageCollection
    timed: bool = False
    days: Mapping[date, Sequence[ImageInfo]] = field(default_factory=dict)
    """The images of each day in the order of the collection, as :meth:`find` found them."""
    area: ee.Geometry | None = None
    """The region of these images."""

    @property
    def label(self) -> str:
        """Name of the recipe or the expression."""
        return label_of(self.spec)

    def find(self, *, start: date, end: date, geometry: Mapping[str, Any]) -> list[ImageInfo]:
        """Return the images between two dates that touch a region: see :class:`Collection`."""
        self.area = _area(geometry)
        chosen = self.value.filterDate(start.isoformat(), end.isoformat()).filterBounds(self.area)
        try:
            found = list(list_computed(self.connection, chosen))
        except Rejected as error:
            raise BadInputError("image", self.label, error.message, "Fix it. No pixels were requested") from error
        except TypeError as error:
            raise BadInputError("image", self.label, f"holds {error}, not images", "Give images") from error
        # An index is an id only if the collection was not put together by hand.
        seen = Counter[str]()
        days: dict[date, list[ImageInfo]] = {}
        for image in found:
            if image.time is None:
                remedy = "Set it to milliseconds since 1970, such as those of ee.Date.millis()"
                given = image.properties.get("system:time_start")
                reason = f"system:time_start = {given!r} of image {image.id} is not a time"
                raise BadInputError("image", self.label, reason, remedy)
            name = image.id or "image"
            seen[name] += 1
            known = replace(image, id=name if seen[name] == 1 else f"{name}#{seen[name]}")
            days.setdefault(image.time.date(), []).append(known)
        self.days = days
        return in_order(image for each in days.values() for image in each)

    def within(self, geometry: Mapping[str, Any]) -> ee.ImageCollection:
        """Return the images of a region, of all dates."""
        return self.value.filterBounds(_area(geometry))

    def record(self, images: Sequence[ImageInfo], wanted: Sequence[BandInfo]) -> ImageRecord:
        """Return one image of some: see :class:`Collection`."""
        first = images[0]
        assert first.time is not None
        return ImageRecord(
            name=f"{self.label}/{first.time.date().isoformat()}",
            origin=self.spec.recipe or self.spec.name,
            info=replace(first, id=None, bands=_common(images, wanted)),
            asset=None,
            expression=encode(self._made(images, wanted)),
            version=version_of(self.spec),
            members=tuple(_filled(image, wanted) for image in images),
        )

    def _made(self, images: Sequence[ImageInfo], wanted: Sequence[BandInfo]) -> ee.Image:
        """Return the `ee` object of some images, joined.

        It is filtered by the days and the indices of these images alone: the expression, and so the fingerprint, must
        not depend on the dates of the series.
        """
        names = [band.id for band in wanted]
        days = [image.time.date() for image in images if image.time is not None]
        ids = [str(image.id) for image in images]
        within = [image for day in dict.fromkeys(days) for image in self.days[day]]
        plain = all(image.properties.get("system:index") == image.id for image in images)
        others = {image.properties.get("system:index") for image in within if image.id not in ids}
        if plain and not others.intersection(ids) and not any(_lacks(image, names) for image in images):
            listed = [str(image.id) for image in within if image.id in ids]
            if listed == ids and len({_names(image) for image in images}) == 1:
                dated = self.value.filterDate(days[0].isoformat(), (days[-1] + timedelta(days=1)).isoformat())
                chosen = dated.filter(ee.Filter.inList("system:index", ids))
                return chosen.first() if len(ids) == 1 else chosen.mosaic()
        return _joined([self._one(image) for image in images], images, wanted)

    def _one(self, image: ImageInfo) -> ee.Image:
        """Return the `ee` object of one image, by its start and its index, and by its place among images like it."""
        assert image.time is not None
        index, start = image.properties.get("system:index"), _milliseconds(image)
        alike = [other for other in self.days[image.time.date()] if _milliseconds(other) == start]
        chosen = self.value.filterDate(start, start + 1)
        if index is not None:
            alike = [other for other in alike if other.properties.get("system:index") == index]
            chosen = chosen.filter(ee.Filter.inList("system:index", [index]))
        if len(alike) == 1:
            return chosen.first()
        return ee.Image(chosen.filterBounds(self.area).toList(1, [other.id for other in alike].index(image.id)).get(0))


def in_order(images: Iterable[ImageInfo]) -> list[ImageInfo]:
    """Return the images that have a time by start, then id."""
    return sorted((image for image in images if image.time), key=lambda image: (image.time or EPOCH, str(image.id)))


def _milliseconds(image: ImageInfo) -> int:
    assert image.time is not None
    return (image.time - EPOCH) // timedelta(milliseconds=1)


def _area(geometry: Mapping[str, Any]) -> ee.Geometry:
    return ee.Geometry(dict(geometry), None, False)


def _names(image: ImageInfo) -> tuple[str, ...]:
    return tuple(band.id for band in image.bands)


def _lacks(image: ImageInfo, names: Sequence[str]) -> bool:
    return not set(names) <= set(_names(image))


def _common(images: Sequence[ImageInfo], wanted: Sequence[BandInfo]) -> tuple[BandInfo, ...]:
    """Return the wanted bands of images that are joined. Their dtype holds the values of all images."""
    bands = []
    for band in wanted:
        same = [other for image in images for other in image.bands if other.id == band.id] or [band]
        dtype = common_dtype(other.dtype for other in same).name
        bands.append(replace(same[0], dtype=dtype, integer=all(other.integer for other in same)))
    return tuple(bands)


def _filled(image: ImageInfo, wanted: Sequence[BandInfo]) -> ImageInfo:
    """Return an image with the wanted bands that it lacks, on the grid of the first wanted band that it has."""
    more = [band for band in wanted if band.id not in _names(image)]
    names = {band.id for band in wanted}
    like = next((band for band in image.bands if band.id in names), image.bands[0] if image.bands else None)
    grid = {key: getattr(like, key) for key in ("crs", "transform", "shape")} if like else {}
    return replace(image, bands=(*image.bands, *(replace(band, **grid) for band in more)))


def _joined(loaded: Sequence[ee.Image], images: Sequence[ImageInfo], wanted: Sequence[BandInfo]) -> ee.Image:
    """Return one image of several. If their bands differ, it has the wanted bands, masked where one is missing."""
    names = [band.id for band in wanted]
    if len({_names(image) for image in images}) > 1 or any(_lacks(image, names) for image in images):
        loaded = [_with_bands(one, image, wanted) for one, image in zip(loaded, images, strict=True)]
    if len({(band.id, band.dtype) for image in images for band in image.bands if band.id in names}) > len(names):
        # Earth Engine refuses some mosaics of several types: "Some bands might require explicit casts."
        casts = {band.id: CASTS[band.dtype] for band in _common(images, wanted)}
        loaded = [one.select(names).cast(casts) for one in loaded]
    return loaded[0] if len(loaded) == 1 else ee.ImageCollection(list(loaded)).mosaic()


def _with_bands(loaded: ee.Image, image: ImageInfo, wanted: Sequence[BandInfo]) -> ee.Image:
    for band in wanted:
        if band.id not in _names(image):
            masked = ee.Image.constant(0).updateMask(0).rename([band.id])
            loaded = loaded.addBands(masked.cast({band.id: CASTS[band.dtype]}))
    return loaded.select([band.id for band in wanted])
