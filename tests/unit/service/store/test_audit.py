"""callback_sdk.service.store.audit"""

from __future__ import annotations

from callback_sdk.service.store import Store
from callback_sdk.service.store.audit import AuditFilter


def row(action: str, **more: object) -> dict[str, object]:
    empty = dict.fromkeys(("actor", "owner", "job_id", "via", "address"))
    return {"action": action, **empty, "facts": {}, **more}


def actions(store: Store, **wanted: object) -> list[str]:
    return [entry.action for entry in store.audit.page(AuditFilter(**wanted), limit=9)]


def test_entries_are_found_by_who_whose_what_and_when(store: Store) -> None:
    """The newest come first."""
    store.audit.add([row("login", actor="otto"), row("redelivered", actor="otto", owner="anna", job_id="1")])
    middle = store.clock()
    store.audit.add([row("user-added", owner="bert", facts={"role": "operator"})])
    assert actions(store) == ["user-added", "redelivered", "login"]
    assert actions(store, actor="otto") == ["redelivered", "login"]
    assert actions(store, owner="anna") == ["redelivered"]
    assert actions(store, job_id="1", action="redelivered") == ["redelivered"]
    assert actions(store, since=middle) == ["user-added"]
    assert actions(store, until=middle) == ["redelivered", "login"]
    (entry,) = store.audit.page(AuditFilter(owner="bert"), limit=9)
    assert entry.facts == {"role": "operator"}


def test_pages_continue_before_the_last_entry(store: Store) -> None:
    """Entries of the same moment have an order, too."""
    store.audit.add([row(str(number)) for number in range(5)])
    first = store.audit.page(AuditFilter(), limit=2)
    second = store.audit.page(AuditFilter(), before=first[-1].entry_id, limit=9)
    assert [entry.action for entry in (*first, *second)] == ["4", "3", "2", "1", "0"]


def test_old_entries_are_deleted(store: Store) -> None:
    """Those of the last seconds stay."""
    store.audit.add([row("login")])
    store.audit.delete(older_than=3600)
    assert actions(store) == ["login"]
    store.audit.delete(older_than=-1)
    assert actions(store) == []
