"""tests.balance"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.balance import SLOW, balanced, file_below

TESTS = Path(__file__).parents[1]


def test_each_slow_file_exists() -> None:
    """A file that is renamed is renamed here too."""
    assert [name for name in SLOW if not (TESTS / name).is_file()] == []


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 40, 1000])
def test_every_test_runs_once(workers: int, count: int) -> None:
    """For any number of workers, even more than tests."""
    items = [(SLOW[number] if number < len(SLOW) else "unit/test_x.py", number) for number in range(count)]
    assert sorted(balanced(items, workers)) == list(range(count))


def test_each_worker_begins_with_slow_tests_and_ends_with_quick_ones() -> None:
    """Each has about as many slow ones as any other."""
    items = [(name, name) for name in SLOW] + [
        ("unit/test_x.py", f"quick {number}") for number in range(300 - len(SLOW))
    ]
    order = balanced(items, 3)
    for part in (order[:100], order[100:200], order[200:]):
        slow = sum(name in SLOW for name in part)
        assert len(SLOW) // 3 <= slow <= len(SLOW) // 3 + 1
        assert [name in SLOW for name in part] == [True] * slow + [False] * (100 - slow)
    assert order[0] == SLOW[0]
    assert order[100] == SLOW[1]


def test_files_are_named_below_the_tests() -> None:
    """A file elsewhere, such as one that a plugin collects, keeps its whole path."""
    assert file_below(TESTS / "unit" / "test_x.py", TESTS) == "unit/test_x.py"
    assert file_below(Path("/elsewhere/test_y.py"), TESTS) == "/elsewhere/test_y.py"
