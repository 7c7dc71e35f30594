"""Properties of the fair sharing of workers between users."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.service.store.fairness import after, turns

OWNERS = st.sampled_from("abcdefgh")
LIMITS = st.integers(0, 50)
WAITING = st.dictionaries(OWNERS, st.integers(1, 30))
RUNNING = st.dictionaries(OWNERS, st.integers(1, 10))


@given(LIMITS, WAITING, RUNNING)
def test_no_worker_is_idle_while_a_task_waits(limit: int, waiting: dict[str, int], running: dict[str, int]) -> None:
    """And no user gets more turns than tasks."""
    shares = Counter(turns(limit, waiting, running))
    assert shares.total() == min(limit, sum(waiting.values()))
    assert all(count <= waiting[owner] for owner, count in shares.items())


@given(LIMITS, WAITING, RUNNING)
def test_shares_are_equal(limit: int, waiting: dict[str, int], running: dict[str, int]) -> None:
    """A user gets a turn only if no user with further tasks has fewer, counting those that run: max-min fairness."""
    shares = Counter(turns(limit, waiting, running))
    for owner, count in shares.items():
        for other in waiting:
            if shares[other] < waiting[other]:
                assert running.get(owner, 0) + count - 1 <= running.get(other, 0) + shares[other]


@given(
    st.integers(1, 5), st.lists(st.tuples(OWNERS, st.integers(1, 20)), min_size=1, max_size=8, unique_by=lambda x: x[0])
)
def test_nobody_waits_longer_than_one_round(slots: int, submitted: list[tuple[str, int]]) -> None:
    """With instant runs, between two turns of a waiting user no other one has more than two."""
    waiting, last = dict(submitted), ""
    since = {owner: Counter[str]() for owner in waiting}
    while waiting:
        for owner in turns(slots, {name: waiting[name] for name in after(last, waiting)}, {}):
            last = owner
            waiting[owner] -= 1
            for other in since:
                since[other][owner] += 1
            assert max(since[owner].values()) <= 2
            since[owner].clear()
        waiting = {owner: count for owner, count in waiting.items() if count > 0}
