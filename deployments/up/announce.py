"""Announce the recipes to the sandbox, and link its page from the Prefect UI.

``python -m deployments.up.announce http://127.0.0.1:9080`` does it for a sandbox that was started by itself. With
`PREFECT_API_URL`, the list of what the sandbox offers becomes the artifact `sandbox` of that server.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import ee
import requests

from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.recipes import WORLD, find
from tasks.errors.shown_text import markdown as literal

KEY = "sandbox"
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "sentinel2_median": {"start": "2020-05-01", "end": "2020-08-01"},
    "landsat_median": {"start": "2020-01-01", "end": "2021-01-01"},
    "sentinel2_ndvi": {},
    "modis_ndvi": {},
    "ndvi": {"asset": "projects/sandbox/assets/landsat7_nc_2000", "red": "B3", "nir": "B4"},
    "elevation": {},
}
"""Parameters of each built-in recipe with which the sandbox has pixels."""

DATES = {"start": "2020-05-25", "end": "2020-08-25"}
"""Of a job whose recipe makes a collection."""


def recipes() -> dict[str, dict[str, Any]]:
    """Return each built-in recipe with its summary, the parameters above, and the expression of its image."""
    return {name: _recipe(name, parameters) for name, parameters in EXAMPLES.items()}


def _recipe(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    recipe = find(name)
    built = recipe.build(parameters, region=WORLD)
    series = isinstance(built, ee.ImageCollection)
    image = built.filterDate(*DATES.values()).mosaic() if series else built
    summary = (inspect.getdoc(recipe.function) or "").partition("\n")[0]
    expression = ee.serializer.encode(image, for_cloud_api=True)
    summary = summary.removeprefix("Return ")
    return {
        "summary": summary[:1].upper() + summary[1:],
        "parameters": parameters,
        "dates": DATES if series else {},
        "expression": expression,
    }


def markdown(offers: Sequence[Mapping[str, Any]], sandbox: str) -> str:
    """Return the offers with their pictures, and a link to the page of the sandbox.

    Args:
        offers: As the sandbox lists them.
        sandbox: URL of the sandbox.
    """
    parts = [f"# What the sandbox offers\n\n[Open the page with places and parameters to copy]({sandbox}/)"]
    for offer in offers:
        bands = ", ".join(name for name, _ in offer["bands"])
        text = literal("; ".join(filter(None, (offer["kind"], offer["dates"], f"bands {bands}"))))
        parts.append(f"## {literal(offer['id'])}\n\n{text}\n\n![]({sandbox}/{offer['picture']})")
    return "\n\n".join(parts) + "\n"


def announce(sandbox: str) -> list[dict[str, Any]]:
    """Announce the recipes to a sandbox, and return what it then offers.

    Args:
        sandbox: URL of the sandbox.

    Raises:
        requests.RequestException: The sandbox does not answer, or refuses.
    """
    ensure_client(Connection(project="my-project", endpoint=sandbox))
    _ask("PUT", f"{sandbox}/sandbox/recipes", recipes()).raise_for_status()
    offers = _ask("GET", f"{sandbox}/sandbox/offers")
    offers.raise_for_status()
    found: list[dict[str, Any]] = offers.json()
    return found


def link(offers: Sequence[Mapping[str, Any]], sandbox: str, api: str) -> None:
    """Make the offers an artifact of a Prefect server, unless it has the same already.

    Args:
        offers: As the sandbox lists them.
        sandbox: URL of the sandbox.
        api: URL of the server's API.

    Raises:
        requests.RequestException: The server does not answer, or refuses.
    """
    text = markdown(offers, sandbox)
    latest = _ask("GET", f"{api}/artifacts/{KEY}/latest")
    if not (latest.ok and latest.json()["data"] == text):
        body = {"key": KEY, "type": "markdown", "description": "What the sandbox offers", "data": text}
        _ask("POST", f"{api}/artifacts/", body).raise_for_status()


def _ask(method: str, url: str, body: object = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # no proxy of the user: this is loopback
        return session.request(method, url, json=body, timeout=60)


def main(sandbox: str) -> None:
    """Announce the recipes to a sandbox, and link it from the Prefect server of the environment, if there is one."""
    offers = announce(sandbox)
    if api := os.environ.get("PREFECT_API_URL"):
        link(offers, sandbox, api)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except requests.RequestException as error:
        sys.exit(
            f"The sandbox or the server does not take the list of recipes ({error}). If they run since an earlier "
            "version, run `make down`, then `make up`."
        )
