"""What an outbox has open in one process: the connection, the lock of its claims, and the threads that send."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from attrs import define, evolve

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.document import encode
from callback_sdk.models import JobResult
from callback_sdk.outbox.database import OutboxDatabase
from callback_sdk.outbox.entries import PENDING, NewDelivery, StoredResults
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.new_deliveries import DeliveryPlanner
from callback_sdk.outbox.open_jobs import OpenJobs
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.sender import OutboxSender
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.transport.retry import SERVICE_DELAYS
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.failures import loggable_text
from callback_sdk.writer.writer import attempts_of

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = timedelta(seconds=10)
"""Maximum duration of attempts that are still running when `run` or `close` is about to return."""


_WAIT_INTERVAL = 0.1
"""Seconds between checks for due deliveries while a caller waits for the end of some."""


@define(frozen=True, kw_only=True)
class Profile:
    """How an outbox stores and sends.

    Attributes:
        durable: Whether what was stored survives a power failure, and not only the death of the process.
        delays: Delays between the attempts of a delivery.
        waits: Whether `write` waits until no delivery is pending, and not only for the first attempt at each.
    """

    durable: bool = True
    delays: tuple[timedelta, ...] = SERVICE_DELAYS
    waits: bool = False


@define(frozen=True, kw_only=True)
class OutboxState:
    """Connection, lock and threads of one process."""

    database: OutboxDatabase
    store: OutboxStore
    open_jobs: OpenJobs
    files: ResultFiles
    owner: ClaimOwner
    writer: ResultsWriter
    sender: OutboxSender
    planner: DeliveryPlanner

    @classmethod
    def open(cls, path: Path, writer: ResultsWriter | None, profile: Profile, *, create: bool) -> OutboxState:
        folder = folder_of(path)
        database = OutboxDatabase(path, folder, create=create, durable=profile.durable)
        owner, files = ClaimOwner(folder), ResultFiles(folder)
        store = OutboxStore(database, owner.name)
        writer = writer or ResultsWriter()
        return cls(
            database=database,
            store=store,
            open_jobs=OpenJobs(database),
            files=files,
            owner=owner,
            writer=writer,
            sender=OutboxSender(store=store, files=files, writer=attempts_of(writer), delays=profile.delays),
            planner=DeliveryPlanner(attempts_of(writer), store),
        )

    def close(self, *, own_writer: bool, timeout: timedelta | None = None) -> None:
        self.sender.shut_down(SHUTDOWN_TIMEOUT if timeout is None else timeout)
        try:
            self.sender.save_pending_outcomes()
        except uninterrupted(Exception) as error:
            logger.error("outcomes can't be stored: %s", loggable_text(error))
        self.sender.close()
        self.owner.close()
        self.database.close()
        if own_writer:
            self.writer.close()

    def replace_target(self, delivery_id: str, given: Secret[Any]) -> None:
        """Replace the target of a delivery, and remove the credentials of the old one from the file."""
        (callback,) = map(as_read_back, required_callbacks(Secret([given.reveal()])))
        target = attempts_of(self.writer).plan(callback)
        target.check(now=datetime.now(timezone.utc))
        self.store.replace(delivery_id, target, attempts_of(self.writer).plan)
        # Until it is overwritten, the write-ahead log has them too.
        self.database.checkpoint()

    def add_and_send(
        self,
        result: JobResult,
        new_deliveries: Sequence[NewDelivery],
        stored: StoredResults,
        nulls_written: int,
        object_url: str | None,
        ends: str | None,
        *,
        send: bool,
        on_stored: Callable[[], object] | None = None,
    ) -> tuple[bool, dict[str, Receipt | Exception]]:
        """Store deliveries, and make one attempt at each if `send`; return whether any was new, and the outcomes.

        `on_stored` is called between.
        """
        if not new_deliveries and ends is None:
            return False, {}
        job = evolve(result, results=None, outputs=None)
        facts: dict[str, Any] = {"nulls_written": nulls_written, "object_url": object_url, "ends": ends, "claim": send}
        new, claims = self.store.add(job, new_deliveries, stored, **facts)
        return new, self.sender.send(claims, before=on_stored)

    def wait_for(self, ids: Sequence[str]) -> None:
        """Send what is due until none of some deliveries is pending."""
        while True:
            ended = self.sender.ended
            self.send_due()
            if all(entry.status != PENDING for entry in self.store.entries(ids=ids)):
                return
            self.sender.wait_for_end(ended, _WAIT_INTERVAL)

    def reclaim_claims(self) -> None:
        """Release the claims of processes that have ended."""
        for owner in self.store.reclaim(self.owner.is_gone, self.sender.sending()):
            logger.warning("claims of a process that has ended are released; its deliveries are due again")
            self.owner.remove_lock_file(owner)

    def send_due(self) -> None:
        """Start attempts at due deliveries up to the number of free slots."""
        self.sender.save_pending_outcomes()
        self.reclaim_claims()
        self.owner.acquire_lock()
        self.sender.start_due()

    def clean_up(self, receipt_retention: float) -> int:
        """Delete old receipts, and files that killed processes have left."""
        count = self.store.purge(time.time() - receipt_retention)
        # The names are listed first: a file that is created later belongs to a commit that follows this list.
        names = self.files.names()
        self.files.sweep(names, self.store.files())
        self.owner.sweep(keep=self.open_jobs.owners())
        # Deleted credentials would stay in the write-ahead log until it is overwritten.
        self.database.checkpoint()
        return count


def folder_of(path: Path) -> Path:
    """Return the directory of the large results and the lock files of an outbox."""
    return path.with_name(f"{path.name}-files")


def as_read_back(callback: Callback) -> Callback:
    """Return a callback after a round trip through JSON, so that the first attempt sends the same bytes as retries."""
    return evolve(callback, param=json.loads(encode(callback.param, path="callback_param", only_finite=True).data))
