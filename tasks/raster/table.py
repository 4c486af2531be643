"""Tables of points: text with a header, separated by commas, semicolons, tabs or bars, as other programs write it."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.errors.input import InputError, brief, refused
from tasks.raster.properties import check_table, from_text, plain_numbers, unique_names
from tasks.raster.user_file import existing, read_bytes

if TYPE_CHECKING:
    import pandas as pd

csv.field_size_limit(1 << 30)  # otherwise a value may have 131,072 characters
SUFFIXES = (".csv", ".tsv", ".txt")
PAIRS = (("lon", "lat"), ("longitude", "latitude"), ("long", "lat"), ("lng", "lat"), ("x", "y"))
"""Names of the columns of longitude and latitude, in order of preference. Case is ignored."""

SHOWN = 20
"""Number of columns that a message names."""
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LONGITUDE, _LATITUDE = re.compile(r"lon|long|longitude|lng|x"), re.compile(r"lat|latitude|y")
# What names add: decimalLongitude (Darwin Core), lon_dd, Longitude (deg), lat_wgs84, GPS Latitude.
_ADDED = re.compile(r"^(decimal|gps)|(dd|deg|degrees?|decimal|wgs84|4326|epsg4326)$")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_HEAD = 1 << 20
"""Number of characters in which the names of the columns stand."""
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Characters of Windows-1252 that Western European texts hold, one or two in a row. In other encodings (Cyrillic, Mac
# Roman, DOS, East Asian) words become other characters, or longer rows of these.
_WESTERN = re.compile(
    r"(?!.*[\xc0-\xff]{3})[\x00-\x7f\xa0-\xa3\xa7\xa9-\xab\xb0-\xb7\xba-\xd6\xd8-\xf6\xf8-\xff"
    r"\u20ac\u2026\u2018\u2019\u201c\u201d\u2013\u2014\u2022]*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Table:
    """A table of points."""

    properties: pd.DataFrame
    """The columns beside the coordinates: text as it stands in the file, or numbers (see `from_text`)."""
    lon: NDArray[np.float64]
    """Longitudes, degrees, -180 to 180. Shape (row,)."""
    lat: NDArray[np.float64]
    """Latitudes, degrees, -90 to 90. Shape (row,)."""


def read_table(path: str | Path, *, note: Callable[[str], object]) -> Table:
    """Read a table of points. Longitudes and latitudes are degrees (WGS 84), with decimal points or decimal commas.

    Args:
        path: A text file in UTF-8, UTF-16 or a Western European encoding. Blank rows are left out.
        note: Called with a line for the log, if the file is not plain CSV in UTF-8, or has text like numbers.

    Raises:
        InputError: The table cannot be read, or a row has no coordinates on the earth. The message names the row,
            counted from 0, and what to do.
    """
    import pandas as pd

    text, encoding = _decoded(read_bytes(existing(path, what="points"), what="points"), path)
    separator, names, pair, columns = _columns(text, path)
    written = [columns[n] for n in pair]

    def refuse(row: int, count: int, reason: str, remedy: str) -> InputError:
        values = [values[row] for values in written]
        shown = ", ".join(
            f"{names[n]} = {value if len(value) < 30 and _NUMBER.fullmatch(value) else brief(value)}"
            for n, value in zip(pair, values, strict=True)
        )
        return refused("points", path, f"row {row} has {shown}, {reason} (such rows: {count})", remedy)

    lon, lat, commas = _coordinates(written, refuse)
    properties = [n for n in range(len(names)) if n not in pair]
    typed = {n: from_text([value or None for value in columns[n]]) for n in properties}
    if encoding != "utf-8" or separator != "," or commas:
        taken = f"{path}: columns are separated by {_SEPARATORS[separator]}, numbers have decimal "
        note(f"{taken}{'commas' if commas else 'points'}, and the text is {encoding}.")
    for n, values in typed.items():
        first = next((value for value in columns[n] if value), "")
        if values.dtype == object and (_NUMBER.fullmatch(first.strip()) or _COMMA.fullmatch(first)):
            note(f"{path}: {names[n]!r} stays text as it stands ({brief(first)}, ...): as numbers it would change.")
    table = pd.DataFrame(typed, index=pd.RangeIndex(len(lon)))
    table.columns = pd.Index(unique_names(names[n] for n in properties), dtype=object)
    return Table(table, lon, lat)


def _decoded(data: bytes, path: object) -> tuple[str, str]:
    """Return the text of a file, and its encoding."""
    remedy = "Save it as CSV in UTF-8"
    mark, encoding = next(((m, e) for m, e in _BOMS.items() if data.startswith(m)), (b"", "utf-8"))
    if not mark and b"\0" in data[:1000]:
        zeros = [data[n:1000:2].count(0) for n in (0, 1)]
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        text, encoding = data.decode("cp1252", errors="replace"), "Windows-1252 (Western European)"
        if not _WESTERN.fullmatch(text) or re.search(rb"[\xc2\xc3][\x80-\xbf]", data):  # or UTF-8 with a damaged byte
            reason = "it cannot be read as CSV (its encoding is neither UTF-8 nor known)"
            raise refused("points", path, reason, remedy) from error
    if "\0" in text:
        raise refused("points", path, "it cannot be read as CSV (it is not text)", remedy)
    return text, encoding


def _columns(text: str, path: object) -> tuple[str, list[str], tuple[int, int], list[Sequence[str]]]:
    """Return the separator, the names of the columns, the numbers of the coordinate columns, and the columns."""
    declared = re.match(r"sep=(.)\r?\n", text)  # Excel's first line
    text = text[declared.end() :] if declared else text
    separators = [declared[1]] if declared and declared[1] in _SEPARATORS else list(_SEPARATORS)
    head = text[:_HEAD]
    headers: dict[str, list[str]] = {each: next(_parsed(head, each, path, strict=False), []) for each in separators}
    found = {each: pair for each, header in headers.items() if (pair := _pair(header, path)) is not None}
    if len(found) != 1:
        header = max(headers.values(), key=len, default=[])
        more = f" and {len(header) - SHOWN} more" if len(header) > SHOWN else ""
        reason = f"it has the columns {', '.join(map(brief, header[:SHOWN]))}{more}, but no coordinate columns"
        remedy = (
            "Separate columns by commas, semicolons or tabs, and name the coordinate columns in the first row 'lon' "
            "and 'lat' (degrees, WGS 84)"
        )
        if not header:
            reason = "it cannot be read as CSV (it is empty)"
        elif found:
            reason = f"its columns may be separated by {' or '.join(_SEPARATORS[each] for each in found)}"
        elif any(re.match(r"\s*(SRID|(MULTI)?POINT)\b", value) for value in text.splitlines()[1:2]) or (
            {name.lower() for name in header} & {"wkt", "geom", "the_geom", "wkt_geom"}
        ):
            remedy = "WKT is not accepted. Write its coordinates into columns 'lon' and 'lat' (degrees, WGS 84)"
        raise refused("points", path, reason, remedy)
    separator, pair = next(iter(found.items()))
    names = headers[separator]
    check_table(path, what="points", columns=len(names), rows=0, values=0)
    columns = _even_columns(text, separator, names, pair) or _uneven_columns(text, separator, names, path)
    # Spreadsheets end each line with a comma if a column was emptied: a column without name and values is none.
    kept = [n for n, name in enumerate(names) if name or any(columns[n])]
    named = [names[n] or f"column_{n + 1}" for n in kept]
    return separator, named, (kept.index(pair[0]), kept.index(pair[1])), [columns[n] for n in kept]


def _even_columns(text: str, separator: str, names: Sequence[str], pair: tuple[int, int]) -> list[Sequence[str]] | None:
    """Return the columns of a table without quotes in which every row is whole, as most are. None = of another table.

    Arrow needs a fifth of the time of `csv`, but does not report wrong quotes, and drops other rows than blank ones.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    if '"' in text:
        return None
    types = {f"f{n}": pa.string() for n in range(len(names))}
    try:
        table = arrow.read_csv(
            pa.BufferReader(text.encode()),
            read_options=arrow.ReadOptions(autogenerate_column_names=True),
            parse_options=arrow.ParseOptions(delimiter=separator, quote_char=False),
            convert_options=arrow.ConvertOptions(column_types=types),
        )
    except pa.ArrowInvalid:  # rows differ in length, or a line is longer than Arrow's buffer
        return None
    columns = [values.to_pylist() for values in table.columns]
    even = [values[0].strip() for values in columns] == names and all(all(map(str.strip, columns[n])) for n in pair)
    return [values[1:] for values in columns] if even else None


def _uneven_columns(text: str, separator: str, names: Sequence[str], path: object) -> list[Sequence[str]]:
    """Return the columns of any table. Where a row ends early, its values are empty."""
    rows = list(_parsed(text, separator, path))[1:]
    for number, row in enumerate(rows):
        if not any(row[len(names) :]):
            del row[len(names) :]  # otherwise each other row would be filled to the length of the longest
            continue
        reason = f"row {number} has {len(row)} values, but there are {len(names)} names"
        remedy = f"Put values that hold {_SEPARATORS[separator]} in quotes, or separate the columns by semicolons"
        raise refused("points", path, f"it cannot be read as CSV ({reason})", remedy)
    check_table(path, what="points", columns=len(names), rows=len(rows), values=sum(map(len, rows)))
    return [values[1:] for values in itertools.zip_longest(names, *rows, fillvalue="")]


def _parsed(text: str, separator: str, path: object, *, strict: bool = True) -> Iterator[list[str]]:
    """Yield the rows that are not blank. The first has the names of the columns, without blanks around them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    first = True
    try:
        for row in reader:
            if any(map(str.strip, row)):
                yield [name.strip() for name in row] if first else row
                first = False
    except csv.Error as error:
        reason = f"it cannot be read as CSV (line {reader.line_num}: {error})"
        raise refused("points", path, reason, "Fix the file") from error


def _pair(header: Sequence[str], path: object) -> tuple[int, int] | None:
    """Return the numbers of the columns of longitude and latitude. None = there are none."""
    names = [name.lower() for name in header]
    plain = [_ADDED.sub("", re.sub(r"[^a-z0-9]", "", name)) for name in names]
    found = [[n for n, name in enumerate(plain) if pattern.fullmatch(name)] for pattern in (_LONGITUDE, _LATITUDE)]
    if not all(found):
        return None
    for x, y in PAIRS:
        if names.count(x) == names.count(y) == 1:
            return names.index(x), names.index(y)
    if max(map(len, found)) > 1:
        several = ", ".join(repr(header[n]) for numbers in found for n in numbers)
        raise refused(
            "points", path, f"several columns may hold its coordinates: {several}", "Name two 'lon' and 'lat'"
        )
    return found[0][0], found[1][0]


def _coordinates(
    written: Sequence[Sequence[str]], refuse: Callable[[int, int, str, str], InputError]
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return longitudes, latitudes, and whether they have decimal commas."""

    def check(wrong: NDArray[np.bool_], reason: str, remedy: str) -> None:
        if wrong.any():
            raise refuse(int(np.argmax(wrong)), int(wrong.sum()), reason, remedy)

    commas = False
    numbers = [found for values in written if (found := plain_numbers(values)) is not None]
    if len(numbers) < len(written):
        # A minus may be the typographic one.
        texts = [[value.strip().replace("\N{MINUS SIGN}", "-") for value in values] for values in written]
        commas = any(map(_COMMA.fullmatch, itertools.chain(*texts)))
        if commas:
            points = np.array([["." in value for value in values] for values in texts], bool)
            check(points[0] | points[1], "but other rows have decimal commas", "Write all numbers in one way")
            texts = [[v.replace(",", ".") if _COMMA.fullmatch(v) else v for v in values] for values in texts]
        numbers = [np.array([float(v) if _NUMBER.fullmatch(v) else np.nan for v in values], float) for values in texts]
    lon, lat = numbers
    check(
        ~(np.isfinite(lon) & np.isfinite(lat)),
        "which are not finite numbers",
        "Give decimal degrees such as -54.58, or remove the row",
    )
    check(
        (np.abs(lat) > 90) & (np.abs(lat) <= 180) & (np.abs(lon) <= 180),
        "but a latitude cannot be beyond 90 degrees",
        "Are longitude and latitude swapped? If so, swap the names of the columns",
    )
    check(
        (np.abs(lon) > 180) | (np.abs(lat) > 90),
        "which is outside the world: a CSV has longitude and latitude in degrees (WGS 84)",
        "Give longitudes of -180 to 180 and latitudes of -90 to 90. For coordinates in another CRS, give a file that "
        "stores its CRS, such as a GeoPackage",
    )
    return lon, lat, commas
