"""Names of recipes: those that are built in, and those that an operator allows in deployments."""

from __future__ import annotations

import os

from tasks.errors.input import BadInputError

RECIPES = ("sentinel2_median", "landsat_median", "modis_ndvi", "ndvi", "elevation")
"""Names of those that are built in, see :mod:`tasks.earthengine.recipes`."""
ALLOWED = "PIXEL_QUARRY_RECIPES"
"""Environment variable of an operator: `module:function`, separated by commas, that runs of deployments may name."""


def allowed() -> set[str]:
    """Return the `module:function` that runs of a deployment may name: those that its operator lists."""
    return {name.strip() for name in os.environ.get(ALLOWED, "").split(",") if name.strip()}


def check_allowed(name: str) -> None:
    """Check the recipe of a run that somebody else may have started: to name a function is to run it.

    Raises:
        BadInputError: it is neither built in nor listed.
    """
    if name not in RECIPES and name not in allowed():
        remedy = f"Give one of {', '.join(sorted({*RECIPES, *allowed()}))}, or list it in {ALLOWED} where the flow runs"
        raise BadInputError("image.recipe", name, "not on the list of this deployment", remedy)
