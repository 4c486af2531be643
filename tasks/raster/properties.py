"""Convert the properties of features to columns that GeoParquet can store, before anything is planned with them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors.input import refused

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyarrow as pa

COLUMNS = 2_000
"""Largest number of columns. Parquet, in which they are stored, takes 0.1 ms for each."""
GAPS = 20_000_000
"""Most values of a table that are missing. They need no byte in a file, and 8 or more in memory."""

INT64 = np.iinfo(np.int64)
EXACT = 2**53
"""Every integer up to this magnitude is exact as a float64."""
_INTEGER, _DECIMAL = r"^(0|-?[1-9][0-9]*)$", r"^(0|-?[1-9][0-9]*|-?(0|[1-9][0-9]*)\.[0-9]+)$"
_SHORT = r"^(0|-?[1-9][0-9]*|-?(0|[1-9][0-9]*)\.[0-9]*[1-9])$", r"^-?(0|[1-9][0-9]*)\.([0-9]*[1-9]|0)$"
_DIGITS = r"^-?[0-9]+(\.[0-9]+)?$"
_NESTED = (dict, list, tuple, set, frozenset, np.ndarray)


def check_table(given: object, *, what: str, columns: int, rows: int, values: int) -> None:
    """Check that a table does not need far more memory than the text that it is read from.

    Args:
        given: The value or path, for the message.
        what: Name of the field in the message.
        columns: Number of columns.
        rows: Number of rows.
        values: Number of values that are there.

    Raises:
        InputError: It has too many columns, or too many values are missing.
    """
    if columns > COLUMNS:
        reason = f"it has {columns:,} columns, and at most {COLUMNS:,} are read"
        raise refused(what, given, reason, "Remove columns, or store what they hold as rows of another table")
    if columns * rows - values > GAPS:
        reason = f"most values of its {columns:,} columns and {rows:,} rows are missing"
        raise refused(what, given, reason, "Remove columns, or split it and make several runs")


def property_table(properties: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the properties of GeoJSON features as columns of Python values, one row per feature; absent = None."""
    import pandas as pd

    names = dict.fromkeys(name for row in properties for name in row)
    columns = {n: pd.Series([row.get(name) for row in properties], dtype=object) for n, name in enumerate(names)}
    table = pd.DataFrame(columns, index=pd.RangeIndex(len(properties)))
    table.columns = pd.Index(unique_names(names), dtype=object)
    return table


def from_text(texts: Sequence[str | None]) -> pd.Series:
    """Return a column of a text file: numbers if they would be written with the same characters, otherwise the text.

    ``00123``, ``1e5``, ``+1``, ``-0``, ``1.50``, more digits than a number holds, ``TRUE`` and ``NA`` thus stay text,
    and so does every other value of the same column. None is missing: whole numbers with gaps are ``Int64``.
    """
    import pandas as pd
    import pyarrow as pa

    column = pa.array(texts, pa.string())
    present = column.drop_null()
    numbers: pa.Array | None = None
    with contextlib.suppress(pa.ArrowInvalid):  # more digits than a number holds
        if len(present) and _all_match(present, _INTEGER):
            numbers = column.cast(pa.int64())
        elif len(present) and _all_match(present, _DECIMAL):
            numbers = column.cast(pa.float64()) if _is_shortest(present) else None
    if numbers is None:
        return pd.Series(list(texts), dtype=object)
    with_gaps = {pa.int64(): pd.Int64Dtype()} if numbers.null_count else {}
    result: pd.Series = numbers.to_pandas(types_mapper=with_gaps.get)
    return result


def plain_numbers(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the numbers in texts of digits and decimal points. None = a text is something else."""
    import pyarrow as pa

    column = pa.array(texts, pa.string())
    return column.cast(pa.float64()).to_numpy() if _all_match(column, _DIGITS) else None


def _all_match(texts: pa.StringArray, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())


def _is_shortest(decimals: pa.StringArray) -> bool:
    """Return whether each decimal has the shortest digits of its float, with whole numbers all as 2.0, or all as 2."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # All decimals of 15 digits are different floats.
    if pc.max(pc.utf8_length(decimals)).as_py() <= 16 and any(_all_match(decimals, style) for style in _SHORT):
        return True
    written, given = [_positional(number) for number in decimals.cast(pa.float64()).to_pylist()], decimals.to_pylist()
    return given in (written, [text.removesuffix(".0") for text in written])


def _positional(number: float) -> str:
    """Return the shortest digits that give a number, as 2.0 and 0.00001."""
    text = repr(number)  # ten times as fast as NumPy, but 1e-05
    return np.format_float_positional(number, trim="0") if "e" in text else text


def writable(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Return the features with properties that can be written as GeoParquet and read back.

    A column of one kind (numbers, text, booleans, dates) keeps its kind, and missing values stay missing. A column
    becomes JSON text if it has mixed kinds (``1`` and ``"forest"``), lists or objects, or values without a type in
    Parquet. The texts are then ``1``, ``"forest"`` with its quotes, ``[1, 2]``. The geometry column is named
    ``geometry``.
    """
    import geopandas
    import pandas as pd

    table = pd.DataFrame(frame.drop(columns=frame.geometry.name))
    names = unique_names(table.columns)
    columns = {n: _column(table.iloc[:, n]) for n in range(len(names))}
    result = pd.DataFrame(columns, index=frame.index)
    result.columns = pd.Index(names, dtype=object)
    return geopandas.GeoDataFrame(result, geometry=frame.geometry.array, crs=frame.crs)


def unique_names(names: Iterable[object]) -> list[str]:
    """Return column names that Parquet accepts: text, without duplicates, and none equal to ``geometry``."""
    texts = [str(name).encode(errors="backslashreplace").decode() for name in names]
    result: dict[str, None] = {}
    for text in texts:
        result[free_name(text, {*texts, *result, "geometry"}) if text in result or text == "geometry" else text] = None
    return list(result)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a free name for a property that cannot keep its own: ``file_given``, ``file_given_2``, ..."""
    number, free = 1, f"{name}_given"
    while free in taken:
        number += 1
        free = f"{name}_given_{number}"
    return free


def _column(values: pd.Series) -> pd.Series:
    import geopandas
    import pandas as pd

    if isinstance(values.dtype, geopandas.array.GeometryDtype):  # a second geometry column of a GeoParquet file
        return values
    if values.dtype != object:
        return values if _is_writable(values) else _as_json(values)
    missing = values.isna()
    present = values[~missing].tolist()
    kinds, whole, plain = set(map(type, present)), len(present) == len(values), values
    if not whole:
        plain = pd.Series([None if gone else value for value, gone in zip(values, missing, strict=True)], dtype=object)
        plain.index = values.index
    if kinds == {bool}:
        return plain.astype(bool if whole else "boolean")
    if kinds == {int} and INT64.min <= min(present) and max(present) <= INT64.max:
        return plain.astype("int64" if whole else "Int64")
    if kinds and kinds <= {int, float} and all(type(value) is float or abs(value) <= EXACT for value in present):
        return plain.astype(float)
    nested = any(issubclass(kind, _NESTED) for kind in kinds)
    text = kinds <= {str} and "".join(present).isprintable()  # as most columns: without surrogates
    return plain if len(kinds) <= 1 and not nested and (text or _is_writable(plain)) else _as_json(values)


def _is_writable(values: pd.Series) -> bool:
    if values.dtype.name in {"int64", "float64", "bool"}:
        return True
    try:
        values.to_frame("column").to_parquet(io.BytesIO())
    except Exception:  # noqa: BLE001 - Arrow has a dozen error types for values that it cannot store
        return False
    return True


def _as_json(values: pd.Series) -> pd.Series:
    import pandas as pd

    missing = values.isna()
    texts = [None if gone else _json(value) for value, gone in zip(values, missing, strict=True)]
    return pd.Series(texts, index=values.index, dtype=object)


def _json(value: object) -> str:
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError):  # keys of another type, or a circular reference: only in Python values
        return json.dumps(str(value))


def _plain(value: object) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
