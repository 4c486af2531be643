"""The report of an examination: JSON, a table for the terminal, and a table for the Prefect UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.doctor.check import Finding, State
from tasks.errors import QuarryError
from tasks.errors.shown_text import markdown

STATES: tuple[State, ...] = ("fail", "warn", "ok", "not tried")
COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red", "not tried": "dim"}
CELL, LINE = 100, 200
"""Most characters of a cell that needs no attention, in the Prefect UI and in a terminal. JSON has all."""


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    found = Counter(finding.state for finding in findings)
    return {state: found[state] for state in STATES}


def counted(findings: Sequence[Finding]) -> str:
    """Return how many checks there were, and what became of them."""
    counts = ", ".join(f"{count} {state}" for state, count in _counts(findings).items() if count)
    return f"{len(findings)} checks" + (f", {counts}" if counts else "")


class Examination(BaseModel):
    """What all checks found. It has no secrets, and no names of the account, the project or the output."""

    model_config = ConfigDict(frozen=True)

    tool: Literal["pixel-quarry doctor"] = "pixel-quarry doctor"
    version: str
    """Version of this project."""
    date: str
    """UTC."""
    seconds: float
    requests: int
    """Requests to Earth Engine, those of the `ee` client aside."""
    pixel_requests: int
    repeated: int
    """Requests that were sent again, because Earth Engine was throttling or out of order (429, 5xx)."""
    bytes: int
    """Bytes of their answers, decompressed."""
    answer_seconds: float | None
    """Median time of an answer with pixels."""
    findings: tuple[Finding, ...]

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def can_run(self) -> bool:
        """Whether a job can run: no check failed."""
        return not any(finding.state == "fail" for finding in self.findings)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def counts(self) -> dict[str, int]:
        """Number of checks by what became of them."""
        return _counts(self.findings)

    def summary(self) -> str:
        """Return one sentence: whether a job can run, and how many checks there were."""
        verdict = "A job can run" if self.can_run else "A job cannot run"
        return f"{verdict}: {counted(self.findings)}."

    def cost(self) -> str:
        """Return what the examination took."""
        answer = (
            "" if self.answer_seconds is None else f", {self.answer_seconds:.3f} s for an answer with pixels (median)"
        )
        return (
            f"{self.seconds:.1f} s, {self.requests} requests to Earth Engine ({self.pixel_requests} for pixels, "
            f"{self.repeated} repeated), {self.bytes / 1e6:.2f} MB{answer}"
        )

    def wrong(self) -> list[Finding]:
        """Return the findings that need attention, the failed ones first."""
        return [finding for state in ("fail", "warn") for finding in self.findings if finding.state == state]


class UnfitError(QuarryError):
    """A job cannot run here.

    Args:
        message: Which checks failed, with their remedies.
        examination: All findings.
    """

    def __init__(self, message: str, examination: Examination) -> None:
        super().__init__(message, examination)
        self.message, self.examination = message, examination

    def __str__(self) -> str:
        return self.message


def unfit(examination: Examination) -> UnfitError:
    """Return the error for an examination in which a check failed."""
    failed = [finding for finding in examination.findings if finding.state == "fail"]
    lines = [f"{finding.area}, {finding.check}: {finding.found} What to do: {finding.remedy}" for finding in failed]
    return UnfitError("\n".join([examination.summary(), *lines]), examination)


def in_markdown(examination: Examination) -> str:
    """Return the table for the Prefect UI: what needs attention first, as a list, then all checks by area.

    The UI does not wrap the cells of tables, so long texts are only whole in the list.
    """
    lines = [f"**{examination.summary()}**", "", f"{examination.cost()}."]
    if wrong := examination.wrong():
        lines += ["", "### What to do", ""]
        for finding in wrong:
            lines.append(f"- **{finding.state}**: {markdown(finding.area)}, {markdown(finding.check)}")
            lines.append(f"  - Expected: {markdown(finding.expected)}")
            lines.append(f"  - Found: {markdown(finding.found)}")
            lines.append(f"  - **What to do: {markdown(finding.remedy)}**")
    for area, findings in groupby(examination.findings, lambda finding: finding.area):
        lines += ["", f"### {markdown(area)}", "", "| | check | expected | found |", "|---|---|---|---|"]
        for finding in findings:
            cells = (_short(each, CELL) for each in (finding.check, finding.expected, finding.found))
            state = finding.state if finding.state == "ok" else f"**{finding.state}**"
            lines.append(f"| {state} | {' | '.join(map(markdown, cells))} |")
    return "\n".join(lines)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def print_table(examination: Examination, console: Console) -> None:
    """Print the table: all checks by area, then what needs attention, then the verdict."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("", width=9)
    table.add_column("check", ratio=3)
    table.add_column("expected", ratio=5)
    table.add_column("found", ratio=6)
    for area, findings in groupby(examination.findings, lambda finding: finding.area):
        table.add_row()
        table.add_row(Text(""), Text(area, "bold"))
        for finding in findings:
            cells = (finding.check, finding.expected, finding.found)
            state = Text(finding.state, COLOURS[finding.state])
            table.add_row(state, *(Text(_short(each, LINE) if finding.state == "ok" else each) for each in cells))
    console.print(table)
    console.print()
    for finding in examination.wrong():
        console.print(Text(f"{finding.state}: {finding.area}, {finding.check}", COLOURS[finding.state]))
        console.print(Text(f"  found: {finding.found}\n  what to do: {finding.remedy}"))
    console.print(Text(examination.summary(), "bold green" if examination.can_run else "bold red"))
    console.print(Text(f"{examination.cost()}."))
