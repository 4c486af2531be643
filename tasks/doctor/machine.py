"""The machine: versions, certificates, proxy, temporary files, open files."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests.utils
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tasks.doctor.check import Check, Outcome, fail, ok, skipped, warn
from tasks.earthengine.base_url import is_loopback

PACKAGE = "pixel-quarry"
KEY = ("earthengine-api", "prefect", "numpy", "rasterio", "google-cloud-storage", "google-auth", "urllib3")
"""Packages whose versions are shown. All are checked."""
LITTLE, TOO_LITTLE = 2 << 30, 100 << 20
"""Free bytes for temporary files: a mosaic of a bucket is made there."""
OPEN_FILES = 512
"""Files that a run may open: 50 sockets, and what a mosaic reads at a time."""
CONNECT_S = 5.0
AREA = "Machine"


def machine(endpoint: str) -> Iterator[Check]:
    """Yield the checks of this machine.

    Args:
        endpoint: Base URL of Earth Engine, to which the proxy and the certificates belong.
    """
    yield Check(area=AREA, name="Python", expected=_python_bounds(), act=python)
    yield Check(area=AREA, name="packages", expected="versions within the tested bounds", act=packages)
    yield Check(area=AREA, name="map projections", expected="PROJ and GDAL find their data", act=projections)
    yield Check(area=AREA, name="certificates", expected="trusted authorities are found", act=certificates)
    yield Check(
        area=AREA,
        name="proxy",
        expected="none, or one that takes connections",
        act=lambda: proxy(endpoint),
        remedy="Check HTTPS_PROXY and NO_PROXY.",
    )
    yield Check(
        area=AREA,
        name="temporary files",
        expected=f"a folder with {_gigabytes(LITTLE)} free",
        act=temporary,
        remedy="Set TMPDIR to a folder that may be written.",
    )
    yield Check(area=AREA, name="open files", expected=f"at least {OPEN_FILES}", act=open_files)


def _python_bounds() -> str:
    try:
        return importlib.metadata.metadata(PACKAGE)["Requires-Python"] or ">=3.11"
    except importlib.metadata.PackageNotFoundError:
        return ">=3.11"


def python() -> Outcome:
    """Compare the version of Python with the bounds of the package."""
    bounds, version = SpecifierSet(_python_bounds()), platform.python_version()
    found = f"{platform.python_implementation()} {version}, {platform.system()} {platform.machine()}"
    return ok(found) if bounds.contains(version) else fail(found, f"Use Python {bounds}.")


def packages() -> Outcome:
    """Compare the versions of all packages with the bounds of the package's own metadata."""
    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return warn(f"{PACKAGE} is not installed, so its bounds are not known", "Install it: `pip install -e .`.")
    found, wrong = [], []
    for needed in map(Requirement, lines):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
            continue
        if needed.name in KEY:
            found.append(f"{needed.name} {version}")
        if not needed.specifier.contains(version, prereleases=True):
            wrong.append(f"{needed.name} {version} is not {needed.specifier}")
    if wrong:
        remedy = "Install the locked versions: `pip install --no-deps --require-hashes -r requirements.lock`."
        missing = any(each.endswith("missing") for each in wrong)
        return fail("; ".join(wrong), remedy) if missing else warn("; ".join(wrong), remedy)
    return ok(", ".join(sorted(found)))


def projections() -> Outcome:
    """Look up a CRS with PROJ and with GDAL. Another installation's PROJ_LIB or GDAL_DATA breaks this."""
    import pyproj
    import rasterio

    try:
        pyproj.CRS.from_epsg(32721)
        rasterio.crs.CRS.from_epsg(32721).to_wkt()
    except Exception as error:  # noqa: BLE001 - both raise several types
        kept = [name for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA") if name in os.environ]
        remedy = f"Unset {', '.join(kept)}: it names the data of another installation." if kept else "Install again."
        return fail(f"EPSG:32721 is not found ({type(error).__name__})", remedy)
    return ok(f"PROJ {pyproj.proj_version_str}, GDAL {rasterio.__gdal_version__}")


def certificates() -> Outcome:
    """Load the certificates of authorities, as requests to Earth Engine do."""
    named = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)
    place = os.environ[named] if named else requests.utils.DEFAULT_CA_BUNDLE_PATH
    source = named or "certifi"
    remedy = f"Set {named} to a file of certificates (PEM), or unset it." if named else "Install certifi again."
    if Path(place).is_dir():
        return ok(f"a folder ({source}), {ssl.OPENSSL_VERSION}")
    try:
        context = ssl.create_default_context(cafile=place)
    except (OSError, ssl.SSLError) as error:
        return fail(f"{source}: the certificates cannot be read ({type(error).__name__})", remedy)
    count = len(context.get_ca_certs())
    return ok(f"{count} authorities ({source}), {ssl.OPENSSL_VERSION}") if count else fail(f"{source}: none", remedy)


def proxy(endpoint: str) -> Outcome:
    """Open a connection to the proxy of an endpoint."""
    if is_loopback(endpoint):
        return ok("none is used for this machine")
    chosen = requests.utils.select_proxy(endpoint, requests.utils.get_environ_proxies(endpoint))
    if not chosen:
        return ok("none")
    url = urlsplit(chosen if "://" in chosen else f"http://{chosen}")
    try:
        with socket.create_connection((url.hostname or "", url.port or 80), timeout=CONNECT_S):
            return ok("a proxy (HTTPS_PROXY) takes connections")
    except OSError as error:
        remedy = "Check HTTPS_PROXY. If no proxy is needed, unset it, or add `.googleapis.com` to NO_PROXY."
        return fail(f"the proxy does not take connections ({error.strerror or type(error).__name__})", remedy)


def temporary() -> Outcome:
    """Write a temporary file, and look for free space there."""
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile() as file:
            file.write(b"\0" * 4096)
            file.flush()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        remedy = "Set TMPDIR to a folder that may be written."
        return fail(f"a file cannot be written ({error.strerror or error})", remedy)
    remedy = "Free some space there, or set TMPDIR to a folder on another disk."
    found = f"{_gigabytes(free)} free"
    if free < TOO_LITTLE:
        return fail(found, remedy)
    return warn(found, remedy) if free < LITTLE else ok(found)


def open_files() -> Outcome:
    """Return how many files the process may open."""
    if sys.platform == "win32":
        return skipped("Windows has no such limit.")
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,}"
    few = limit != resource.RLIM_INFINITY and limit < OPEN_FILES
    return warn(found, f"Raise the limit: `ulimit -n {2 * OPEN_FILES}`.") if few else ok(found)


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB"
