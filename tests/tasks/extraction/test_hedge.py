"""Laws of hedged requests: only what hangs is sent a second time, only at the end, and at most one in a hundred."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.hedge import HedgePolicy, Latencies

POLICY = HedgePolicy()
SECONDS = st.floats(0, 400)


def known(values):
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    return latencies


@given(st.lists(st.floats(0.001, 400), min_size=1, max_size=400))
def test_the_percentile_is_that_of_all_latencies_or_slightly_above(values):
    rank = math.ceil(0.99 * len(values))
    assert sorted(values)[rank - 1] <= known(values).percentile_s * (1 + 1e-9)
    assert known(values).percentile_s <= sorted(values)[rank - 1] * 1.021


def test_latencies_of_a_million_requests_take_little_memory():
    dice, latencies = random.Random(0), Latencies()
    for _ in range(100_000):
        latencies.add(dice.lognormvariate(0, 2))
    assert len(latencies._counts) < 1_500


@given(
    st.lists(SECONDS, max_size=60), st.lists(SECONDS, max_size=60), st.integers(0, 3), st.integers(0, 9_000),
    st.integers(0, 90),
)  # fmt: skip
def test_nothing_quick_is_doubled_nothing_before_the_end_and_never_more_than_the_share(
    ages, answers, unsent, requests, hedged
):
    latencies = known(answers)
    due = POLICY.due(ages, latencies, unsent=unsent, requests=requests, hedged=hedged)
    assert 0 <= due <= sum(age > 10 for age in ages)
    assert due == 0 or hedged + due <= max(1, requests / 100)
    if unsent or len(answers) < 20:
        assert due == 0
    else:
        assert due <= sum(age > 5 * sorted(answers)[math.ceil(0.99 * len(answers)) - 1] * (1 - 1e-9) for age in ages)


def test_what_hangs_is_doubled():
    latencies = known([0.4] * 4_000)
    assert POLICY.due([9.9], latencies, unsent=0, requests=3_999, hedged=0) == 0
    assert POLICY.due([10.1, 300.0], latencies, unsent=0, requests=3_999, hedged=0) == 2
    assert POLICY.due([300.0] * 80, latencies, unsent=0, requests=4_000, hedged=0) == 40
    assert POLICY.due([300.0], latencies, unsent=0, requests=50, hedged=0) == 1  # one in any run
    assert POLICY.due([300.0], latencies, unsent=0, requests=50, hedged=1) == 0
    assert POLICY.due([300.0], latencies, unsent=1, requests=3_999, hedged=0) == 0
    assert HedgePolicy(share=0).due([300.0], latencies, unsent=0, requests=4_000, hedged=0) == 0


def test_an_image_that_is_slow_is_not_doubled():
    """All requests take a minute: five minutes are not unusual then, and Earth Engine computes no longer."""
    latencies = known([60.0] * 100)
    assert POLICY.due([299.0], latencies, unsent=0, requests=100, hedged=0) == 0


@pytest.mark.parametrize("sigma", [0.5, 1.0])
@pytest.mark.parametrize("median", [0.43, 5.0, 30.0])
def test_hardly_an_honest_request_is_doubled(median, sigma):
    """A thousand runs of 40 requests in flight at their end, with the latencies of the bench and far heavier tails."""
    dice, doubled, sent = random.Random(1), 0, 0
    before = known(median * math.exp(sigma * dice.gauss(0, 1)) for _ in range(4_000))
    for _ in range(1_000):
        last = [median * math.exp(sigma * dice.gauss(0, 1)) for _ in range(40)]
        doubled += POLICY.due(last, before, unsent=0, requests=4_000, hedged=0)
        sent += len(last)
    assert doubled <= (0 if sigma < 1 else sent / 5_000)  # the sample has a percentile of its own
