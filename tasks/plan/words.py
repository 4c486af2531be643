"""Words of a plan for names of runs and folders: its image, its CRS, and the size of its pixels."""

from __future__ import annotations

from tasks.plan.plan import Plan
from tasks.plan.tiles import is_code
from tasks.raster.crs import SINUSOIDAL, crs_of


def image_of(plan: Plan) -> str:
    """Return the name of the image or of the collection, such as `sentinel2_median`."""
    return plan.sources[0].name.partition("/")[0]


def crs_names(plan: Plan) -> str:
    """Return a short name for the CRS of its grids: `32721`, `utm` for patches in several zones, `sinusoidal`."""
    names = set(plan.tiles.names)
    if len(names) > 1:
        return "utm"
    name = names.pop()
    if name == SINUSOIDAL:
        return "sinusoidal"
    return name.removeprefix("EPSG:") if is_code(name) else crs_of(name).proj.name.replace(" ", "_")


def pixel_of(plan: Plan) -> str:
    """Return the size of a pixel with its unit, such as `30m` or `0.00025deg`."""
    grid = plan.grid(0)
    unit = crs_of(grid.crs).proj.axis_info[0].unit_name
    short = {"metre": "m", "degree": "deg", "US survey foot": "ft", "foot": "ft"}
    return f"{abs(grid.affine.a):.6g}{short.get(unit, unit)}"
