"""Names of flow runs: what a run fetches, where, and at which pixel size."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any
from uuid import UUID

import coolname.data
from prefect.runtime import flow_run

from tasks.errors.shown_text import plain
from tasks.plan.plan import Plan
from tasks.plan.words import crs_names, image_of, pixel_of
from tasks.prefect_io.impatience import ignoring_server_errors
from tasks.prefect_io.server import server

_ours: ContextVar[str | None] = ContextVar("ours", default=None)
"""The name that this project gave to the run as it began."""


_GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi|"
    "psi|omega"
)
_ENDS = (
    "[a-hkmnpqrvxyz]|adjunct|anomaly|band|boundary|cloud|cluster|collapse|conflux|expanse|field|fringe|instability|"
    "manifold|mass|nebula|point|quadrant|reach|ring|sector|shift|tensor|terminus|vector|void|warp"
)
# A name in the form of the UI is a letter, a star and mostly an end. A short one without a number may be a person's.
_OF_THE_UI = re.compile(rf"({_GREEK})(\d+-[a-z]+(-[a-z]+){{0,2}}|(-[a-z]+){{1,2}}-({_ENDS}))")


def is_made_up(name: str) -> bool:
    """Return whether Prefect made up a name of a run: nobody gave it.

    >>> [is_made_up(name) for name in ("honest-otter", "sigma5-cygnet-ring", "beta-test", "itaipu")]
    [True, True, False, False]
    """
    words = name.split("-")
    return (len(words) == 2 and _words().issuperset(words)) or _OF_THE_UI.fullmatch(name) is not None


@cache
def _words() -> frozenset[str]:
    config: dict[str, Any] = coolname.data.config
    lists = [part.get("words", part.get("phrases", ())) for part in config.values()]
    return frozenset(
        word for part in lists for each in part for word in (each if isinstance(each, list | tuple) else [each])
    )


def name_first(make: Callable[[], str]) -> str:
    """Return the name of a run as it begins. A name that a person gave stays.

    Args:
        make: Returns the name that this project gives.
    """
    name: str | None = flow_run.name
    if name and not is_made_up(name):
        return name
    made = plain(make())
    _ours.set(made)
    return made


def name_run(plan: Plan, *, dry: bool, area: str = "") -> None:
    """Rename the flow run by its plan, and tag it: `region itaipu sentinel2_median 32721 20m 812 tiles`.

    The tags are the image, the place, the area, and `plan-only` for a dry run. A name that a person gave stays. Does
    nothing outside of a flow run.

    Args:
        plan: The plan.
        dry: Whether the run only plans.
        area: Label of the run, or what else distinguishes its area.
    """
    if not flow_run.id:
        return
    kind = flow_run.flow_name.removeprefix("extract-")
    image, places = plain(image_of(plan)), plain(crs_names(plan))
    dates = f"{len(plan.sources):,} dates" if len(plan.sources) > 1 else ""
    words = ("plan of" if dry else "", kind, plain(area), image, places, pixel_of(plan), dates, f"{len(plan):,} tiles")
    with ignoring_server_errors(), server() as client:
        run = client.read_flow_run(UUID(flow_run.id))
        name = " ".join(filter(None, words)) if run.name == _ours.get() else run.name
        tags = {*run.tags, image, places, *filter(None, [plain(area)]), *(["plan-only"] if dry else [])}
        client.update_flow_run(run.id, name=name, tags=sorted(tags))
