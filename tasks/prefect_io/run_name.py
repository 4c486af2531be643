"""Names of flow runs: what a run fetches, where, and at which pixel size."""

from __future__ import annotations

from uuid import UUID

from prefect.runtime import flow_run

from tasks.errors.shown_text import plain
from tasks.plan.plan import Plan
from tasks.prefect_io.impatience import ignoring_server_errors
from tasks.prefect_io.server import server
from tasks.raster.crs import crs_of


def run_name() -> str:
    """Return the first name of a run, from its parameters: `region sentinel2_median utm 20`."""
    kind = flow_run.flow_name.removeprefix("extract-")
    given = flow_run.parameters.get("parameters", {})
    read = given if isinstance(given, dict) else given.model_dump()
    image = read.get("image") or {}
    label = image.get("asset") or image.get("recipe") or image.get("name") or "expression"
    scale = read.get("scale")
    return plain(" ".join(filter(None, (kind, label, read.get("crs", "utm"), f"{scale:g}" if scale else ""))))


def name_run(plan: Plan, *, dry: bool) -> None:
    """Rename the flow run by its plan, and tag it: `region sentinel2_median 32721 20m 812 tiles`.

    The tags are the image, the place, and `plan-only` for a dry run. Does nothing outside of a flow run.

    Args:
        plan: The plan.
        dry: Whether the run only plans.
    """
    if not flow_run.id:
        return
    kind = flow_run.flow_name.removeprefix("extract-")
    image, places = plain(plan.sources[0].name.partition("/")[0]), plain(plan.places())
    dates = f" {len(plan.sources):,} dates" if len(plan.sources) > 1 else ""
    name = f"{'plan of ' if dry else ''}{kind} {image} {places} {_pixel(plan)}{dates} {len(plan):,} tiles"
    with ignoring_server_errors(), server() as client:
        tags = {*client.read_flow_run(UUID(flow_run.id)).tags, image, places, *(["plan-only"] if dry else [])}
        client.update_flow_run(UUID(flow_run.id), name=name, tags=sorted(tags))


def _pixel(plan: Plan) -> str:
    """Return the size of a pixel with its unit, such as `30m` or `0.00025deg`."""
    grid = plan.grid(0)
    unit = crs_of(grid.crs).proj.axis_info[0].unit_name
    short = {"metre": "m", "degree": "deg", "US survey foot": "ft", "foot": "ft"}
    return f"{abs(grid.affine.a):.6g}{short.get(unit, unit)}"
