"""DeliveryReader: reads the deliveries of tasks, for their users."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.errors import TargetError
from callback_sdk.service.store import rows
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.host_gates import IS_HELD, IS_SCHEDULED
from callback_sdk.service.store.models import DEAD, DELIVERY_PENDING, SKIPPED, DeliveryClaim
from callback_sdk.service.store.tables import deliveries, delivery_attempts
from callback_sdk.service.store.task_places import Plan, TaskPlaces
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import Callback

_OF_TASK = deliveries.c.job_id == sa.bindparam("_job")
_SELECT_OF_TASK = sa.select(deliveries).where(_OF_TASK).order_by(deliveries.c.position)


class DeliveryReader:
    """Reads the deliveries in a database.

    Args:
        database: The database.
        cipher: Decrypts their targets.
    """

    def __init__(self, database: Database, cipher: CredentialCipher) -> None:
        self._database = database
        self._cipher = cipher

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """Return the deliveries of a task without credentials, in the order of its targets.

        `callback_param` has no credentials either, and is None if it can't be decrypted.
        """
        with self._database.read() as connection:
            found = [dict(row) for row in connection.execute(_SELECT_OF_TASK, {"_job": job_id}).mappings()]
        for row in found:
            row["callback_param"] = rows.callback_param(row.pop("encrypted_target"), row["events"], self._cipher)
        return found

    def targets(self, job_id: str) -> dict[str, tuple[str | None, Callback]]:
        """Return the deliveries' output names and targets, with credentials, by id, without those no key opens."""
        columns = (deliveries.c.output_name, deliveries.c.encrypted_target, deliveries.c.events)
        query = sa.select(deliveries.c.delivery_id, *columns)
        found = {}
        with self._database.read() as connection:
            for delivery_id, output, encrypted, events in connection.execute(
                query.where(deliveries.c.job_id == job_id)
            ):
                with contextlib.suppress(CredentialCipherError, TargetError):
                    found[delivery_id] = (output, rows.callback(encrypted, events, self._cipher))
        return found

    def check_files(self, claim: DeliveryClaim, plan: Plan) -> None:
        """Check that no output file below the prefix of a document's target is the object of another delivery.

        Args:
            claim: An attempt at the document.
            plan: Returns the target of a callback.

        Raises:
            OutputError: A file is.
        """
        with self._database.read() as connection:
            TaskPlaces(connection, self._cipher, claim.job_id, plan).check_files(claim.delivery_id)

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Return the attempts of all deliveries of a task, in order."""
        query = (
            sa.select(delivery_attempts)
            .join(deliveries)
            .where(deliveries.c.job_id == job_id)
            .order_by(delivery_attempts.c.number)
        )
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def status_counts(self, job_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the deliveries of several tasks by status."""
        query = sa.select(deliveries.c.job_id, deliveries.c.status, sa.func.count()).group_by(
            deliveries.c.job_id, deliveries.c.status
        )
        found: dict[str, dict[str, int]] = {job_id: {} for job_id in job_ids}
        with self._database.read() as connection:
            for job_id, status, count in connection.execute(query.where(deliveries.c.job_id.in_(job_ids))):
                found[job_id][status] = count
        return found

    def counts(self) -> dict[str, int]:
        """Count the pending deliveries of ended tasks, and the dead ones."""
        waiting = (deliveries.c.status == DELIVERY_PENDING, IS_SCHEDULED)
        # Literally the condition of the partial index: neither database uses it for a condition with a parameter.
        dead = deliveries.c.status == sa.literal(DEAD, literal_execute=True)
        count = sa.select(sa.func.count()).select_from(deliveries)
        with self._database.read() as connection:
            return {
                DELIVERY_PENDING: connection.execute(count.where(*waiting)).scalar_one()
                + connection.execute(count.where(IS_HELD)).scalar_one(),
                DEAD: connection.execute(count.where(dead)).scalar_one(),
            }

    def results_url(self, job_id: str) -> str | None:
        """Return the URL of a task's results without a signature; None if no target is an object store."""
        columns = (deliveries.c.delivery_id, deliveries.c.url, deliveries.c.encrypted_target, deliveries.c.events)
        # A skipped delivery makes no object.
        is_document = (deliveries.c.output_name.is_(None), deliveries.c.status != SKIPPED)
        query = sa.select(*columns).where(deliveries.c.job_id == job_id, *is_document)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(deliveries.c.position)).all()
        urls = (self._object_url(*row) for row in found)
        return next((url for url in urls if url is not None), None)

    def _object_url(self, delivery_id: str, url: str, encrypted: str, events: str | None) -> str | None:
        try:
            callback = rows.callback(encrypted, events, self._cipher)
            return url if callback.is_results else plan(callback).object_url(delivery_id)
        except TargetError:
            # Accepted by an earlier version. Its own delivery fails; those to other targets must not.
            return None
