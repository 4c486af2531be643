"""Find copies of one scene that was processed more than once, and choose the newest."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from tasks.plan.acquisition import Acquired, acquisition

# Processing a scene again moves its start by less. The next Landsat row starts after 24 seconds.
SAME = timedelta(seconds=10)

# Share of the smaller of two images that lies on the other: less, and they are two parts of a scene.
ALIKE = 0.9

_RADAR = re.compile(r"(S1[A-Z]_\w{2}_\w{4}_\w{4}_\d{8}T\d{6}_\w+)_[0-9A-Fa-f]{4}$")
_SCENE = re.compile(r"(L[A-Z]\d\d{3}\d{3}\d{7})[A-Z]{3}\d\d")
_PRODUCT = re.compile(r"(L[A-Z]\d\d)_L\w{3}_(\d{6}_\d{8})_\d{8}_")
_TILE = (("MGRS_TILE", r"(.+)"), ("PRODUCT_ID", r"_T(\d\d[A-Z]{3})_"), ("GRANULE_ID", r"_T(\d\d[A-Z]{3})_"))
_SENSED = (("DATASTRIP_ID", r"_S(\d{8}T\d{6})"), ("GRANULE_ID", r"_(\d{8}T\d{6})$"))
_GENERATED = ("GENERATION_TIME", "DATE_PRODUCT_GENERATED", "FILE_DATE", "GRD_Post_Processing_stop")
_IN_IDS = (
    ("PRODUCT_ID", r"_(\d{8}T\d{6})$"),
    ("DATASTRIP_ID", r"_DS_\w{4}_(\d{8}T\d{6})_"),
    ("LANDSAT_PRODUCT_ID", r"_\d{6}_\d{8}_(\d{8})_"),
)
_BASELINES = (
    ("PROCESSING_BASELINE", r"^0{0,9}(\d{1,9}\.?\d{0,9})$"),
    ("DATATAKE_IDENTIFIER", r"_N(\d\d\.\d\d)$"),
    ("PRODUCT_ID", r"_N(\d{4})_"),
)


def older_copies(images: Sequence[Acquired]) -> dict[str, tuple[Acquired, ...]]:
    """Return the older copies of images, by the id of the newest copy. Images without copies are not in the result.

    Copies show the same scene and the same place, and start within 10 seconds of each other. The copy that was
    generated last is the newest, then that of the highest baseline, then the last one updated, then the last id. A
    fact that not all copies have is not compared. An older copy with a requested band that the newest lacks is not
    superseded.

    Args:
        images: Images by start, then id.
    """
    clusters: list[list[Acquired]] = []
    near: dict[Hashable, list[list[Acquired]]] = {}  # those of a scene that a later image may belong to
    for image in images:
        key = _scene(image)
        if key is None:
            continue
        near[key] = [each for each in near.get(key, ()) if image.start - each[-1].start <= SAME]
        cluster = next((each for each in near[key] if _same_place(each[-1], image)), None)
        if cluster is None:
            clusters.append(cluster := [])
            near[key].append(cluster)
        cluster.append(image)
    return dict(found for cluster in clusters for found in _superseded(cluster))


def _superseded(cluster: Sequence[Acquired]) -> Iterator[tuple[str, tuple[Acquired, ...]]]:
    left = list(cluster)
    while len(left) > 1:
        best = _newest(left)
        left.remove(best)
        older = tuple(one for one in left if set(one.bands) <= set(best.bands))
        if older:
            yield best.id, older
        left = [one for one in left if one not in older]


def _same_place(one: Acquired, other: Acquired) -> bool:
    """Return whether two images lie on each other. Tiles that were cut from one scene have its properties, too."""
    if one.outline is None or other.outline is None:
        return True
    (crs, *ones), (other_crs, *others) = one.outline, other.outline
    west, south, east, north = (*map(max, ones[:2], others[:2]), *map(min, ones[2:], others[2:]))
    smaller = min((each[2] - each[0]) * (each[3] - each[1]) for each in (ones, others))
    return crs == other_crs and max(east - west, 0) * max(north - south, 0) >= ALIKE * smaller


def _newest(cluster: Sequence[Acquired]) -> Acquired:
    facts = [fact for fact in (_generated, _baseline, _updated) if all(fact(one) is not None for one in cluster)]
    return max(cluster, key=lambda one: ([fact(one) for fact in facts], one.id))


def _scene(image: Acquired) -> tuple[Hashable, ...] | None:
    """Return what names the scene of an image, however often it was processed; None if nothing does."""
    given = image.properties
    if radar := _RADAR.search(image.id):
        return "Sentinel-1", radar[1]
    taken = acquisition(image)
    processed = _generated(image) is not None or _baseline(image) is not None
    if (tile := _found(image, _TILE)) is not None and (processed or (taken and taken[0] == "Sentinel-2")):
        # A tile may have two parts of one datatake: two datastrips, with another start of sensing. They are no copies.
        platform = taken or ("Sentinel-2", str(given.get("SPACECRAFT_NAME")))
        return *platform, tile, _found(image, _SENSED) or image.start.replace(microsecond=0)
    if scene := given.get("LANDSAT_SCENE_ID"):
        known = _SCENE.fullmatch(str(scene))  # without the ground station and the version of the archive
        return "Landsat", known[1] if known else str(scene)
    if product := _PRODUCT.match(str(given.get("LANDSAT_PRODUCT_ID", ""))):
        return "Landsat", product[1], product[2]
    if taken and taken[0] == "Landsat" and given.get("WRS_ROW") is not None:
        return *taken, str(given["WRS_ROW"])
    return None


def _found(image: Acquired, places: Sequence[tuple[str, str]]) -> str | None:
    for name, pattern in places:
        if found := re.search(pattern, str(image.properties.get(name, ""))):
            return found[1]
    return None


def _generated(image: Acquired) -> float | None:
    for name in _GENERATED:
        value = image.properties.get(name)
        if isinstance(value, int | float):
            return float(value)
        if value is not None and (seconds := _seconds(str(value))) is not None:
            return seconds * 1000
    text = _found(image, _IN_IDS)
    return None if text is None or (seconds := _seconds(text)) is None else seconds * 1000


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _baseline(image: Acquired) -> float | None:
    text = _found(image, _BASELINES)
    if text is None:
        return None
    return float(text) if "." in text or len(text) < 4 else float(text) / 100  # N0214 in a product's id is 02.14


def _updated(image: Acquired) -> str | None:
    return image.updated
