"""The queue and the workers over the last hour, from the times of tasks; pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from attrs import define

from callback_sdk.service.store.stats import TaskAges


@define(frozen=True)
class History:
    """Values at the end of each time bucket, oldest first; None where tasks of that time were not read.

    Attributes:
        oldest: Age of the oldest queued task, in seconds; 0 for an empty queue.
        busy: Number of running tasks.
    """

    oldest: Sequence[float | None]
    busy: Sequence[int | None]


def history(found: Sequence[TaskAges], *, bucket_seconds: float, count: int, known_from: float) -> History:
    """Return the history of the queue, in time that is linear in the number of tasks.

    Args:
        found: Open tasks, and the latest ended ones, in any order.
        bucket_seconds: Length of a bucket, in seconds.
        count: Number of buckets.
        known_from: Age of the oldest ended task in `found`, if there are older ones; `math.inf` otherwise.
    """
    moments = [number * bucket_seconds for number in range(count)]
    oldest = _oldest(found, bucket_seconds, count)
    busy = _busy(found, bucket_seconds, count)
    known = [moment <= known_from for moment in moments]
    return History(
        [value if is_known else None for value, is_known in zip(oldest, known, strict=True)][::-1],
        [value if is_known else None for value, is_known in zip(busy, known, strict=True)][::-1],
    )


def _oldest(found: Sequence[TaskAges], bucket_seconds: float, count: int) -> list[float]:
    """Return the age of the oldest queued task by the age of the bucket.

    The oldest task comes first, so each bucket is filled once, by the first task that waited then.
    """
    ages = [0.0] * count
    following = list(range(count + 1))

    def free(number: int) -> int:
        while following[number] != number:
            following[number] = following[following[number]]
            number = following[number]
        return number

    for one in sorted(found, key=lambda one: -one.created):
        first, stop = _buckets(one.created, one.started, bucket_seconds, count)
        number = free(first)
        while number < stop:
            ages[number] = one.created - number * bucket_seconds
            following[number] = number + 1
            number = free(number)
    return ages


def _busy(found: Sequence[TaskAges], bucket_seconds: float, count: int) -> list[int]:
    changes = [0] * (count + 1)
    for one in found:
        if one.started is not None:
            first, stop = _buckets(one.started, one.finished, bucket_seconds, count)
            if first < stop:
                changes[first] += 1
                changes[stop] -= 1
    return list(accumulate(changes))[:count]


def _buckets(start: float, end: float | None, bucket_seconds: float, count: int) -> tuple[int, int]:
    """Return the buckets at whose end a time span had begun and not ended: the first one, and the one after the last.

    Args:
        start: Age of its start, in seconds.
        end: Age of its end; None if it has not ended.
        bucket_seconds: Length of a bucket.
        count: Number of buckets.
    """
    if start < 0:
        return 0, 0
    first = 0 if end is None or end < 0 else int(end // bucket_seconds) + 1
    return min(first, count), min(int(start // bucket_seconds) + 1, count)
