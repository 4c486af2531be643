"""Examine where jobs will run: machine, sign-in, Earth Engine, output and Prefect server, each assumption a check."""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

from prefect.settings import PREFECT_API_URL

from flows.doctor_parameters import DoctorParameters
from flows.job import job
from tasks.doctor.asking import Asking
from tasks.doctor.catalogue import catalogue
from tasks.doctor.check import ALL_SECONDS, SECONDS, Check, Finding, examined
from tasks.doctor.machine import machine
from tasks.doctor.output import Trial, output
from tasks.doctor.pixels import pixels
from tasks.doctor.places import places
from tasks.doctor.prefect_server import prefect_server
from tasks.doctor.privacy import Privacy
from tasks.doctor.refusals import refusals
from tasks.doctor.report import Examination, counted, in_markdown, unfit
from tasks.doctor.service import service
from tasks.doctor.sign_in import sign_in
from tasks.earthengine.base_url import is_googles
from tasks.earthengine.connection import HIGH_VOLUME, Connection
from tasks.extraction.account import Account
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.impatience import markdown_artifact
from tasks.prefect_io.opener import open_output
from tasks.storage.address import is_block
from tasks.storage.store import Store


def doctor_name(parameters: DoctorParameters) -> str:
    """Return the first name of a run, such as `doctor 2026-05-01 12:30`."""
    del parameters
    return f"doctor {datetime.now(UTC):%Y-%m-%d %H:%M}"


@job("examine-setup", DoctorParameters, doctor_name)
def examine(parameters: DoctorParameters) -> Examination:
    """Examine where the flow runs, and show the findings in the Prefect UI. The run fails if a job could not run."""
    found = examination(parameters)
    markdown_artifact(in_markdown(found), key="doctor", description="Can a job run here?")
    if not found.can_run:
        raise unfit(found)
    return found


def examination(
    parameters: DoctorParameters, *, trouble: str = "", seconds: float = ALL_SECONDS, limit: float = SECONDS
) -> Examination:
    """Run all checks. It needs no flow run.

    Args:
        parameters: Connection and output.
        trouble: Why there is no Prefect server; "" = one runs.
        seconds: Deadline of all checks.
        limit: Longest deadline of a check.

    Raises:
        BadInputError: There is no project, or a parameter is refused.
    """
    # What the user gave is refused at once. A saved block is a check.
    endpoint = HIGH_VOLUME if parameters.connection else parameters.connect().connection.endpoint
    begun, privacy = time.monotonic(), Privacy()
    asked: list[Asking] = []
    hide_host(privacy, endpoint, "<endpoint>")
    hide_host(privacy, str(PREFECT_API_URL.value() or ""), "<server>")
    hide_output(privacy, parameters.output)

    @cache
    def account() -> Account:
        found = parameters.connect()
        privacy.hide(found.connection.project, "<project>")
        hide_host(privacy, found.connection.endpoint, "<endpoint>")
        return found

    @cache
    def asking() -> Asking:
        asked.append(Asking(account().connection, min(30.0, limit)))
        return asked[0]

    trial = Trial(lambda: opened(parameters.output, privacy))
    checks = all_checks(account, asking, trial, trouble, endpoint)
    findings: list[Finding] = []
    try:
        for area, found in groupby(examined(checks, privacy, seconds=seconds, limit=limit), lambda each: each.area):
            of_area = []
            for finding in found:
                of_area.append(finding)
                _log(finding)
            findings += of_area
            run_logger().info("%s: %s", area, counted(of_area))
    except BaseException:
        trial.leave()
        raise
    totals = asked[0] if asked else None
    return Examination(
        version=_version(),
        date=f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
        seconds=round(time.monotonic() - begun, 2),
        requests=totals.requests if totals else 0,
        pixel_requests=totals.pixel_requests if totals else 0,
        repeated=totals.repeated if totals else 0,
        bytes=totals.bytes if totals else 0,
        answer_seconds=round(statistics.median(totals.taken_s), 3) if totals and totals.taken_s else None,
        findings=tuple(findings),
    )


def all_checks(
    account: Callable[[], Account], asking: Callable[[], Asking], trial: Trial, trouble: str, endpoint: str
) -> Iterator[Check]:
    """Yield all checks in their order: each needs only earlier ones."""

    def connect() -> Connection:
        return account().connection

    yield from machine(endpoint)
    yield from sign_in(connect)
    yield from service(asking)
    yield from catalogue(connect, asking)
    yield from pixels(asking)
    yield from places(asking)
    yield from refusals(asking)
    yield from output(trial)
    yield from prefect_server(account, trouble)


def opened(address: str, privacy: Privacy) -> tuple[Store, str | None]:
    """Open the output as a run does. Return its store, and the warning of its own check."""
    store = open_output(address, write=False).store
    hide_output(privacy, store.uri)
    return store, store.check()


def hide_host(privacy: Privacy, url: str, placeholder: str) -> None:
    """Hide the host of a URL, unless it is Google's or this machine."""
    if url and not is_googles(url):
        privacy.hide(urlsplit(url).hostname, placeholder)


def hide_output(privacy: Privacy, address: str) -> None:
    """Hide the names in an address of an output: bucket and prefix, folder, or block."""
    if address.startswith("gs://"):
        bucket, _, prefix = address.removeprefix("gs://").partition("/")
        privacy.hide(bucket, "<bucket>")
        privacy.hide(prefix.strip("/"), "<prefix>")
    elif not is_block(address):
        privacy.hide(str(Path(address).expanduser().absolute()), "<output>")


def _log(finding: Finding) -> None:
    if finding.state in {"fail", "warn"}:
        log = run_logger()
        write = log.error if finding.state == "fail" else log.warning
        write("%s, %s: %s What to do: %s", finding.area, finding.check, finding.found, finding.remedy)


def _version() -> str:
    try:
        return version("pixel-quarry")
    except PackageNotFoundError:
        return "not installed"
