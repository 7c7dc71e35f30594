"""The inbox: results on disk until they are handled."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.receivers import BucketObject, Inbox, ReceivedResult, SQLiteIds, read_result


def result(job_id: str, **options: Any) -> ReceivedResult:
    members = {"job_id": job_id, "status": "Finished", "callback_param": {"a": 1}, "success": True, "results": [1.5]}
    return read_result(json.dumps(members).encode(), delivery_id=f"msg_{job_id}", **options)


def test_a_stored_result_is_handled_in_another_process(tmp_path: Path) -> None:
    """Or in this one after a restart; it is equal to what was received."""
    stored = result("42", bucket_object=BucketObject(bucket="b", key="k", version_id="v"))
    Inbox(tmp_path / "inbox").put(stored)
    found: list[ReceivedResult] = []
    inbox = Inbox(tmp_path / "inbox")
    assert inbox.pending() == 1
    assert inbox.handle_next(found.append)
    assert found == [stored]
    assert (inbox.pending(), inbox.handle_next(found.append)) == (0, False)


def test_results_are_handled_in_their_order(tmp_path: Path) -> None:
    """The oldest first."""
    inbox, found = Inbox(tmp_path / "inbox"), []
    for number in range(5):
        inbox.put(result(str(number)))
    while inbox.handle_next(lambda one: found.append(one.job_id)):
        pass
    assert found == ["0", "1", "2", "3", "4"]


def test_a_copy_of_a_pending_result_is_stored_once(tmp_path: Path) -> None:
    """The sender may repeat a delivery before it is handled."""
    inbox = Inbox(tmp_path / "inbox")
    for _ in range(3):
        inbox.put(result("42"))
    assert inbox.pending() == 1


def test_a_result_whose_handler_failed_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is due again after a pause, which doesn't hold up the others."""
    inbox, found = Inbox(tmp_path / "inbox"), []
    inbox.put(result("1"))
    inbox.put(result("2"))

    def handle(one: ReceivedResult) -> None:
        found.append(one.job_id)
        if one.job_id == "1":
            raise RuntimeError("not now")

    while inbox.handle_next(handle):
        pass
    assert found == ["1", "2"]
    assert "not now" in caplog.text
    assert "the next attempt is in 5 s" in caplog.text
    assert inbox.pending() == 1
    _make_due(tmp_path / "inbox")
    assert inbox.handle_next(handle)
    assert "the next attempt is in 10 s" in caplog.text


def test_pauses_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However often the handler has failed."""
    inbox = Inbox(tmp_path / "inbox")
    inbox.put(result("1"))
    for _ in range(15):
        _make_due(tmp_path / "inbox")
        assert inbox.handle_next(lambda one: 1 / 0)
    assert "the next attempt is in 3600 s" in caplog.records[-1].getMessage()


def test_an_interrupted_result_is_due_at_once(tmp_path: Path) -> None:
    """Ctrl-C while its handler runs is no failure of it."""
    inbox, found = Inbox(tmp_path / "inbox"), []

    def interrupt(one: ReceivedResult) -> None:
        raise KeyboardInterrupt

    inbox.put(result("1"))
    with pytest.raises(KeyboardInterrupt):
        inbox.handle_next(interrupt)
    assert inbox.handle_next(lambda one: found.append(one.job_id))
    assert found == ["1"]


def test_a_result_is_handled_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Until the lease of one that died is over."""
    inbox, found = Inbox(tmp_path / "inbox"), []
    inbox.put(result("1"))
    assert inbox.handle_next(lambda one: found.append(inbox.handle_next(print)))
    assert found == [False]
    short = Inbox(tmp_path / "inbox", lease=0.001)
    short.put(result("2"))
    assert short._claim() is not None  # by a process that dies
    while not short.handle_next(lambda one: found.append(one.job_id)):
        pass
    assert found == [False, "2"]


def test_the_loop_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """After the current result; the others stay."""
    inbox, stop = Inbox(tmp_path / "inbox"), threading.Event()
    inbox.put(result("1"))
    inbox.put(result("2"))
    inbox.run(lambda one: stop.set(), stop=stop)
    assert inbox.pending() == 1


def test_the_file_is_private_and_its_own(tmp_path: Path) -> None:
    """It contains results."""
    Inbox(tmp_path / "inbox")
    assert stat.S_IMODE((tmp_path / "inbox").stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="something else"):
        SQLiteIds(tmp_path / "inbox")


def _make_due(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET due_at = 0")
    connection.close()
