"""Laws of permits: never more in flight than leases grant, never sooner than the rate allows; AIMD."""

import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.earthengine.errors import Stopped
from tasks.extraction.permits import Pace, Permits
from tasks.extraction.stop_policy import StopPolicy

NEVER = threading.Event()


class Clock:
    """Time that passes only when told to, or when somebody sleeps."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now

    def wait(self, condition, seconds):
        del condition
        self.now += seconds


def permits(clock=None, *, slots=40, reserve=0.0, **pace):
    clock = clock or Clock()
    pool = Permits(Pace(**{"per_second": 1e9} | pace), clock=clock, wait=clock.wait, reserve=lambda: reserve)
    if slots:
        pool.hold_lease("lease", slots)
    pool.prove()
    return pool


def entered(pool):
    """Take permits until there is none; return them."""
    taken = []
    while pool.in_flight < min(pool.slots, pool.window):
        permit = pool.permit(NEVER)
        permit.__enter__()
        taken.append(permit)
    return taken


def test_the_slots_of_leases_are_never_passed():
    """Nine threads, three slots: three are inside together, and never a fourth."""
    pool, lock, state = Permits(Pace(per_second=1e9)), threading.Lock(), {"now": 0, "peak": 0}
    pool.hold_lease("lease", 3)
    pool.prove()
    gate = threading.Barrier(3)

    def work():
        with pool.permit(NEVER):
            with lock:
                state["now"] += 1
                state["peak"] = max(state["peak"], state["now"])
            gate.wait(timeout=30)
            with lock:
                state["now"] -= 1

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert state == {"now": 0, "peak": 3}


def unproven():
    clock = Clock()
    pool = Permits(Pace(per_second=1e9), clock=clock, wait=clock.wait)
    pool.hold_lease("lease", 40)
    return clock, pool


def test_the_first_request_goes_alone_until_its_tile_is_fetched():
    _, pool = unproven()
    probe = entered(pool)
    assert len(probe) == 1
    pool.succeeded()
    assert entered(pool) == []
    pool.prove()
    rest = entered(pool)
    assert len(rest) == 39


def test_when_the_first_request_takes_long_others_follow_and_one_by_one_after_a_failure():
    clock, pool = unproven()
    sent = entered(pool)
    begun = clock.now
    with pool.permit(NEVER):
        assert clock.now == begun + pool.pace.probe_s
        sent += entered(pool)
        assert pool.in_flight == pool.pace.probing < StopPolicy().at_first
    pool.failed()
    for permit in sent:
        permit.__exit__(None, None, None)
    clock.now += 60
    probe = entered(pool)
    assert len(probe) == 1
    pool.prove()
    rest = entered(pool)
    assert len(rest) == 39


def test_a_first_request_that_is_throttled_lets_none_follow():
    clock, pool = unproven()
    sent = entered(pool)
    pool.throttled(clock.now, pause=False)
    clock.now += 60
    assert entered(pool) == []
    for permit in sent:
        permit.__exit__(None, None, None)
    assert len(entered(pool)) == 1


def test_nothing_is_sent_without_a_lease_that_holds_for_long_enough():
    clock = Clock()
    pool = permits(clock, slots=0, reserve=10)
    pool.hold_lease("extra", 30, until=clock.now + 60)
    pool.hold_lease("tag", 1, until=clock.now + 20)
    assert pool.slots == 31
    clock.now += 10
    assert pool.slots == 30
    clock.now += 40
    assert pool.slots == 0
    pool.hold_lease("extra", 30, until=clock.now + 60)  # renewed
    assert pool.slots == 30
    pool.drop_lease("extra")
    assert pool.slots == 0
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped), pool.permit(stop):
        pass


def test_a_request_that_is_not_answered_yet_says_how_long_others_may_take():
    clock = Clock()
    pool = permits(clock, slots=0, reserve=10)
    pool.hold_lease("lease", 40, until=clock.now + 60)
    with pool.permit(NEVER):
        clock.now += 29
        assert (pool.reserve, pool.slots) == (29, 40)
        clock.now += 2
        assert (pool.reserve, pool.slots) == (31, 0)
    assert (pool.reserve, pool.slots) == (10, 40)


def test_a_dropped_lease_may_be_released_once_its_requests_have_ended():
    pool = permits(slots=0)
    pool.hold_lease("large", 3)
    pool.hold_lease("small", 2)
    taken = entered(pool)
    pool.drop_lease("large")
    assert (pool.in_flight, pool.slots) == (5, 2)
    assert not pool.wait_idle(0, beyond=pool.slots)
    for permit in taken[:3]:
        permit.__exit__(None, None, None)
    assert pool.wait_idle(0, beyond=pool.slots)


def test_a_request_that_was_given_up_keeps_its_place_until_it_could_have_ended():
    clock = Clock()
    pool = permits(clock, slots=2)
    with pool.permit(NEVER):
        pool.linger(250)
    assert pool.in_flight == 1
    taken = entered(pool)
    assert len(taken) == 1
    clock.now += 249
    assert pool.in_flight == 2
    clock.now += 1
    assert pool.in_flight == 1


@given(
    slots=st.integers(1, 40),
    rate=st.floats(1, 500),
    gaps=st.lists(st.floats(0, 0.5), min_size=5, max_size=120),
)
def test_no_more_requests_begin_than_the_share_of_the_rate_allows(slots, rate, gaps):
    clock = Clock()
    pool = permits(clock, slots=slots, per_second=rate)
    begun = []
    for gap in gaps:
        clock.now += gap
        with pool.permit(NEVER):
            begun.append(clock.now)
    share = rate * slots / 40
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            allowed = share * (begun[last] - begun[first] + pool.pace.burst_s) + 1
            assert last - first + 1 <= allowed + 1e-6


def test_two_processes_that_share_the_slots_share_the_rate():
    clocks = Clock(), Clock()
    for clock, slots in zip(clocks, (30, 10), strict=True):
        pool = permits(clock, slots=slots, per_second=100.0)
        for _ in range(500):
            with pool.permit(NEVER):
                pass
    # 500 requests at 75 and at 25 a second, but for the burst
    assert [round(clock.now - 1_000) for clock in clocks] == [6, 20]


def test_throttling_halves_what_is_in_flight_once_for_requests_sent_together():
    clock = Clock()
    pool = permits(clock)
    taken = entered(pool)
    assert len(taken) == 40
    sent = clock.now
    clock.now += 1
    pool.throttled(sent)
    assert pool.window == 20
    pool.throttled(sent)
    pool.throttled(sent)
    assert pool.window == 20
    clock.now += 1
    pool.throttled(clock.now)
    assert pool.window == 10


def test_the_window_grows_by_one_a_round_trip_and_ends_at_the_quota():
    pool = permits(slots=40)
    pool.throttled(0.0, pause=False)
    pool._window, pool._grown_at = 8.0, pool._clock()
    for _ in range(8):
        pool.succeeded()
    assert 8.8 < pool._window <= 9.0
    for _ in range(10_000):
        pool.succeeded()
    assert pool.window == 40


def test_the_window_never_closes():
    clock = Clock()
    pool = permits(clock)
    for _ in range(20):
        clock.now += 1
        pool.throttled(clock.now, pause=False)
    assert pool.window == 1


def test_nothing_is_sent_for_as_long_as_the_server_asks_within_reason():
    clock = Clock()
    pool = permits(clock)
    pool.throttled(clock.now, wait_s=86_400)
    assert pool._paused_until == clock.now + pool.pace.longest_pause_s
    pool = permits(clock)
    pool.throttled(clock.now, wait_s=7)
    assert pool._paused_until == clock.now + 7


def simulated(quota_at, *, seconds, latency=0.49):
    """One process against an endpoint whose quota changes: requests sent, throttled, and when 40 were in flight."""
    clock = Clock()
    pool = permits(clock, pause_s=0.5)
    flying, sent, refused, full_at = deque(), 0, 0, []
    while clock.now < 1_000 + seconds:
        while flying and flying[0][0] <= clock.now:
            _, permit = flying.popleft()
            permit.__exit__(None, None, None)
            pool.succeeded()
        while clock.now >= pool._paused_until and pool.in_flight < min(pool.slots, pool.window):
            permit = pool.permit(NEVER)
            permit.__enter__()
            sent += 1
            if len(flying) >= quota_at(clock.now - 1_000):
                refused += 1
                pool.throttled(clock.now)
                permit.__exit__(None, None, None)
            else:
                flying.append((clock.now + latency, permit))
        if len(flying) == 40:
            full_at.append(clock.now - 1_000)
        clock.now += 0.01
    return sent, refused, full_at


def test_a_quota_that_is_cut_is_found_and_one_that_is_restored_is_used():
    """Cut to ten for half a minute: few requests are refused, and soon after all forty are in flight again."""
    sent, refused, full_at = simulated(lambda t: 10 if 10 <= t < 40 else 40, seconds=90)
    assert sent > 3_000
    assert refused < 0.05 * sent
    assert min(t for t in full_at if t > 40) < 40 + 60


def test_a_quota_that_stays_small_is_kept_to():
    sent, refused, _ = simulated(lambda _: 10, seconds=120)
    assert refused < 0.05 * sent
    assert sent > 0.65 * 120 * 10 / 0.49
