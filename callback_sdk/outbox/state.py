"""What an outbox has open in one process: the connection, the lock of its claims, and the attempts that run."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, evolve

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.document import encode
from callback_sdk.errors import JobEndedError, TargetError
from callback_sdk.models import JobResult
from callback_sdk.outbox.database import OutboxDatabase
from callback_sdk.outbox.entries import PENDING, NewDelivery, OutboxClaim, StoredResults
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.new_deliveries import DeliveryPlanner, object_url
from callback_sdk.outbox.open_jobs import OpenJobs
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.sender import OutboxSender
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.targets.places import Places
from callback_sdk.transport.driver import Background, BackgroundDriver
from callback_sdk.transport.retry import SERVICE_DELAYS
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.delivery import encoded_results
from callback_sdk.writer.failures import loggable_text
from callback_sdk.writer.writer import WriterBase, attempts_of, close_writer

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


@define(frozen=True, kw_only=True, eq=False)
class NewResult:
    """A result before it is stored.

    Attributes:
        job: The outcome of the job, without its results.
        object_url: URL of the object that will contain the results, without a signature.
        stored: Location of the results, whose files are on disk.
        nulls_written: Number of NaN, NaT and infinite values in the results that were written as null.
        deliveries: Its deliveries.
        refusals: Errors of targets that can never receive it.
    """

    job: JobResult
    object_url: str | None
    stored: StoredResults
    nulls_written: int
    deliveries: list[NewDelivery]
    refusals: list[TargetError]

    @property
    def ids(self) -> list[str]:
        """The ids of its deliveries."""
        return [delivery.delivery_id for delivery in self.deliveries]


@define(frozen=True, kw_only=True)
class OutboxState:
    """Connection, lock and attempts of one process. Functions block, and are called by the driver of the coroutines."""

    database: OutboxDatabase
    store: OutboxStore
    open_jobs: OpenJobs
    files: ResultFiles
    owner: ClaimOwner
    writer: WriterBase
    sender: OutboxSender
    planner: DeliveryPlanner
    driver: BackgroundDriver

    @classmethod
    def open(
        cls,
        path: Path,
        make_writer: Callable[[], WriterBase],
        driver: BackgroundDriver,
        profile: Profile,
        *,
        create: bool,
    ) -> OutboxState:
        folder = folder_of(path)
        database = OutboxDatabase(path, folder, create=create, durable=profile.durable)
        owner, files = ClaimOwner(folder), ResultFiles(folder)
        store = OutboxStore(database, owner.name)
        writer = make_writer()
        attempts = attempts_of(writer)
        return cls(
            database=database,
            store=store,
            open_jobs=OpenJobs(database),
            files=files,
            owner=owner,
            writer=writer,
            sender=OutboxSender(store=store, files=files, writer=attempts, driver=driver, delays=profile.delays),
            planner=DeliveryPlanner(attempts, store),
            driver=driver,
        )

    @property
    def attempts(self) -> DeliveryAttempts:
        """The attempts of the writer."""
        return attempts_of(self.writer)

    def close(self, *, own_writer: bool) -> None:
        """Close everything; running attempts can't store their outcomes any more."""
        try:
            self.sender.save_pending_outcomes()
        except uninterrupted(Exception) as error:
            logger.error("outcomes can't be stored: %s", loggable_text(error))
        self.sender.close()
        self.owner.close()
        self.database.close()
        if own_writer:
            close_writer(self.writer)

    def prepare(self, result: JobResult, given: Sequence[Callback], own: Secret[Any]) -> NewResult:
        """Plan the deliveries of a result, and write its files. Nothing remains of it after an error."""
        self.owner.acquire_lock()
        self.reclaim_claims()
        with ExitStack() as stack:
            results, nulls_written = encoded_results(result, stack)
            given = [callback for callback in given if callback.takes_result(success=result.success)]
            targets = [self.planner.plan(callback) for callback in given]
            places = Places.of_documents([target for _, target in targets])
            plan = self.planner.plan_outputs(result, results, own, targets, stack, places)
            stored = self.files.store(results, plan.files if plan else ())
        try:
            deliveries, refusals = self.planner.new_deliveries(result, self.files.body(stored), targets, plan)
            return NewResult(
                job=evolve(result, results=None, outputs=None),
                object_url=object_url(given),
                stored=stored,
                nulls_written=nulls_written,
                deliveries=deliveries,
                refusals=refusals,
            )
        except BaseException:
            self.files.remove(stored.files)
            raise

    async def add_and_send(
        self, new: NewResult, ends: str | None, *, send: bool = True, on_stored: Callable[[], object] | None = None
    ) -> dict[str, Receipt | Exception]:
        """Store deliveries, and make one attempt at each if `send`; return the outcomes by id.

        `on_stored` is called between.

        Raises:
            JobEndedError: The job has ended already; nothing was stored.
        """
        if not new.deliveries and ends is None:
            await self.driver.call(self.files.remove, new.stored.files)
            return {}
        return await self.sender.send(partial(self._add, new, ends, claim=send), before=on_stored)

    def _add(self, new: NewResult, ends: str | None, *, claim: bool) -> list[OutboxClaim]:
        facts: dict[str, Any] = {"nulls_written": new.nulls_written, "object_url": new.object_url, "ends": ends}
        facts["claim"] = claim
        # The files are kept even after an error: a commit that reports an error may still be durable (a full disk, or
        # an I/O error, after the write-ahead log was synced).
        try:
            is_new, claims = self.store.add(new.job, new.deliveries, new.stored, **facts)
        except JobEndedError:
            self.files.remove(new.stored.files)
            raise
        if not is_new:
            self.files.remove(new.stored.files)
        return claims

    def replace_target(self, delivery_id: str, given: Secret[Any]) -> None:
        """Replace the target of a delivery, and remove the credentials of the old one from the file."""
        (callback,) = map(as_read_back, required_callbacks(Secret([given.reveal()])))
        target = self.attempts.plan(callback)
        target.check(now=datetime.now(timezone.utc))
        self.store.replace(delivery_id, target, self.attempts.plan)
        # Until it is overwritten, the write-ahead log has them too.
        self.database.checkpoint()

    async def wait_for(self, ids: Sequence[str]) -> None:
        """Send what is due until none of some deliveries is pending."""
        background = self.driver.background()
        try:
            while True:
                ended = self.sender.ended
                await self.send_due(background)
                entries = await self.driver.call(partial(self.store.entries, ids=ids))
                if all(entry.status != PENDING for entry in entries):
                    return
                await self.sender.wait_for_end(ended, _WAIT_INTERVAL)
        finally:
            await self.sender.end(background, None)

    def reclaim_claims(self) -> None:
        """Release the claims of processes that have ended."""
        for owner in self.store.reclaim(self.owner.is_gone, self.sender.running_ids()):
            logger.warning("claims of a process that has ended are released; its deliveries are due again")
            self.owner.remove_lock_file(owner)

    async def send_due(self, background: Background) -> None:
        """Start attempts at due deliveries up to the number of free slots."""
        await self.driver.call(self._recover)
        await self.sender.start_due(background)

    def _recover(self) -> None:
        self.sender.save_pending_outcomes()
        self.reclaim_claims()
        self.owner.acquire_lock()

    def lost_owners(self) -> list[str]:
        """Return the owners of open jobs whose processes have ended."""
        return [owner for owner in self.open_jobs.owners() if self.owner.has_released(owner)]

    def forget(self, owner: str) -> None:
        """Remove the lock file of a process that has ended, unless it has open jobs."""
        if not self.open_jobs.of(owner):
            self.owner.remove_lock_file(owner)

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
