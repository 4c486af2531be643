"""The report of an examination: JSON, a table for the terminal, and a table for the Prefect UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
MARKS = {"ok": "✅", "warn": "⚠️", "fail": "❌", "not tried": "💤"}


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
        found = Counter(finding.state for finding in self.findings)
        return {state: found[state] for state in STATES}

    def summary(self) -> str:
        """Return one sentence: whether a job can run, and how many checks there were."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        verdict = "A job can run" if self.can_run else "A job cannot run"
        return f"{verdict}: {len(self.findings)} checks, {counts}."

    def cost(self) -> str:
        """Return what the examination took."""
        answer = (
            "" if self.answer_seconds is None else f", {self.answer_seconds:.3f} s for an answer with pixels (median)"
        )
        return (
            f"{self.seconds:.1f} s, {self.requests} requests to Earth Engine ({self.pixel_requests} for pixels), "
            f"{self.bytes / 1e6:.2f} MB{answer}"
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
    lines = [f"{finding.area}, {finding.check}: {finding.found} {finding.remedy}" for finding in failed]
    return UnfitError("\n".join([examination.summary(), *lines]), examination)


def in_markdown(examination: Examination) -> str:
    """Return the table for the Prefect UI: what needs attention first, then all checks by area."""
    lines = [f"**{examination.summary()}**", "", examination.cost() + "."]
    if wrong := examination.wrong():
        lines += ["", "### What to do", "", *_rows(wrong)]
    for area, findings in groupby(examination.findings, lambda finding: finding.area):
        lines += ["", f"### {area}", "", *_rows(list(findings))]
    return "\n".join(lines)


def _rows(findings: Sequence[Finding]) -> Iterator[str]:
    remedies = any(finding.remedy for finding in findings)
    titles = ["", "check", "expected", "found", *(["what to do"] if remedies else [])]
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for finding in findings:
        cells = [finding.check, finding.expected, finding.found, *([finding.remedy] if remedies else [])]
        yield f"| {MARKS[finding.state]} | {' | '.join(map(markdown, cells))} |"


def print_table(examination: Examination, console: Console) -> None:
    """Print the table: all checks by area, then what needs attention, then the verdict."""
    for area, findings in groupby(examination.findings, lambda finding: finding.area):
        table = Table(box=None, pad_edge=False, title=Text(area, "bold"), title_justify="left", expand=True)
        table.add_column("", width=9)
        table.add_column("check", ratio=3)
        table.add_column("expected", ratio=5)
        table.add_column("found", ratio=6)
        for finding in findings:
            state = Text(finding.state, COLOURS[finding.state])
            table.add_row(state, *map(Text, (finding.check, finding.expected, finding.found)))
        console.print(table)
        console.print()
    for finding in examination.wrong():
        console.print(Text(f"{finding.state}: {finding.area}, {finding.check}", COLOURS[finding.state]))
        console.print(Text(f"  found: {finding.found}\n  what to do: {finding.remedy}"))
    console.print(Text(examination.summary(), "bold green" if examination.can_run else "bold red"))
    console.print(Text(f"{examination.cost()}."))
