"""The results of `make chaos-server` as Markdown."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tests.chaos.matrix import Row
from tests.chaos.waits import LEAVES_S, Left


def _row(row: Row) -> str:
    """Return a line of the table."""
    each, fault = row.combination, row.combination.fault
    cells = (each.how, fault.phase, f"`{fault.call}`", fault.kind, fault.length, row.outcome, row.error[:90])
    text = " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells)
    return f"| {text} | {row.seconds:.0f} | {row.silence:.0f} |"


def report(rows: Sequence[Row], slow: Sequence[Row], left: Sequence[Left], *, unmet: int, load: float) -> str:
    """Return the results as Markdown.

    Args:
        rows: Combinations with a client that gives up soon.
        slow: Combinations with all settings as they are by default.
        left: Processes that got a signal.
        unmet: Combinations whose call did not come in their phase.
        load: Load average of the machine.
    """
    counts = Counter(row.outcome for row in (*rows, *slow))
    kinds = Counter(row.combination.fault.kind for row in rows)
    calls = len({row.combination.fault.call for row in rows})
    silence, slow_silence = (max((row.silence for row in each), default=0.0) for each in (rows, slow))
    return f"""\
# Results of `make chaos-server`

{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load average {load:.0f}.
{len(rows) + len(slow)} combinations: {_counted(counts)}. {unmet} more had no such call in their phase.

- {calls} calls. Faults: {_counted(kinds)}.
- Phases: start (until the run asks for its first slot), leases (until its first pixel request), tasks (until the last
  pixel request is answered), artifacts (until the run sets its last state), end.
- A run is 16 tiles in 2 waves, with 4 requests in flight. In the last table its client waits 3 s instead of 60 s for an
  answer, and a tenth of the time before it repeats a request.
- `our error`: the run ends with one message. The same job without the fault completes with the same pixels, and fetches
  no stored tile again. `Prefect's error`: the same, but Prefect's own code raises the error, in a worker.
- Longest time without a line in the log: {slow_silence:.0f} s with default settings, {silence:.0f} s in the last table.

## Default settings

{_table(slow)}

## Signals in each wait

A process must leave within {LEAVES_S:.0f} s, and the same job then completes.

| wait | started as | signal | left after s | exit status | resumed |
|---|---|---|---|---|---|
{_lines(map(_left, left))}

## Calls x faults x phases

{_table(rows)}
"""


def _left(each: Left) -> str:
    seconds = "never" if each.seconds is None else f"{each.seconds:.1f}"
    resumed = "yes" if each.resumed else "no"
    return f"| {each.wait} | {each.how} | {each.signal} | {seconds} | {each.code} | {resumed} |"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _table(rows: Sequence[Row]) -> str:
    head = "| started as | phase | call | fault | length | outcome | error | s | longest silence s |"
    return _lines([head, "|---|---|---|---|---|---|---|---|---|", *map(_row, rows)])
