"""Fair sharing of workers between users: whose task is next. Pure computation."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping


def turns(limit: int, waiting: Mapping[str, int], running: Mapping[str, int]) -> Iterator[str]:
    """Yield the owners of the next tasks: each time the one with the fewest tasks, the first of several.

    Tasks that run count, and not tasks that have run. So users share the workers' time: long runs of one user don't
    occupy all workers while the short ones of another wait.

    Args:
        limit: Maximum number of tasks.
        waiting: Number of queued tasks of each owner, in the order of a round robin.
        running: Number of running tasks of each owner that has some.
    """
    left = dict(waiting)
    heap = [(running.get(owner, 0), position, owner) for position, owner in enumerate(left)]
    heapq.heapify(heap)
    while heap and limit > 0:
        count, position, owner = heap[0]
        limit -= 1
        left[owner] -= 1
        if left[owner] > 0:
            heapq.heapreplace(heap, (count + 1, position, owner))
        else:
            heapq.heappop(heap)
        yield owner


def after(last: str, owners: Collection[str]) -> list[str]:
    """Return owners in the order of a round robin: sorted, first those after the one that was served last.

    Args:
        last: The owner that was served last; empty at the start.
        owners: The owners.
    """
    return sorted(owners, key=lambda owner: (owner <= last, owner))
