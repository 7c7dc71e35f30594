"""Targets that subscribe to events of their tasks: who gets which event, and whether one may be sent now."""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa

from callback_sdk.concurrency.circuit import DEFAULT_POLICY, HostPolicy
from callback_sdk.errors import TargetError
from callback_sdk.service.store import host_gates, rows
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import DELIVERY_PENDING, SKIPPED, Submission
from callback_sdk.service.store.tables import deliveries, hosts, tasks
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.members import COMPLETED, DEFAULT_EVENTS, FAILED, PROGRESS, STARTED, SUCCEEDED

EVENTS = "events"
"""The option of tasks with targets that subscribe to other events than the default."""

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_SELECT_SUBSCRIBED = (
    sa.select(deliveries.c.encrypted_target, deliveries.c.events)
    .where(
        deliveries.c.job_id == _JOB_ID,
        sa.or_(deliveries.c.events.contains(STARTED), deliveries.c.events.contains(PROGRESS)),
    )
    .order_by(deliveries.c.position)
)
_SELECT_STATE = sa.select(
    sa.exists()
    .where(
        tasks.c.job_id == _JOB_ID,
        tasks.c.status == sa.bindparam("_status"),
        tasks.c.attempt == sa.bindparam("_attempt"),
    )
    .label("has_claim"),
    sa.exists().where(hosts.c.host == sa.bindparam("_host")).label("host_is_known"),
)


def is_subscribed(submission: Submission) -> bool:
    """Return whether a target of a task subscribes to other events than the default."""
    return any(target.events != DEFAULT_EVENTS for target in submission.targets)


def may_be_skipped(submission: Submission) -> bool:
    """Return whether a target of a task isn't sent each result."""
    return not all(target.takes_result(success=success) for target in submission.targets for success in (True, False))


def columns(target: Callback) -> dict[str, Any]:
    """Return the columns of a delivery that say what is sent to its target."""
    takes_result = target.takes_result(success=True) or target.takes_result(success=False)
    return {
        "events": target.stored_events,
        "status": DELIVERY_PENDING if takes_result else SKIPPED,
    }


def skip_unwanted(connection: sa.Connection, job_id: str, *, success: bool) -> None:
    """Skip the deliveries of a task whose targets don't subscribe to its outcome, in the transaction that ends it."""
    wanted, unwanted = (SUCCEEDED, FAILED) if success else (FAILED, SUCCEEDED)
    events = deliveries.c.events
    connection.execute(
        deliveries.update()
        .where(
            deliveries.c.job_id == job_id,
            deliveries.c.status == DELIVERY_PENDING,
            events.contains(unwanted),
            sa.not_(sa.or_(events.contains(wanted), events.contains(COMPLETED))),
        )
        .values(status=SKIPPED)
    )


class SubscriptionStore:
    """The subscriptions in a database.

    Args:
        database: The database.
        cipher: Decrypts the targets.
        policy: Circuits and limits of their hosts.
    """

    def __init__(self, database: Database, cipher: CredentialCipher, policy: HostPolicy = DEFAULT_POLICY) -> None:
        self._database = database
        self._cipher = cipher
        self._policy = policy

    def of(self, job_id: str) -> list[Callback]:
        """Return the targets of a task that subscribe to events before its end, without those no key opens."""
        found = []
        with self._database.read() as connection:
            for encrypted, events in connection.execute(_SELECT_SUBSCRIBED, {"_job": job_id}):
                with contextlib.suppress(CredentialCipherError, TargetError):
                    found.append(rows.callback(encrypted, events, self._cipher))
        return found

    def may_send(self, job_id: str, attempt: int, origin: str, *, status: str, sending: int) -> bool:
        """Return whether an event of a run may be sent to a host now.

        It may not once another run has the claim or the task was canceled, and while the host is paused, fails, has no
        free slot, or results wait for it. A rate limit counts the event.

        Args:
            job_id: The task.
            attempt: The run.
            origin: Scheme, host and port of the target.
            status: The status that the run has given the task.
            sending: Events that this process is sending to the host.
        """
        values = {"_job": job_id, "_attempt": attempt, "_status": status, "_host": origin}
        with self._database.read() as connection:
            state = connection.execute(_SELECT_STATE, values).one()
        if not state.has_claim:
            return False
        if not state.host_is_known and not self._policy.limits:
            return True
        return self._database.write(lambda one: host_gates.admits_event(one, origin, self._policy, sending=sending))
