"""Makes the tries: each in a thread, each under a claim that is kept alive until its outcome is on disk."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Protocol

from attrs import evolve

from callback_sdk.callbacks import Callback
from callback_sdk.errors import CallbackSDKError, OutboxError
from callback_sdk.models import JobResult, Receipt
from callback_sdk.outbox.entries import Claim, Letter
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.ledger import LEASE, Ledger
from callback_sdk.retry import next_delay

logger = logging.getLogger(__name__)

THREADS = 16
"""Tries at once in one process. They wait for the network, so they may be more than the cores."""

_SIGN_OF_LIFE = LEASE / 4
"""Seconds between two signs of life."""


class Writer(Protocol):
    """The one method of `ResultsWriter` that is needed here."""

    def attempt(
        self, result: JobResult, callback: Callback, *, delivery_id: str, results_url: Callable[[], str | None]
    ) -> Receipt:
        """Try once."""
        ...


class Courier:
    """Sends what was claimed, and keeps what became of it.

    Args:
        ledger: Where outcomes are kept.
        files: Where results are.
        writer: What sends.
    """

    def __init__(self, *, ledger: Ledger, files: ResultFiles, writer: Writer) -> None:
        self._ledger = ledger
        self._files = files
        self._writer = writer
        self._lock = threading.Condition()
        self._held: dict[str, Claim] = {}
        self._untold: list[tuple[Claim, Receipt | Exception]] = []
        self._pulse: threading.Thread | None = None
        self.changed = threading.Event()
        """Set whenever a try has ended."""

    def send(self, claims: Sequence[Claim]) -> dict[str, Exception | None]:
        """Make a try at each, all at once, and return when all have ended.

        Returns:
            What went wrong, by the delivery's id; None where nothing did.
        """
        self._hold(claims)
        if len(claims) <= 1:
            outcomes = [self._attempt(claim) for claim in claims]
        else:
            with ThreadPoolExecutor(min(len(claims), THREADS), thread_name_prefix="callback-sdk") as pool:
                outcomes = list(pool.map(self._attempt, claims))
        return {claim.delivery_id: outcome for claim, outcome in zip(claims, outcomes, strict=True)}

    def start(self, claims: Sequence[Claim]) -> None:
        """Begin a try at each and return at once."""
        self._hold(claims)
        for number, claim in enumerate(claims):
            try:
                # A daemon: one that waits for a slow server must not keep the process from ending.
                threading.Thread(target=self._attempt, args=(claim,), name="callback-sdk", daemon=True).start()
            except RuntimeError:  # noqa: PERF203 - it ends the loop
                for left in claims[number:]:
                    self._give_back(left)
                raise OutboxError(
                    "No thread could be begun to send with.", hint="Raise the limit of threads."
                ) from None

    def busy(self) -> Counter[str]:
        """Return how many tries run at each host."""
        with self._lock:
            return Counter(claim.host for claim in self._held.values())

    def held(self) -> list[str]:
        """Return the deliveries that are being sent."""
        with self._lock:
            return list(self._held)

    def wait(self, timeout: timedelta) -> bool:
        """Wait until no try runs, and tell whether that came true."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._held, timeout.total_seconds())

    def tell_again(self) -> None:
        """Keep outcomes that could not be kept before.

        Raises:
            OutboxError: It is still not possible.
        """
        while True:
            with self._lock:
                if not self._untold:
                    return
                claim, outcome = self._untold.pop()
            self._tell(claim, outcome)

    def _hold(self, claims: Sequence[Claim]) -> None:
        with self._lock:
            self._held.update({claim.delivery_id: claim for claim in claims})
            if self._held and self._pulse is None:
                self._pulse = threading.Thread(target=self._beat, name="callback-sdk-pulse", daemon=True)
                self._pulse.start()

    def _drop(self, claim: Claim) -> None:
        with self._lock:
            if self._held.get(claim.delivery_id) == claim:
                del self._held[claim.delivery_id]
            self._lock.notify_all()
        self.changed.set()

    def _beat(self) -> None:
        while True:
            self.wait(timedelta(seconds=_SIGN_OF_LIFE))
            with self._lock:
                claims = list(self._held.values())
                if not claims:
                    self._pulse = None
                    return
            try:
                self._ledger.renew(claims)
            except CallbackSDKError as error:
                logger.warning("no sign of life could be given: %s", error)

    def _attempt(self, claim: Claim) -> Exception | None:
        """Try once, and return what went wrong."""
        try:
            outcome = self._try(claim)
        except BaseException:
            self._give_back(claim)
            raise
        try:
            self._tell(claim, outcome)
        except CallbackSDKError as error:
            logger.error("%s: what became of it can't be kept yet: %s", claim.delivery_id, error)
        return outcome if isinstance(outcome, Exception) else None

    def _try(self, claim: Claim) -> Receipt | Exception:
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
        return evolve(receipt, attempts=claim.attempt, nulled=letter.nulled)

    def _result(self, letter: Letter) -> JobResult:
        return evolve(letter.job, results=self._files.body(letter.stored)) if letter.job.success else letter.job

    def _tell(self, claim: Claim, outcome: Receipt | Exception) -> None:
        """Keep an outcome. While that isn't possible the claim stays held, so that nobody sends it twice for that."""
        try:
            if isinstance(outcome, Receipt):
                kept, file = self._ledger.delivered(claim, outcome)
                self._files.remove(file)
            else:
                kept = self._failed(claim, outcome)
        except CallbackSDKError:
            with self._lock:
                self._untold.append((claim, outcome))
            raise
        except BaseException:
            self._drop(claim)
            raise
        self._drop(claim)
        if not kept:
            logger.warning(
                "%s: another process has taken it over, what became of it here is left out", claim.delivery_id
            )

    def _failed(self, claim: Claim, error: Exception) -> bool:
        moment = _next_attempt(error, claim.attempt)
        extra = {"action": "deliver", "delivery_id": claim.delivery_id, "attempt": claim.attempt}
        if moment is None:
            logger.error("%s is given up: %s", claim.delivery_id, _text(error), extra=extra)
        else:
            pause = moment - time.time()
            logger.warning("%s is tried again in %.0f s: %s", claim.delivery_id, pause, _text(error), extra=extra)
        return self._ledger.failed(claim, _text(error), moment)

    def _give_back(self, claim: Claim) -> None:
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


def _text(error: Exception) -> str:
    # The text of an error that isn't ours might hold anything.
    return str(error) if isinstance(error, CallbackSDKError) else f"The try broke with {type(error).__name__}."
