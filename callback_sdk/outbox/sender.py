"""Makes the tries: each in a thread, each under a claim that is kept alive until its outcome is on disk."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta

from attrs import evolve

from callback_sdk.concurrency.attempts import RunningAttempts
from callback_sdk.concurrency.leases import run_heartbeat
from callback_sdk.concurrency.parallel import Parallel
from callback_sdk.errors import CallbackSDKError, OutboxError
from callback_sdk.models import JobResult
from callback_sdk.outbox.entries import OutboxClaim, PendingSend
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.store import HEARTBEAT_INTERVAL, OutboxStore
from callback_sdk.receipt import Receipt
from callback_sdk.transport.retry import next_delay
from callback_sdk.writer.attempt import AttemptWriter, has_responded, loggable_text

logger = logging.getLogger(__name__)

THREADS = 16
"""Attempts of `run` at once in one process. They wait for the network, so they may be more than the cores."""


class OutboxSender:
    """Sends what was claimed, and keeps what became of it.

    Args:
        ledger: Where outcomes are kept.
        files: Where results are.
        writer: What sends.
    """

    def __init__(self, *, ledger: OutboxStore, files: ResultFiles, writer: AttemptWriter) -> None:
        self._ledger = ledger
        self._files = files
        self._writer = writer
        self._attempts: RunningAttempts[OutboxClaim] = RunningAttempts(THREADS)
        self._lock = threading.RLock()
        self._parallel = Parallel(THREADS)
        self._telling = threading.RLock()
        self._untold: dict[OutboxClaim, Receipt | Exception] = {}
        self._heartbeat: threading.Thread | None = None

    def send(self, claims: Sequence[OutboxClaim]) -> dict[str, Receipt | Exception]:
        """Make an attempt at each, all at once, and return when all have ended.

        Returns:
            What became of each, by the delivery's id.
        """
        running: dict[str, int] = {}

        def attempt(claim: OutboxClaim) -> Receipt | Exception:
            running[claim.delivery_id] = threading.get_ident()
            try:
                return self._attempt(claim)
            finally:
                del running[claim.delivery_id]

        try:
            self._hold(claims)
            outcomes = self._parallel.map(attempt, claims)
        except BaseException:
            # After Ctrl-C, at any moment, the rest is due at once for whoever runs next.
            here = threading.get_ident()
            for claim in claims:
                if running.get(claim.delivery_id, here) == here:
                    self._give_back(claim)
            raise
        return {claim.delivery_id: outcome for claim, outcome in zip(claims, outcomes, strict=True)}

    def start_due(self) -> None:
        """Begin attempts at what is due, as many as there is room for, and return at once.

        Raises:
            OutboxError: The database can't be used, or no thread can be started.
        """
        claims: list[OutboxClaim] = []
        started: set[str] = set()
        is_kept = False

        def take(claim: OutboxClaim) -> None:
            claims.append(claim)
            self._hold([claim])

        try:
            self._ledger.claim_due(self._full_hosts, take)
            is_kept = True
            self._begin(claims, started)
        except BaseException:
            for claim in claims:
                if not is_kept:
                    # The transaction was rolled back, so there are no claims.
                    self._drop(claim)
                elif claim.delivery_id not in started:
                    self._give_back(claim)
            raise

    def close(self) -> None:
        """End the threads that rest, and give no more signs of life."""
        self._attempts.drop_claims()
        self._parallel.close()

    def held(self) -> list[str]:
        """Return the deliveries that are being sent."""
        return list(self._attempts.claims())

    def wait(self, timeout: timedelta) -> bool:
        """Wait until no try runs, and tell whether that came true."""
        return self._attempts.wait_without_claims(timeout.total_seconds())

    @property
    def ended(self) -> int:
        """How many attempts have ended."""
        return self._attempts.ended

    def wait_for_end(self, seen: int, timeout: float) -> None:
        """Wait until more attempts have ended than were seen, at most for so many seconds."""
        self._attempts.wait_for_end(seen, timeout)

    def save_pending_outcomes(self) -> None:
        """Keep outcomes that could not be kept before.

        Raises:
            OutboxError: It is still not possible.
        """
        # One thread at a time, so that each outcome is kept once.
        with self._telling:
            while untold := self._first_untold():
                self._tell(*untold)
                with self._lock:
                    self._untold.pop(untold[0])

    def _first_untold(self) -> tuple[OutboxClaim, Receipt | Exception] | None:
        with self._lock:
            return next(iter(self._untold.items()), None)

    def _begin(self, claims: Sequence[OutboxClaim], started: set[str]) -> None:
        def attempt(claim: OutboxClaim) -> None:
            # Here as well, because a signal may keep the other thread from it.
            started.add(claim.delivery_id)
            self._attempt(claim)

        for claim in claims:
            try:
                # A daemon: one that waits for a slow server must not keep the process from ending.
                threading.Thread(target=attempt, args=(claim,), name="callback-sdk", daemon=True).start()
            except RuntimeError:
                raise OutboxError(
                    "No thread could be started to send with.", hint="Raise the limit of threads."
                ) from None
            started.add(claim.delivery_id)

    def _full_hosts(self) -> list[str] | None:
        return self._attempts.full_hosts() if self._attempts.free_slots_any_host else None

    def _hold(self, claims: Sequence[OutboxClaim]) -> None:
        for claim in claims:
            self._attempts.begin(claim.delivery_id, claim.host, claim)
        with self._lock:
            # One whose start was interrupted by a signal may never run.
            if claims and not (self._heartbeat is not None and self._heartbeat.is_alive()):
                self._heartbeat = threading.Thread(target=self._beat, name="callback-sdk-heartbeat", daemon=True)
                # While the interpreter shuts down no thread starts. The lock of this process shows that it lives.
                with contextlib.suppress(RuntimeError):
                    self._heartbeat.start()

    def _drop(self, claim: OutboxClaim, *, responded: bool | None = None) -> None:
        self._attempts.end(claim.delivery_id, claim, responded=responded)

    def _beat(self) -> None:
        def failed(error: Exception) -> None:
            logger.warning("leases could not be renewed: %s", loggable_text(error))

        run_heartbeat(
            lambda: self._ledger.renew(self._attempts.claims().values()), wait=self._wait_for_heartbeat, failed=failed
        )

    def _wait_for_heartbeat(self) -> bool:
        """Wait for the next heartbeat, and return whether the thread ends because no claim is held any more."""
        self._attempts.wait_without_claims(HEARTBEAT_INTERVAL)
        with self._lock:
            # Under the lock: whoever begins an attempt after this starts another thread.
            is_over = not self._attempts.claims()
            if is_over:
                self._heartbeat = None
        return is_over

    def _attempt(self, claim: OutboxClaim) -> Receipt | Exception:
        """Make one attempt, keep what became of it, and return that."""
        try:
            outcome = self._try(claim)
            try:
                self._tell(claim, outcome)
            except Exception as error:  # noqa: BLE001 - what arrived has arrived, whatever broke in keeping it
                logger.error("%s: what became of it can't be kept yet: %s", claim.delivery_id, loggable_text(error))
        except BaseException:
            self._give_back(claim)
            raise
        return outcome

    def _try(self, claim: OutboxClaim) -> Receipt | Exception:
        try:
            letter = self._ledger.letter(claim)
            if letter is None:
                return OutboxError("Another process has taken the delivery over.")
            receipt = self._writer.attempt(
                self._result(letter),
                letter.callback,
                delivery_id=claim.delivery_id,
                results_url=lambda: letter.object_url,
            )
        except Exception as error:  # noqa: BLE001 - whatever broke, the next try may not
            if not isinstance(error, CallbackSDKError):
                # Without its text, which might hold anything.
                frames = "".join(traceback.format_tb(error.__traceback__))
                logger.error("%s: the try broke with %s:\n%s", claim.delivery_id, type(error).__name__, frames)
            return error
        return evolve(receipt, attempts=claim.attempt, nulls_written=letter.nulls_written)

    def _result(self, letter: PendingSend) -> JobResult:
        return evolve(letter.job, results=self._files.body(letter.stored)) if letter.job.success else letter.job

    def _tell(self, claim: OutboxClaim, outcome: Receipt | Exception) -> None:
        """Keep an outcome. While that isn't possible the claim stays held, so that nobody sends it twice for that."""
        try:
            if isinstance(outcome, Receipt):
                kept, file = self._ledger.delivered(claim, outcome)
                self._files.remove(file)
            else:
                kept = self._failed(claim, outcome)
        except Exception:
            with self._lock:
                self._untold[claim] = outcome
            raise
        self._drop(claim, responded=_responded(outcome))
        if not kept:
            logger.warning(
                "%s: another process has taken it over, what became of it here is left out", claim.delivery_id
            )

    def _failed(self, claim: OutboxClaim, error: Exception) -> bool:
        moment, text = _next_attempt(error, claim.attempt), loggable_text(error)
        extra = {"action": "deliver", "delivery_id": claim.delivery_id, "attempt": claim.attempt}
        if moment is None:
            logger.error("%s: delivery failed, giving up: %s", claim.delivery_id, text, extra=extra)
        else:
            pause = moment - time.time()
            logger.warning("%s: delivery failed, retrying in %.0f s: %s", claim.delivery_id, pause, text, extra=extra)
        return self._ledger.failed(claim, text, moment)

    def _give_back(self, claim: OutboxClaim) -> None:
        """Make a delivery due again, unless its outcome is known. One that was kept meanwhile stays as it is."""
        if claim in self._untold:
            return
        try:
            self._ledger.release(claim)
        except CallbackSDKError as error:
            logger.error("%s: its claim can't be given back before it runs out: %s", claim.delivery_id, error)
        finally:
            self._drop(claim)


def _next_attempt(error: Exception, attempts: int) -> float | None:
    """Return when to try again, in seconds since 1970; None for never."""
    delay = next_delay(error, attempts)
    return None if delay is None else time.time() + delay.total_seconds()


def _responded(outcome: Receipt | Exception) -> bool | None:
    """Tell whether the host sent a response; None when it wasn't asked."""
    if isinstance(outcome, Receipt):
        return True
    return has_responded(outcome)
