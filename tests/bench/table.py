"""Figures: medians, efficiency, goals, and how they are shown. Nothing here runs anything."""

from __future__ import annotations

import json
import operator
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

IN_FLIGHT, PER_SECOND = 40, 100
FIELDS = (
    "efficiency",
    "wall_s",
    "ideal_s",
    "requests",
    "throttled",
    "peak_in_flight",
    "lost",
    "wrong",
    "repeated",
)
# What must never happen is as bad as the worst repetition; the rest is a median.
WORST = {"throttled", "throttled_share", "peak_in_flight", "lost", "wrong", "repeated", "errors", "different_bytes"}
WORST |= {f"{field}_{threads}" for field in ("answers_503", "dead_most_s") for threads in (1, 5)} | {"answers_503"}
WORST |= {"refused_submits", "refused_queries", "start_most_s", "answer_most_s"}
_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt, "==": operator.eq}


@dataclass(frozen=True)
class Bar:
    """One figure and its limit."""

    field: str
    relation: str
    limit: float

    def holds(self, row: Mapping) -> bool:
        """Whether a row keeps it; a figure that is missing does not."""
        value = row.get(self.field)
        return value is not None and _COMPARE[self.relation](value, self.limit)

    def __str__(self) -> str:
        return f"{self.field} {self.relation} {self.limit:g}"


def ideal_seconds(stats: Mapping) -> float:
    """Return the least time in which the quota lets requests through.

    Args:
        stats: Of the sandbox. Refused requests draw no latency and are not counted.
    """
    return max(stats["latency_seconds"] / IN_FLIGHT, admitted(stats) / PER_SECOND)


def admitted(stats: Mapping) -> int:
    """Return how many pixel and value requests were let in."""
    metered = ("image.computePixels", "assets.getPixels", "value.compute")
    total = sum(count for method in metered for count in stats["requests"].get(method, {}).values())
    return total - stats["throttled"]


def run_figures(stats: Mapping, wall_s: float) -> dict:
    """Return what every run is measured by."""
    ideal = ideal_seconds(stats)
    return {
        "efficiency": ideal / wall_s,
        "wall_s": wall_s,
        "ideal_s": ideal,
        "requests": stats["pixel_requests"],
        "throttled": stats["throttled"],
        "throttled_share": stats["throttled"] / max(1, stats["pixel_requests"]),
        "peak_in_flight": stats["peak_in_flight"],
        "repeated": stats["repeated_requests"],
    }


def combined(repetitions: Sequence[Mapping]) -> dict:
    """Return one row of several repetitions: medians, and the worst of what must not happen."""
    row: dict = {}
    for field in dict.fromkeys(key for repetition in repetitions for key in repetition):
        values = [r[field] for r in repetitions if r.get(field) is not None]
        if values and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            row[field] = max(values) if field.removeprefix("reference_") in WORST else statistics.median(values)
        elif values:
            row[field] = values[0]
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def judged(case: str, goal: str, bars: Iterable[Bar], repetitions: Sequence[Mapping]) -> dict:
    """Return the row of a case: its figures, whether it passed, and the bars that it missed."""
    row = combined(repetitions)
    missed = [str(bar) for bar in bars if not bar.holds(row)]
    if any(repetition.get("error") for repetition in repetitions):  # a median of what is left would hide it
        missed.append("no error")
    return {"case": case, "goal": goal, "passed": not missed, "missed": missed, "repeats": len(repetitions), **row}


def _cell(value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())[:300]


def markdown(rows: Iterable[Mapping]) -> str:
    """Return the table, and below it what else was measured, a line a case."""
    rows = list(rows)
    shown = ("case", "passed", *FIELDS)
    lines = ["| " + " | ".join(("case", "", *FIELDS)) + " |", "|" + "---|" * len(shown)]
    for row in rows:
        cells = [row["case"], "pass" if row["passed"] else "**FAIL**", *(_cell(row.get(field)) for field in FIELDS)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    ignored = {*FIELDS, "case", "goal", "passed", "missed", "repeats"}
    for row in rows:
        extra = ", ".join(f"{key} {_cell(value)}" for key, value in row.items() if key not in ignored)
        lines.append(f"- `{row['case']}`: {row['goal']}.")
        lines.extend(f"  Missed: {bar}." for bar in row["missed"])
        lines.append(f"  {extra}.")
    return "\n".join(lines)


def json_lines(rows: Iterable[Mapping]) -> str:
    """Return a line a case."""
    return "\n".join(json.dumps(row) for row in rows)


def rows_in(text: str) -> list[dict]:
    """Return the rows that a results file holds, so that one case can be run again without the others."""
    block = re.search(r"```json\n(.*?)\n```", text, re.DOTALL)
    return [json.loads(line) for line in block[1].splitlines()] if block else []
