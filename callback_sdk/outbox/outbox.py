"""Outbox: takes results for good, sends them, and goes on after a crash."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import define, evolve

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.documents.body import Body
from callback_sdk.documents.document import encode
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    MultipleDeliveryErrors,
    OutboxError,
    TargetError,
)
from callback_sdk.models import JobResult
from callback_sdk.outbox.database import OutboxDatabase
from callback_sdk.outbox.entries import DEAD, DELIVERED, NewDelivery, OutboxEntry, StoredResults, WriteResult
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.sender import OutboxSender
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.parsing import Duration, path_of, total_seconds
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, clearing_locals, hide, strip_traceback
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.types import CallbackParams, CallbackURLs
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.delivery import encoded_results

logger = logging.getLogger(__name__)

KEEP = timedelta(days=30)
"""How long the receipt of a delivery is kept, unless somebody says otherwise."""

GRACE = timedelta(seconds=10)
"""How long tries that run may still take when `run` or `close` is to end."""

_POLL = 0.5
"""Seconds between looks at what other processes have written, and at whether they live."""

_PAUSE = 5.0
"""Seconds to wait when the database can't be used, because its disk is full for one."""

_TIDY = 60 * 60.0
"""Seconds between two rounds of forgetting what is old."""


class Outbox:
    """Results that must arrive, in a SQLite file on a local disk; for workers without the service.

    `write` returns when a result is on disk, and has tried each target once. `run`, in the same process, in another
    one or after any crash, tries again after 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 5 h and 10 h, and then gives a
    delivery up as dead, until somebody asks for it with `retry`. Any number of processes and threads may share an
    outbox; none of them sends what another one is sending, and what a killed one was sending is due again at once.

    Large results are in the folder beside the file, with `-files` after its name. Both are made for their owner alone,
    because targets are kept as they were given: **a signed URL or the fields of a form are in there in plain** until
    the target has the result. Then they and the results are deleted, from SQLite's log of changes within an hour of
    `run` or at `close`, and the receipt stays for a while.

    It may be used before and after a fork, and in a signal handler; one that interrupts a commit gets an `OutboxError`.

    Args:
        path: The file; it is made, with its folder, when it is missing.
        writer: What sends; one with default settings when None.
        keep: How long receipts are kept; as long, writing the same result again sends nothing. `run` removes older
            ones. Nothing that isn't delivered is ever removed.
        create: Whether to make what is missing.

    Raises:
        ConfigurationError: The file can't be made or opened, is no outbox, or is a newer version's.
        OutboxError: It is damaged, or its disk is full.

    Example:
        >>> with Outbox("/var/lib/worker/outbox.sqlite3") as outbox:
        ...     outbox.write(JobResult(job_id="42", success=True, results={"life": 7.5}), url)
        ...     outbox.run(until_empty=True)
    """

    @clearing_locals
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writer: ResultsWriter | None = None,
        keep: Duration = KEEP,
        create: bool = True,
    ) -> None:
        self.path = path_of("path", path).resolve()
        if writer is not None and not isinstance(writer, ResultsWriter):
            raise ConfigurationError(f"writer is of type {type(writer).__name__}.", hint="Give a ResultsWriter.")
        self._writer = writer
        self._keep = total_seconds("keep", keep)
        # Neither a connection nor a lock survives a fork. There is no `self` in it, so that an outbox without any
        # reference is gone at once, and its lock with it.
        self._desks = PerProcess(functools.partial(_ProcessState.open, self.path, writer, create=create))
        # Fails here, and not at the first result.
        self._desk()

    def __repr__(self) -> str:
        return f"Outbox({str(self.path)!r})"

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @clearing_locals
    def close(self) -> None:
        """Wait a while for the tries that run, and close the file. The outbox can still be used."""
        if (desk := self._desks.pop()) is not None:
            desk.close(own_writer=self._writer is None)

    @clearing_locals
    def write(
        self, result: JobResult, callback_url: CallbackURLs, callback_param: CallbackParams | Secret[Any] | None = None
    ) -> WriteResult:
        """Keep a result for every target, and try each once, all at once.

        The same document to the same place is one delivery, however often it is written; so a worker that runs a job
        again after a crash does no harm.

        Args:
            result: What the job has to say. A file of results is copied.
            callback_url: A URL, a `PresignedPut` or `PresignedPost`, a `(url, param)` pair, or a list of these.
            callback_param: A dict for all of them, or a list with one for each; see `ResultsWriter.write`.

        Returns:
            The receipts so far, and what is still pending.

        Raises:
            CallbackParamError: The parameters don't fit the URLs; nothing was stored.
            EncodingError: JSON can't hold the result; nothing was stored. The error names the path.
            OutboxError: The result can't be kept; nothing was stored or sent.
            TargetError: A target can't be used, or there is none; nothing was stored for it.
            DeliveryError: A target has refused the result for good; it is in the outbox as dead. When several targets
                fail it is a `MultipleDeliveryErrors`. The others have their receipts, `error.receipts`, or are
                pending all the same.
        """
        callback_url, callback_param = hide(callback_url), hide(callback_param)
        with _typed_errors():
            given = [_as_read_back(callback) for callback in required_callbacks(callback_url, callback_param)]
            return self._write(result, given)

    def _write(self, result: JobResult, given: Sequence[Callback]) -> WriteResult:
        desk = self._desk()
        desk.owner.acquire_lock()
        desk.tidy_claims()
        with ExitStack() as stack:
            results, nulls_written = encoded_results(result, stack)
            stored = desk.files.keep(results)
        try:
            orders, refusals = desk.orders(result, desk.files.body(stored), given)
        except BaseException:
            desk.files.remove(stored.file)
            raise
        # From here on the file stays, whatever happens: a commit that seems to have failed may be there after a crash.
        new, outcomes = desk.place(result, orders, stored, nulls_written, _object_url(given))
        if not new:
            desk.files.remove(stored.file)
        try:
            entries = desk.ledger.entries(ids=[order.delivery_id for order in orders])
        except CallbackSDKError as error:
            error.receipts = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Receipt))
            raise
        return _written(entries, orders, outcomes, refusals)

    @clearing_locals
    def run(self, *, until_empty: bool = False, stop: threading.Event | None = None) -> None:
        """Send what is due, and go on doing so. Several processes may do this at once.

        When it is to stop it begins no further try, and waits up to 10 s for those that run. While the file can't be
        used, its disk is full for one, it waits and tries again.

        Args:
            until_empty: Return when nothing is pending any more, however long the pauses between tries are.
            stop: Return soon after this is set.

        Raises:
            ConfigurationError: The file can't be opened any more.
            OutboxError: The file was deleted or replaced.
        """
        with _typed_errors():
            self._run(until_empty, stop or threading.Event())

    def _run(self, until_empty: bool, stop: threading.Event) -> None:
        desk, tidied = self._desk(), -_TIDY
        try:
            while not stop.is_set():
                ended = desk.courier.ended
                try:
                    if time.monotonic() - tidied >= _TIDY:
                        desk.tidy(self._keep)
                        tidied = time.monotonic()
                    desk.send_due()
                    if until_empty and desk.ledger.is_empty():
                        return
                except OutboxError as error:
                    # A file that is gone won't come back by itself.
                    desk.database.check()
                    logger.error("nothing can be sent at the moment: %s", error)
                    stop.wait(_PAUSE)
                desk.courier.wait_for_end(ended, _POLL)
        finally:
            desk.courier.wait(GRACE)

    @clearing_locals
    def entries(self, *, state: str | None = None) -> list[OutboxEntry]:
        """Return what is in the outbox, the oldest first, without credentials.

        Args:
            state: `"pending"`, `"delivered"` or `"dead"`; all when None.
        """
        with _typed_errors():
            return self._desk().ledger.entries(state=state)

    @clearing_locals
    def retry(self, *delivery_ids: str) -> int:
        """Make deliveries due now, dead ones included; these begin their schedule anew. `run` sends them.

        Args:
            delivery_ids: Which; everything that is not delivered when none is given.

        Returns:
            How many are due now; what is being sent at this moment isn't counted.

        Raises:
            OutboxError: An id is unknown, or delivered already; nothing was changed.
        """
        with _typed_errors():
            return self._desk().ledger.retry(delivery_ids or None)

    @clearing_locals
    def purge(self, *, older_than: Duration) -> int:
        """Forget deliveries that were made longer ago.

        Returns:
            How many.
        """
        with _typed_errors():
            return self._desk().tidy(total_seconds("older_than", older_than))

    def _desk(self) -> _ProcessState:
        """Return this process's own things.

        Raises:
            OutboxError: The file was deleted or replaced while it was open; the next call makes a new one.
        """
        desk = self._desks.get()
        try:
            desk.database.check()
        except OutboxError:
            self._desks.pop()
            desk.close(own_writer=self._writer is None, grace=timedelta(0))
            raise
        return desk


@define(frozen=True, kw_only=True)
class _ProcessState:
    """What one process works with."""

    database: OutboxDatabase
    ledger: OutboxStore
    files: ResultFiles
    owner: ClaimOwner
    writer: ResultsWriter
    courier: OutboxSender

    @classmethod
    def open(cls, path: Path, writer: ResultsWriter | None, *, create: bool) -> _ProcessState:
        folder = path.with_name(f"{path.name}-files")
        database = OutboxDatabase(path, folder, create=create)
        owner, files = ClaimOwner(folder), ResultFiles(folder)
        ledger = OutboxStore(database, owner.name)
        writer = writer or ResultsWriter()
        return cls(
            database=database,
            ledger=ledger,
            files=files,
            owner=owner,
            writer=writer,
            courier=OutboxSender(ledger=ledger, files=files, writer=writer),
        )

    def close(self, *, own_writer: bool, grace: timedelta | None = None) -> None:
        self.courier.wait(GRACE if grace is None else grace)
        with contextlib.suppress(Exception):
            self.courier.save_pending_outcomes()
        self.courier.close()
        self.owner.close()
        self.database.close()
        if own_writer:
            self.writer.close()

    def orders(
        self, result: JobResult, results: Body, given: Sequence[Callback]
    ) -> tuple[list[NewDelivery], list[TargetError]]:
        """Tell what is to be kept from what could never be delivered."""
        orders: list[NewDelivery] = []
        refusals: list[TargetError] = []
        for callback in given:
            try:
                orders.append(self._order(result, results, callback, _object_url(given)))
            except TargetError as error:  # noqa: PERF203 - one refusal doesn't end the round
                logger.error("not kept: %s", error)
                refusals.append(error)
        return orders, refusals

    def _order(self, result: JobResult, results: Body, callback: Callback, object_url: str | None) -> NewDelivery:
        with ExitStack() as stack:
            delivery = self.writer.prepare(result, results, callback, stack, results_url=lambda: object_url)
            # What is known may have expired meanwhile, and is not refused for that: it may be delivered.
            if not self.ledger.entries(ids=[delivery.delivery_id]):
                delivery.upload(datetime.now(timezone.utc))
            return NewDelivery(delivery_id=delivery.delivery_id, kind=delivery.target.kind, callback=callback)

    def place(
        self,
        result: JobResult,
        orders: Sequence[NewDelivery],
        stored: StoredResults,
        nulls_written: int,
        object_url: str | None,
    ) -> tuple[bool, dict[str, Receipt | Exception]]:
        """Keep orders and try once; tell whether any was new, and what became of each."""
        if not orders:
            return False, {}
        job = evolve(result, results=None)
        new, claims = self.ledger.add(job, orders, stored, nulls_written=nulls_written, object_url=object_url)
        return new, self.courier.send(claims)

    def tidy_claims(self) -> None:
        """Make due again what dead processes were sending."""
        for owner in self.ledger.take_back(self.owner.is_gone, self.courier.held()):
            logger.warning("a process that was sending is gone; what it had begun is due again")
            self.owner.forget(owner)

    def send_due(self) -> None:
        """Begin tries at what is due, as many as there is room for."""
        self.courier.save_pending_outcomes()
        self.tidy_claims()
        self.owner.acquire_lock()
        self.courier.start_due()

    def tidy(self, keep: float) -> int:
        """Forget what is old, and remove what killed processes have left."""
        count = self.ledger.purge(time.time() - keep)
        # The names first: a file that comes after them belongs to a commit that comes after them.
        names = self.files.names()
        self.files.sweep(names, self.ledger.files())
        self.owner.sweep()
        # Deleted credentials would stay in the log until it is used again.
        self.database.checkpoint()
        return count


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    """Let only errors of this package out."""
    try:
        yield
    except CallbackSDKError:
        raise
    except Exception as error:  # noqa: BLE001 - it is raised again, in our words
        raise OutboxError(
            f"The outbox failed with {type(error).__name__}; what was stored before is safe.",
            hint="The error's cause says why.",
        ) from strip_traceback(error)


def _as_read_back(callback: Callback) -> Callback:
    """Return a callback as it will be after it was stored, so that its document has the same bytes then."""
    return evolve(callback, param=json.loads(encode(callback.param, path="callback_param", only_finite=True).data))


def _object_url(given: Sequence[Callback]) -> str | None:
    """Return where the results will be, without a signature."""
    for callback in given:
        with contextlib.suppress(TargetError):
            url = plan(callback).object_url("results")
            if url is not None:
                return url
    return None


def _written(
    entries: Sequence[OutboxEntry],
    orders: Sequence[NewDelivery],
    outcomes: dict[str, Receipt | Exception],
    refusals: Sequence[TargetError],
) -> WriteResult:
    found = {entry.delivery_id: entry for entry in entries}
    ordered = [found[order.delivery_id] for order in orders if order.delivery_id in found]
    # A receipt that can't be kept at the moment is proof all the same.
    proofs = {each: outcome for each, outcome in outcomes.items() if isinstance(outcome, Receipt)}
    proofs |= {entry.delivery_id: entry.receipt for entry in ordered if entry.receipt is not None}
    receipts = tuple(proofs[order.delivery_id] for order in orders if order.delivery_id in proofs)
    open_ = [entry for entry in ordered if entry.delivery_id not in proofs]
    dead = [_error(entry, outcomes.get(entry.delivery_id)) for entry in open_ if entry.state == DEAD]
    errors: list[CallbackSDKError] = [*refusals, *dead]
    if errors:
        error = errors[0] if len(errors) == 1 else MultipleDeliveryErrors(errors)
        error.receipts = receipts
        raise error
    return WriteResult(
        receipts=receipts, pending=tuple(entry for entry in open_ if entry.state not in (DELIVERED, DEAD))
    )


def _error(entry: OutboxEntry, outcome: Receipt | Exception | None) -> CallbackSDKError:
    if isinstance(outcome, CallbackSDKError):
        return outcome
    return DeliveryError(
        f"{entry.url} did not take the result, and was given up: {entry.error}",
        hint=f"When that is mended: callback-sdk outbox redeliver PATH {entry.delivery_id}",
        url=entry.url,
        attempts=entry.attempts,
    )
