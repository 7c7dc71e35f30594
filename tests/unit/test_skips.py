"""The summary of skipped tests."""

from __future__ import annotations

import pytest

from tests.conftest import missing_server, skipped_line


def _skipped(reason: str) -> pytest.TestReport:
    longrepr = ("test_x.py", 1, f"Skipped: {reason}")
    return pytest.TestReport("test_x.py::test", ("test_x.py", 1, "test"), {}, "skipped", longrepr, "setup")


def test_missing_programs_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of skipped tests and the installation."""
    monkeypatch.delenv("CI", raising=False)
    reasons = []
    for why in ("RabbitMQ: apt-get install rabbitmq-server", "RabbitMQ: apt-get install rabbitmq-server", "Chromium"):
        with pytest.raises(pytest.skip.Exception) as caught:
            missing_server(why)
        reasons.append(str(caught.value))
    line = skipped_line([_skipped(reason) for reason in [*reasons, "only Linux has /dev/full"]])
    assert line == (
        "3 tests were skipped because a program is missing. 2: RabbitMQ: apt-get install rabbitmq-server; 1: Chromium"
    )


def test_a_run_that_skipped_nothing_says_nothing() -> None:
    """Tests that were skipped for another reason are not counted."""
    assert skipped_line([_skipped("only Linux has /dev/full")]) == ""


def test_a_missing_program_is_a_failure_where_nothing_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI=true a skip would hide that the tests did not run."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="RabbitMQ"):
        missing_server("RabbitMQ")
