"""callback_sdk.service.supervision.outages"""

from __future__ import annotations

import logging

import pytest

from callback_sdk.service.engines import EngineError
from callback_sdk.service.supervision.outages import OutageLog, retry_pause

_log = logging.getLogger("test")


def make_log(moments: list[float]) -> OutageLog:
    return OutageLog(_log, failing="Nothing is sent", working="Everything is sent again", clock=lambda: moments[-1])


def test_an_outage_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The first failure, counts of repeats at growing intervals, and the end: 36,000 failures are a dozen lines."""
    moments = [0.0]
    outage = make_log(moments)
    for number in range(36_000):
        moments.append(number / 10)
        assert outage.record_failure(EngineError("The broker is away.")) == number + 1
    outage.record_recovery()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "Nothing is sent: The broker is away."
    assert lines[1] == "Nothing is sent: The broker is away. (99 repeats not logged)"
    assert lines[-1] == "Everything is sent again, after 3600 s and 36000 failures."
    assert len(lines) < 16
    assert not any(record.exc_info for record in caplog.records)


def test_an_outage_after_another_one_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Its first failure is logged at once, and a recovery without an outage isn't."""
    outage = make_log([5.0])
    outage.record_recovery()
    outage.record_failure(EngineError("A."))
    outage.record_recovery()
    outage.record_failure(EngineError("B."))
    assert [record.getMessage() for record in caplog.records] == [
        "Nothing is sent: A.",
        "Everything is sent again, after 0 s and 1 failure.",
        "Nothing is sent: B.",
    ]


def test_another_kind_of_failure_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback the first time, if it is a bug of this package."""
    outage = make_log([5.0])
    for error in (EngineError("A."), EngineError("A."), KeyError("x"), KeyError("y")):
        outage.record_failure(error)
    assert [record.getMessage() for record in caplog.records] == [
        "Nothing is sent: A.",
        "Nothing is sent: KeyError: 'x' (1 repeat not logged)",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_pauses_double_up_to_the_longest() -> None:
    """Half of each is fixed and half is jitter."""
    for failures, whole in [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (10_000, 60.0)]:
        pauses = [retry_pause(failures) for _ in range(50)]
        assert all(whole / 2 <= pause <= whole for pause in pauses)
        assert len(set(pauses)) > 1
