"""The queue: which tasks are dispatched next. The highest priority goes first, and users share the workers fairly.

Nothing is stored for the sharing: each query finds the users with queued tasks by jumping from one to the next in an
index, so its time depends on the number of tasks that it returns, and not on the length of the queue.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.models import IN_PROGRESS, PENDING
from callback_sdk.service.store import fairness, rows
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import paused_algorithms, tasks

_ARMS = 8
"""Users whose tasks one statement reads."""

_COLUMNS = (tasks.c.job_id, tasks.c.owner, tasks.c.priority, tasks.c.created_at)

# These statements are built once: building one takes longer than running it.
_ALGORITHM: sa.BindParameter[str] = sa.bindparam("_algorithm")
_PRIORITY: sa.BindParameter[int] = sa.bindparam("_priority", type_=sa.Integer)
_IS_PENDING = tasks.c.status == sa.literal(PENDING, literal_execute=True)
_IS_DUE = sa.and_(
    _IS_PENDING,
    sa.or_(
        tasks.c.dispatched_at.is_(None),
        tasks.c.dispatched_at < now() - sa.bindparam("_again_after", type_=sa.Double),
    ),
)


def _select_algorithms() -> sa.Select[Any]:
    """Return the statement that selects the algorithms with due tasks, unless paused, and their highest priority."""

    def next_one(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
        query = sa.select(tasks.c.algorithm).where(_IS_PENDING, *conditions)
        return query.order_by(tasks.c.algorithm).limit(1).scalar_subquery()

    names = sa.select(next_one().label("algorithm")).cte("names", recursive=True)
    names = names.union_all(
        sa.select(next_one(tasks.c.algorithm > names.c.algorithm)).where(names.c.algorithm.is_not(None))
    )
    highest = (
        sa.select(tasks.c.priority)
        .where(_IS_DUE, tasks.c.algorithm == names.c.algorithm)
        .order_by(tasks.c.priority.desc())
        .limit(1)
        .scalar_subquery()
    )
    paused = sa.select(paused_algorithms.c.algorithm)
    return sa.select(names.c.algorithm, highest).where(names.c.algorithm.is_not(None), names.c.algorithm.not_in(paused))


def _select_owners() -> sa.Select[Any]:
    """Return the statement that selects the owners of an algorithm's due tasks of one priority, after a given one."""
    due = (_IS_DUE, tasks.c.algorithm == _ALGORITHM, tasks.c.priority == _PRIORITY)

    def next_one(start: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
        query = sa.select(tasks.c.owner).where(*due, tasks.c.owner > start)
        return query.order_by(tasks.c.owner).limit(1).scalar_subquery()

    first: sa.BindParameter[str] = sa.bindparam("_after")
    owners = sa.select(next_one(first).label("owner"), sa.literal(1).label("number")).cte("owners", recursive=True)
    more = sa.and_(owners.c.owner.is_not(None), owners.c.number < sa.bindparam("_count", type_=sa.Integer))
    owners = owners.union_all(sa.select(next_one(owners.c.owner), owners.c.number + 1).where(more))
    return sa.select(owners.c.owner).where(owners.c.owner.is_not(None))


def _select_oldest() -> sa.CompoundSelect[Any]:
    """Return the statement that selects the oldest due tasks of several owners, each up to a number."""
    arms = []
    for number in range(_ARMS):
        oldest = (
            sa.select(*_COLUMNS)
            .where(
                _IS_DUE,
                tasks.c.algorithm == sa.bindparam(f"_algorithm{number}", type_=sa.String),
                tasks.c.priority == _PRIORITY,
                tasks.c.owner == sa.bindparam(f"_owner{number}", type_=sa.String),
            )
            .order_by(tasks.c.created_at)
            .limit(sa.bindparam(f"_limit{number}", type_=sa.Integer))
            .with_for_update(skip_locked=True)
            .subquery()
        )
        arms.append(sa.select(oldest))
    return sa.union_all(*arms)


_SELECT_ALGORITHMS = _select_algorithms()
_SELECT_OWNERS = _select_owners()
_SELECT_OLDEST = _select_oldest()
_SELECT_SOME = (
    sa.select(*_COLUMNS)
    .where(_IS_DUE, tasks.c.algorithm.in_(sa.bindparam("_algorithms", expanding=True)))
    .limit(sa.bindparam("_limit", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_SELECT_RUNNING = (
    sa.select(tasks.c.owner, sa.func.count())
    .where(tasks.c.status == sa.literal(IN_PROGRESS, literal_execute=True))
    .group_by(tasks.c.owner)
)
_SELECT_RUNNING_OF = _SELECT_RUNNING.where(tasks.c.algorithm.in_(sa.bindparam("_algorithms", expanding=True)))
_UPDATE_DISPATCHED = (
    tasks.update().where(tasks.c.job_id.in_(sa.bindparam("_jobs", expanding=True))).values(dispatched_at=now())
)


class TaskQueue:
    """Queued tasks in a database. Not thread-safe: only the dispatcher's thread uses it.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_served: dict[Collection[str] | None, str] = {}

    def fetch_due(self, limit: int, *, algorithms: tuple[str, ...] | None = None, redispatch_after: float) -> list[str]:
        """Return queued tasks that were not dispatched recently, in the order of their turns, and mark them.

        The highest priority is first. Users with tasks of the same priority take turns, fewest running tasks first.
        The tasks of a user are in the order of their submission.

        Args:
            limit: Maximum number.
            algorithms: Only tasks of these algorithms, whose workers the users share; None for all.
            redispatch_after: Seconds after which a task that was dispatched, but not claimed, is dispatched again.
        """

        def fetch(connection: sa.Connection) -> list[str]:
            last = self._last_served.get(algorithms, "")
            fetching = _DueTasks(connection, algorithms, limit, redispatch_after, last)
            found = fetching.run()
            self._last_served[algorithms] = fetching.last_served
            return found

        return self._database.write(fetch) if limit > 0 else []

    def find_dispatched(self, algorithms: Collection[str], *, since: float) -> list[str]:
        """Return those of the given algorithms that have a task which was dispatched, but not claimed.

        Args:
            algorithms: Names of algorithms.
            since: Only tasks dispatched at or after this time of the database's clock.
        """
        # One index lookup per algorithm. DISTINCT would read all queued tasks: neither database skips in an index scan.
        queries = [
            sa.select(sa.literal(name)).where(
                sa.exists().where(_IS_PENDING, tasks.c.algorithm == name, tasks.c.dispatched_at >= since)
            )
            for name in algorithms
        ]
        if not queries:
            return []
        with self._database.read() as connection:
            return list(connection.execute(sa.union_all(*queries)).scalars())


class _DueTasks:
    """One call of `TaskQueue.fetch_due`, in a transaction."""

    def __init__(
        self,
        connection: sa.Connection,
        algorithms: Collection[str] | None,
        limit: int,
        again_after: float,
        last_served: str,
    ) -> None:
        self._connection = connection
        self._algorithms = algorithms
        self._limit = limit
        self._again_after = again_after
        self._running: Counter[str] = Counter()
        self.last_served = last_served

    def run(self) -> list[str]:
        """Return the tasks, and mark them as dispatched."""
        priorities = self._priorities()
        if not priorities:
            return []
        some = self._execute(_SELECT_SOME, _algorithms=list(priorities), _limit=self._limit + 1).all()
        running = _SELECT_RUNNING if self._algorithms is None else _SELECT_RUNNING_OF
        self._running.update(dict(rows.pairs(self._execute(running, _algorithms=list(self._algorithms or ())))))
        return self._take_shares(priorities) if len(some) > self._limit else self._take(some)

    def _take_shares(self, priorities: dict[str, int]) -> list[str]:
        """Take as many of the due tasks as the limit allows, priority by priority."""
        taken: list[str] = []
        while priorities and len(taken) < self._limit:
            priority = max(priorities.values())
            names = [name for name, highest in priorities.items() if highest == priority]
            more = self._take(self._shares(names, priority, self._limit - len(taken)))
            if not more:
                # Another service is dispatching them.
                break
            taken += more
            if len(taken) < self._limit:
                # Some owners had fewer tasks than their share, or the priority has few tasks.
                priorities = self._priorities()
        return taken

    def _shares(self, names: Sequence[str], priority: int, limit: int) -> list[Any]:
        """Return the rows of the oldest tasks of each owner, each up to its share."""
        # At most this many are passed over because they have running tasks.
        waiting = self._owners(names, priority, limit + len(self._running))
        order = fairness.after(self.last_served, waiting)
        shares = Counter(fairness.turns(limit, dict.fromkeys(order, limit), self._running))
        wanted = [(name, owner, count) for owner, count in shares.items() for name in waiting[owner]]
        oldest: dict[str, list[Any]] = {owner: [] for owner in shares}
        for row in self._oldest(wanted, priority):
            oldest[row.owner].append(row)
        return [row for owner, found in oldest.items() for row in sorted(found, key=_by_age)[: shares[owner]]]

    def _take(self, found: Sequence[Any]) -> list[str]:
        """Mark tasks as dispatched, and return them in the order of their turns."""
        order = [
            job_id
            for priority in sorted({row.priority for row in found}, reverse=True)
            for job_id in self._in_turn([row for row in found if row.priority == priority])
        ]
        if order:
            self._execute(_UPDATE_DISPATCHED, _jobs=order)
        return order

    def _in_turn(self, found: Sequence[Any]) -> Iterator[str]:
        """Yield the tasks of one priority in the order of their turns, and count them as running."""
        queues: dict[str, deque[str]] = {}
        for row in sorted(found, key=_by_age):
            queues.setdefault(row.owner, deque()).append(row.job_id)
        waiting = {owner: len(queues[owner]) for owner in fairness.after(self.last_served, queues)}
        for owner in fairness.turns(len(found), waiting, self._running):
            self._running[owner] += 1
            self.last_served = owner
            yield queues[owner].popleft()

    def _priorities(self) -> dict[str, int]:
        """Return the highest priority of the due tasks of each algorithm."""
        return {
            name: priority
            for name, priority in rows.pairs(self._execute(_SELECT_ALGORITHMS))
            if priority is not None and (self._algorithms is None or name in self._algorithms)
        }

    def _owners(self, names: Sequence[str], priority: int, count: int) -> dict[str, list[str]]:
        """Return the next owners of the round robin, at least `count` if there are as many, with their algorithms."""
        found: dict[str, list[str]] = {}
        for name in names:
            known: dict[str, None] = {}
            for start in (self.last_served, ""):
                if len(known) < count:
                    values = {"_algorithm": name, "_priority": priority, "_after": start, "_count": count}
                    known |= dict.fromkeys(self._execute(_SELECT_OWNERS, **values).scalars())
            for owner in known:
                found.setdefault(owner, []).append(name)
        return found

    def _oldest(self, wanted: Sequence[tuple[str, str, int]], priority: int) -> Iterator[Any]:
        for start in range(0, len(wanted), _ARMS):
            values: dict[str, Any] = {"_priority": priority}
            for number in range(_ARMS):
                name, owner, limit = wanted[start + number] if start + number < len(wanted) else ("", "", 0)
                values |= {f"_algorithm{number}": name, f"_owner{number}": owner, f"_limit{number}": limit}
            yield from self._execute(_SELECT_OLDEST, **values)

    def _execute(self, statement: Any, **values: Any) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, {"_again_after": self._again_after, **values})


def _by_age(row: Any) -> float:
    return float(row.created_at)
