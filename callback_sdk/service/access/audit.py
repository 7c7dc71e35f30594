"""The audit log: logins, changes of accounts, and what operators do with the tasks of other users.

Entries are stored in the database, and logged by the logger `callback_sdk.service.access.audit`. They contain no
credentials, and external values are escaped in the log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from callback_sdk.service.access.caller import Caller
from callback_sdk.service.store.audit import AuditStore

_log = logging.getLogger(__name__)

Action = Literal[
    "login",
    "login-failed",
    "logout",
    "refresh-token-reused",
    "token-created",
    "tokens-revoked",
    "password-changed",
    "role-changed",
    "user-added",
    "user-disabled",
    "user-enabled",
    "tasks-listed",
    "deliveries-listed",
    "task-viewed",
    "logs-viewed",
    "results-read",
    "task-canceled",
    "redelivered",
    "target-replaced",
    "signing-secret-created",
    "signing-secret-revoked",
    "algorithm-paused",
    "algorithm-resumed",
    "host-paused",
    "host-resumed",
    "host-limited",
]

_WARNINGS = frozenset({"login-failed", "refresh-token-reused"})

_ONLY_LOGGED = frozenset({"login-failed"})
"""Not stored: strangers could fill the database."""

_MAX_LENGTH = 128
"""Maximum logged characters of a value."""

REPEAT_INTERVAL = 600.0
"""Seconds in which a repeated view of the same thing by the same user has no entry: pages refresh themselves."""

_MAX_REMEMBERED = 10_000


class AuditLog:
    """Records what users do, for operators and auditors.

    Args:
        store: Stores the entries; None to log them only.
    """

    def __init__(self, store: AuditStore | None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._viewed: OrderedDict[tuple[str | None, ...], float] = OrderedDict()

    def record(
        self,
        action: Action,
        actor: str | None,
        *,
        owner: str | None = None,
        job_id: str | None = None,
        via: str | None = None,
        address: str | None = None,
        **facts: Any,
    ) -> None:
        """Record an event.

        Args:
            action: Name of the event.
            actor: Name of the user who acted; None for commands on the machine of the service, and for an account that
                doesn't exist, as the name may be a password typed into the wrong field.
            owner: Name of the user whose task or account it was.
            job_id: The task.
            via: `"api"`, `"pages"`, `"command"` or `"serve"`.
            address: The client's address.
            **facts: Further facts that JSON can hold, without credentials; those that are None are omitted.

        Raises:
            StoreUnavailableError: The entry can't be stored. It was logged.
        """
        known = {name: value for name, value in facts.items() if value is not None}
        _write(action, {"user": actor, "owner": owner, "job_id": job_id, "via": via, "address": address, **known})
        if self._store is not None and action not in _ONLY_LOGGED:
            row = {"action": action, "actor": actor, "owner": owner, "job_id": job_id, "via": via, "address": address}
            self._store.add([row | {"facts": known}])

    def record_action(
        self, action: Action, caller: Caller, *, owner: str | None = None, job_id: str | None = None, **facts: Any
    ) -> None:
        """Record what a caller did; see `record`."""
        who = {"via": caller.via, "address": caller.address}
        self.record(action, caller.user.name, owner=owner, job_id=job_id, **who, **facts)

    def record_view(
        self, action: Action, caller: Caller, *, owner: str | None = None, job_id: str | None = None
    ) -> None:
        """Record that a caller saw something; repeated views within `REPEAT_INTERVAL` are recorded once."""
        key, moment = (action, caller.user.user_id, owner, job_id), time.monotonic()
        with self._lock:
            before = self._viewed.get(key)
            if before is not None and moment - before < REPEAT_INTERVAL:
                return
        self.record_action(action, caller, owner=owner, job_id=job_id)
        # Afterwards: a view that could not be recorded was not seen, and is recorded when it is repeated.
        with self._lock:
            self._viewed[key] = moment
            self._viewed.move_to_end(key)
            if len(self._viewed) > _MAX_REMEMBERED:
                self._viewed.popitem(last=False)


def _write(action: Action, values: Mapping[str, Any]) -> None:
    shown = {name: _escape(value) for name, value in values.items() if value is not None}
    level = logging.WARNING if action in _WARNINGS else logging.INFO
    text = " ".join(f"{name}={value}" for name, value in shown.items())
    _log.log(level, "%s %s", action, text, extra={"action": action, **shown})


def _escape(value: Any) -> str | float:
    """Escape a value against log injection: line ends, forged records and terminal escape sequences."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        # The stored entry has all of them.
        return len(value)
    return ascii(value[:_MAX_LENGTH])[1:-1] if isinstance(value, str) else value
