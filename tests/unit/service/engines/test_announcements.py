"""callback_sdk.service.engines.announcements"""

from __future__ import annotations

from collections.abc import Sequence

from callback_sdk.redaction import Secret
from callback_sdk.service.engines.announcements import Announcer
from callback_sdk.service.store import Store
from tests.topology import wait_until

State = tuple[str, bool, "str | None"]


def test_changes_are_stored_until_the_worker_ends(store: Store, database_url: Secret[str]) -> None:
    """Names are unique among machines, and problems have no credentials."""
    states: Sequence[State] = [
        ("compute-0", True, None),
        ("compute-1", False, "no model at https://u:pw@example.org/m"),
    ]

    def stored() -> list[tuple[str, str, str | None]]:
        return [(one.name.split()[-1], one.status, one.problem) for one in store.worker_states.current()]

    announcer = Announcer(database_url, lambda: states)
    announcer.start()
    try:
        wait_until(lambda: len(stored()) == 2)
        assert stored()[0] == ("compute-0", "loading", None)
        assert stored()[1][:2] == ("compute-1", "failed")
        assert "no model at" in str(stored()[1][2])
        assert "pw" not in str(stored()[1][2])
        states = [("compute-0", False, None)]
        wait_until(lambda: ("compute-0", "ready", None) in stored())
    finally:
        announcer.close()
    assert ("compute-0", "ready", None) not in stored()
