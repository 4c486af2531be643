"""One slot stays free for the tag of the next task, until Prefect is too late to take it."""

import pytest

from tasks.prefect_io import tag_slot
from tasks.prefect_io.tag_slot import LATE_S, TagSlot


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(tag_slot.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("tagged", "held", "free"), [(True, 0, 1), (True, 1, 0), (False, 0, 0)])
def test_a_slot_stays_free_while_no_task_holds_that_of_its_tag(clock, tagged, held, free):
    assert TagSlot(tagged=tagged).to_come(due=10, held=held, usable=9) == free


def test_a_process_without_a_slot_takes_the_last_one_if_prefect_is_late(clock):
    slot = TagSlot(tagged=True)
    for after, due, free in ((0, 1, 1), (LATE_S, 1, 1), (LATE_S + 1, 1, 0), (LATE_S + 1, 2, 1)):
        clock[0] = 100.0 + after
        assert slot.to_come(due=due, held=0, usable=0) == free
    assert slot.to_come(due=1, held=1, usable=1) == 0
    assert slot.to_come(due=1, held=0, usable=0) == 1  # Prefect took it meanwhile: it is not late


def test_time_with_a_slot_is_no_delay(clock):
    slot = TagSlot(tagged=True)
    for after, usable in ((0, 0), (LATE_S - 1, 1), (LATE_S + 1, 0), (2 * LATE_S, 0)):
        clock[0] = 100.0 + after
        assert slot.to_come(due=1, held=0, usable=usable) == 1


def test_a_batch_without_a_task_takes_the_last_slot_at_once(clock):
    slot = TagSlot(tagged=True)
    slot.untagged.add("batch")
    assert slot.to_come(due=1, held=0, usable=0) == 0
