"""``make fuzz``: thousands of broken inputs of every kind that others can write. Each is read, or refused by one of our
errors, within 5 s and 600 MB. ``KIND="npy csv"`` and ``INPUTS=500`` run fewer.
"""

from __future__ import annotations

import os
import sys

from tests.fuzz.fuzzed import run
from tests.fuzz.kinds import KINDS


def main() -> int:
    """Run the kinds that are named, or all; return the exit status."""
    names = sys.argv[1:] or list(KINDS)
    inputs = int(os.environ.get("INPUTS", "1500"))
    first = int(os.environ.get("SEED", "0"))
    found = 0
    for name in names:
        outcome = run(name, range(first, first + inputs))
        refused = ", ".join(f"{count:,} {kind}" for kind, count in outcome.refused.most_common())
        print(
            f"{name}: {outcome.inputs:,} inputs, {outcome.read:,} read, {refused or 'none refused'}; "
            f"longest {outcome.longest_s:.2f} s, {outcome.memory_mb:,.0f} MB, {len(outcome.findings)} findings",
            flush=True,
        )
        for finding in outcome.findings[:20]:
            print(f"  {finding}")
        found += len(outcome.findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
