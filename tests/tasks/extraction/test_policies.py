"""Laws of policies: what is repeated, how patiently, and when a run is given up. Nobody sleeps here."""

import dataclasses

import pytest

from tasks.earthengine.errors import Denied, GivenUp, Rejected, Throttled, TooHeavy, Transient
from tasks.extraction.retry_policy import RetryPolicy
from tasks.extraction.stop_policy import FailureStreak, StopPolicy


def replay(*answers, policy=None, clock=lambda: 0.0):
    """Run a call that meets these errors and then succeeds; return the waits and the tries."""
    waits, left, tries = [], list(answers), 0

    def call():
        nonlocal tries
        tries += not (left and isinstance(left[0], Throttled))
        if left:
            raise left.pop(0)
        return b"done"

    assert (policy or RetryPolicy()).run(call, sleep=waits.append, clock=clock) == b"done"
    return waits, tries


def test_waits_grow_and_keep_to_what_the_server_asked():
    waits, tries = replay(Transient("", 503), Transient("", 503, 60.0), Transient("", 503))
    assert tries == 4
    assert 0 <= waits[0] <= 1
    assert waits[1] == 60.0
    assert 0 <= waits[2] <= 4


def test_no_server_makes_us_wait_for_a_day():
    waits, _ = replay(Transient("", 503, 86_400.0))
    assert waits == [RetryPolicy().longest_asked_s]


def test_throttling_uses_up_no_try_and_waits_for_its_permit_only():
    waits, tries = replay(*[Throttled("429", 429, 5.0)] * 500, *[Transient("", 503)] * 4)
    assert tries == 5
    assert waits[:500] == [0.0] * 500


def test_throttling_without_end_is_an_error():
    seconds = iter(range(10_000))
    with pytest.raises(Throttled):
        replay(*[Throttled("429", 429)] * 5_000, clock=lambda: float(next(seconds)))


def test_tries_are_used_up():
    with pytest.raises(Transient):
        replay(*[Transient("", 503)] * 7)
    assert replay(*[Transient("", 503)] * 6)[1] == 7


@pytest.mark.parametrize("error", [Rejected("400"), Denied("403"), TooHeavy("memory")])
def test_what_does_not_pass_is_not_repeated(error):
    waits = []

    def call():
        raise error

    with pytest.raises(type(error)):
        RetryPolicy().run(call, sleep=waits.append)
    assert waits == []


@pytest.mark.parametrize("policy", [RetryPolicy, StopPolicy])
def test_every_knob_has_a_default(policy):
    assert all(field.default is not dataclasses.MISSING for field in dataclasses.fields(policy))


def failing(failure_streak, error, times):
    for _ in range(times):
        failure_streak.failed(error)


def test_equal_failures_before_any_success_give_the_run_up():
    failure_streak = FailureStreak()
    failing(failure_streak, Rejected("no band 'B99'"), 19)
    with pytest.raises(GivenUp, match="no band 'B99'"):
        failure_streak.failed(Rejected("no band 'B99'"))


def test_failures_of_several_kinds_or_after_a_success_do_not():
    failure_streak = FailureStreak()
    failing(failure_streak, Rejected("no band 'B99'"), 19)
    failure_streak.failed(TooHeavy("User memory limit exceeded."))
    failing(failure_streak, Rejected("no band 'B99'"), 19)
    failure_streak.succeeded()
    failing(failure_streak, Rejected("no band 'B99'"), 1_000)


def test_refusals_that_name_each_tile_are_alike():
    failure_streak = FailureStreak()
    for letter in "abcdefghijklmnopqrs":
        failure_streak.failed(Rejected(f"Image.load: 'asset-{letter}' not found."))
    with pytest.raises(GivenUp):
        failure_streak.failed(Rejected("Image.load: 'asset-z' not found."))


def test_an_outage_gives_a_run_up_though_tiles_have_succeeded():
    failure_streak = FailureStreak()
    failure_streak.succeeded()
    for _ in range(49):
        failing(failure_streak, Transient("Nothing answers at http://127.0.0.1:9."), 1)
        failing(failure_streak, Throttled("429"), 1)
    failing(failure_streak, Transient("503"), 1)
    with pytest.raises(GivenUp, match="out of reach"):
        failure_streak.failed(Transient("Nothing answers at http://127.0.0.1:9."))
