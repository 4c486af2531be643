"""Names of recipes: the built-in ones, and those that an operator allows in deployments."""

from __future__ import annotations

import os

from tasks.errors.input import BadInputError

RECIPES = ("sentinel2_median", "landsat_median", "sentinel2_ndvi", "modis_ndvi", "ndvi", "elevation")
"""Names of the built-in recipes, see :mod:`tasks.earthengine.recipes`."""
ALLOWED = "PIXEL_QUARRY_RECIPES"
"""Environment variable where an operator lists other recipes that runs of deployments may use: `module:function`,
separated by commas."""


def is_function(name: str) -> bool:
    """Return whether a name is that of a function, `module:function`."""
    return all(part.isidentifier() for part in name.replace(":", ".", 1).split(".")) and ":" in name


def allowed() -> set[str]:
    """Return the recipes `module:function` that the operator allows in runs of deployments."""
    return {name.strip() for name in os.environ.get(ALLOWED, "").split(",") if name.strip()}


def check_allowed(name: str) -> None:
    """Check that a run of a deployment may use a recipe.

    Naming a function runs it, and other people than the operator may start such a run.

    Raises:
        BadInputError: The recipe is neither built in nor listed by the operator.
    """
    if name not in RECIPES and name not in allowed():
        remedy = f"Give one of {', '.join(sorted({*RECIPES, *allowed()}))}, or add it to {ALLOWED} where the flow runs"
        raise BadInputError("image", name, "not on the list of this deployment", remedy)
