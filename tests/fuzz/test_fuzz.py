"""A few fuzzed inputs of every kind: `make fuzz` runs thousands."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzzed import run
from tests.fuzz.kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_from_outside_is_read_or_refused_in_bounds(kind: str) -> None:
    outcome = run(kind, range(50))
    assert not outcome.findings
    assert outcome.read + outcome.refused.total() == 50
