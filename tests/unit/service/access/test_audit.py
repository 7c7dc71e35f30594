"""callback_sdk.service.access.audit"""

from __future__ import annotations

import logging

import pytest

from callback_sdk.service.access import audit
from callback_sdk.service.access.audit import AuditLog
from callback_sdk.service.access.caller import Caller
from callback_sdk.service.store import Store
from callback_sdk.service.store.audit import AuditFilter
from callback_sdk.service.store.models import OPERATOR, User

OTTO = Caller(
    user=User(user_id="o", name="otto", token_generation=0, disabled=False, created_at=0.0, role=OPERATOR),
    via="api",
    address="192.0.2.1",
)


def test_an_entry_is_stored_and_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Whole in the database; escaped and shortened in the log."""
    caplog.set_level(logging.INFO)
    log = AuditLog(store.audit)
    log.record_action(
        "redelivered", OTTO, owner="anna", job_id="1", delivery_ids=["a", "b"], note="x\ny" * 100, empty=None
    )
    (entry,) = store.audit.page(AuditFilter(), limit=9)
    assert (entry.actor, entry.owner, entry.job_id, entry.via) == ("otto", "anna", "1", "api")
    assert entry.address == "192.0.2.1"
    assert entry.facts == {"delivery_ids": ["a", "b"], "note": "x\ny" * 100}
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "redelivered user=otto owner=anna job_id=1 via=api address=192.0.2.1 delivery_ids=2 note=x\\nyx\\ny"
    )
    assert len(record.note) < 300  # type: ignore[attr-defined]


def test_failed_logins_are_only_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Strangers cause them, and could fill the database."""
    AuditLog(store.audit).record("login-failed", None, address="192.0.2.1", wait=0)
    assert store.audit.page(AuditFilter(), limit=9) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_repeated_view_is_one_entry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the interval has passed; another task, action or user is another entry."""
    moment = [0.0]
    monkeypatch.setattr(audit.time, "monotonic", lambda: moment[0])
    log = AuditLog(store.audit)
    for _ in range(3):
        log.record_view("task-viewed", OTTO, owner="anna", job_id="1")
    log.record_view("logs-viewed", OTTO, owner="anna", job_id="1")
    log.record_view("task-viewed", OTTO, owner="anna", job_id="2")
    moment[0] = audit.REPEAT_INTERVAL
    log.record_view("task-viewed", OTTO, owner="anna", job_id="1")
    entries = store.audit.page(AuditFilter(), limit=9)
    assert [(entry.action, entry.job_id) for entry in reversed(entries)] == [
        ("task-viewed", "1"),
        ("logs-viewed", "1"),
        ("task-viewed", "2"),
        ("task-viewed", "1"),
    ]


def test_remembered_views_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten, and recorded again."""
    monkeypatch.setattr(audit, "_MAX_REMEMBERED", 2)
    log = AuditLog(store.audit)
    for job_id in ("1", "2", "3", "1"):
        log.record_view("task-viewed", OTTO, job_id=job_id)
    assert len(store.audit.page(AuditFilter(), limit=9)) == 4
