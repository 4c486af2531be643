"""The folder of a plan: words that say what it holds, and a fingerprint by which a run finds it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slugify import slugify

from tasks.extraction.stored_plan import PLAN
from tasks.plan.plan import Plan
from tasks.storage.store import Store, is_key

LONGEST = 120
"""Characters of a name. A file system allows 255 bytes."""


def place_plan(plan: Plan, store: Store, words: Sequence[str]) -> Plan:
    """Return a plan with the folder where it is stored, or else with one that is named after its content.

    Only the end of a name identifies a plan. So an output of an earlier version, and one of a run with another label,
    are found again.

    Args:
        plan: A plan without a folder of its own.
        store: The output.
        words: What the plan holds, such as `itaipu`, `sentinel2_median`, `20m`. Empty words are left out.

    Raises:
        StorageError: The output cannot be listed.
    """
    kind, _, identity = plan.folder.rpartition("-")
    found = [name for name in store.folders() if name.startswith(f"{kind}-") and name.endswith(f"-{identity}")]
    there = filter(is_key, found)  # a file system takes names that are no text
    # The folder of an earlier version comes first. A folder without a plan is of no use, such as of a killed run.
    for name in sorted(there, key=lambda name: (name != plan.folder, name)):
        if store.find(f"{name}/{PLAN}"):
            return plan if name == plan.folder else replace(plan, named=name)
    room = LONGEST - len(kind) - len(identity) - 2
    said = "-".join(filter(None, map(_plain, words)))[:room].rstrip("-._")
    return replace(plan, named=f"{kind}-{said}-{identity}") if said else plan


def _plain(words: str) -> str:
    """Return words as a part of a name: `Lago de Itaipú` is `Lago_de_Itaipu`."""
    return slugify(words, separator="_", lowercase=False, regex_pattern=r"[^A-Za-z0-9_.]+").strip("._")
