"""tests.balance"""

from __future__ import annotations

from pathlib import Path

from tests.balance import SLOW, file_below, slow_first

TESTS = Path(__file__).parents[1]


def test_each_slow_file_exists() -> None:
    """A file that is renamed is renamed here too, and each has one place."""
    assert [name for name in SLOW if not (TESTS / name).is_file()] == []
    assert len(set(SLOW)) == len(SLOW)


def test_slow_files_come_first() -> None:
    """The slowest one first; other tests, and those of one file, keep their order."""
    items = [("unit/test_b.py", "b1"), (SLOW[1], "slow1"), ("unit/test_a.py", "a"), (SLOW[0], "slow0")]
    items += [("unit/test_b.py", "b2"), (SLOW[1], "slow2")]
    assert slow_first(items) == ["slow0", "slow1", "slow2", "b1", "a", "b2"]


def test_files_are_named_below_the_tests() -> None:
    """A file elsewhere, such as one that a plugin collects, keeps its whole path."""
    assert file_below(TESTS / "unit" / "test_x.py", TESTS) == "unit/test_x.py"
    assert file_below(Path("/elsewhere/test_y.py"), TESTS) == "/elsewhere/test_y.py"
