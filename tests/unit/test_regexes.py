"""The package's regular expressions match in linear time, and the detector that says so finds those that don't."""

from __future__ import annotations

import pytest

from tests.checkers import regexes
from tests.checkers.regexes import Pattern
from tests.conftest import missing_server

SLOW = {
    "hosts of Amazon S3": (r"(.+\.)?s3([.-][a-z0-9-]+)*\.amazonaws\.com(\.cn)?", "fullmatch", "exponential"),
    "a key with names of files": ("(?s)a.+a.+a.+a.+a.+a.+a.+b", "fullmatch", "7th degree polynomial"),
    "durations": (r"([0-9]*\.?[0-9]+)\s*([a-z]*)", "fullmatch", "2nd degree polynomial"),
    "queries": (r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+", "sub", "2nd degree polynomial"),
}
"""What the package once had, with recheck's word for it."""


def test_every_slow_pattern_is_found() -> None:
    """Exponential and polynomial ones, also one that was put together at run time, once it is known."""
    if not regexes.has_recheck():
        missing_server(regexes.HOW_TO_GET_IT)
    patterns = [Pattern(name, source, use) for name, (source, use, _) in SLOW.items()]
    found = regexes.problems([*patterns, Pattern("linear", r"<Message>([^<]+)", "search")])
    assert [line.partition(":")[0] for line in found] == [*SLOW]
    for line, (_, _, complexity) in zip(found, SLOW.values(), strict=True):
        assert complexity in line


@pytest.mark.checkout
def test_every_pattern_of_the_package_is_a_literal() -> None:
    """So that `make lint` can check it."""
    found = regexes.find()
    assert len(found) > 20
    assert [pattern.place for pattern in found if pattern.source is None] == []


@pytest.mark.parametrize(
    ("source", "patterns"),
    [
        ("import re\nre.search('a+', x)", [("m:2", "a+", "search")]),
        ("import re\nA = re.compile(b'a+')\nA.fullmatch(x)", [("m:2", "a+", "fullmatch")]),
        ("import re\nA = re.compile('a')\nA.sub(x, A.match(x))", [("m:2", "a", "match"), ("m:2", "a", "sub")]),
        ("import re\nT = {1: re.compile('a')}\nfor p in T: p.match(x)", [("m:2", "a", "match")]),
        ("import re\nf(re.compile('a' 'b'))", [("m:2", "ab", "search")]),
        ("import re\nre.fullmatch('.+'.join(parts), x)", [("m:2", None, "fullmatch")]),
        ("import re\n{n: re.compile(p) for n, p in x}", [("m:2", None, "search")]),
        ("x.search('a+')\nre.escape('a')", []),
    ],
)  # fmt: skip
def test_patterns_are_found_with_their_uses(source: str, patterns: list[tuple[str, str | None, str]]) -> None:
    """The use determines their time; a pattern that isn't a literal can't be checked."""
    found = [(pattern.place, pattern.source, pattern.use) for pattern in regexes.patterns_of(source, "m")]
    assert found == patterns


def test_pattern_that_cannot_be_checked_is_a_problem() -> None:
    """The two that froze the service were put together at run time."""
    (found,) = regexes.problems([Pattern("m:2", None, "fullmatch")])
    assert found.startswith("m:2: ")
    assert "at run time" in found
