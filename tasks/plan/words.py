"""Words of a plan for names of runs and folders: its image, and the size of its pixels."""

from __future__ import annotations

from tasks.plan.plan import Plan
from tasks.raster.crs import crs_of


def image_of(plan: Plan) -> str:
    """Return the name of the image or of the collection, such as `sentinel2_median`."""
    return plan.sources[0].name.partition("/")[0]


def pixel_of(plan: Plan) -> str:
    """Return the size of a pixel with its unit, such as `30m` or `0.00025deg`."""
    grid = plan.grid(0)
    unit = crs_of(grid.crs).proj.axis_info[0].unit_name
    short = {"metre": "m", "degree": "deg", "US survey foot": "ft", "foot": "ft"}
    return f"{abs(grid.affine.a):.6g}{short.get(unit, unit)}"
