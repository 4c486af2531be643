"""Ids that users give to their features: which property names them, for tables, files and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_IN_ORDER = """
id point_id pointid plot_id plotid field_id fieldid site_id siteid station_id sample_id feature_id fid gid uid uuid
objectid key code name label title point plot field site station
"""
PROPERTIES = tuple(_IN_ORDER.split())
"""Names of properties that can identify features, in order of preference. Case is ignored."""


def id_properties(names: Iterable[str]) -> list[str]:
    """Return those of some names of properties that can be ids, in order of preference."""
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(str(name).strip().lower(), name)
    return [by_name[name] for name in PROPERTIES if name in by_name]


def tell_apart(ids: Sequence[str]) -> bool:
    """Return whether no id is empty, and no two are equal."""
    return all(ids) and len(set(ids)) == len(ids)
