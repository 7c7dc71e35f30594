"""New deliveries of the outbox: their targets, and those of the output files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from attrs import evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.errors import TargetError
from callback_sdk.models import JobResult
from callback_sdk.outbox.entries import NewDelivery
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.places import Places
from callback_sdk.writer.attempts import DeliveryAttempts

if TYPE_CHECKING:
    from callback_sdk.writer.output_plan import OutputPlan

logger = logging.getLogger(__name__)


class DeliveryPlanner:
    """Plans the deliveries of a result, before anything is stored.

    Args:
        attempts: Plans targets, and builds deliveries.
        store: Knows the deliveries that exist already.
    """

    def __init__(self, attempts: DeliveryAttempts, store: OutboxStore) -> None:
        self._attempts = attempts
        self._store = store

    def plan(self, callback: Callback) -> tuple[Callback, Target | TargetError]:
        """Return a callback with its target, or with the error of a target that can never receive a result."""
        try:
            return callback, self._attempts.plan(callback)
        except TargetError as error:
            return callback, error

    def plan_outputs(
        self,
        result: JobResult,
        results: Body,
        own: Secret[Any],
        targets: Sequence[tuple[Callback, Target | TargetError]],
        stack: ExitStack,
        places: Places,
    ) -> OutputPlan | None:
        """Return where the output files go; None without any."""
        if not result.outputs and not own.reveal():
            return None
        # Imported here, because few results have output files.
        with no_fork:
            from callback_sdk.writer.output_plan import plan_outputs

        planned = [target for _, target in targets]
        return plan_outputs(result, results, own, planned, stack, plan=self._attempts.plan, places=places)

    def new_deliveries(
        self,
        result: JobResult,
        results: Body,
        targets: Sequence[tuple[Callback, Target | TargetError]],
        plan: OutputPlan | None,
    ) -> tuple[list[NewDelivery], list[TargetError]]:
        """Split targets into deliveries to store, and errors of targets that can never receive the result."""
        new_deliveries: list[NewDelivery] = []
        refusals: list[TargetError] = []
        url = object_url([callback for callback, _ in targets])
        for callback, target in targets:
            try:
                if isinstance(target, TargetError):
                    raise target
                new_deliveries.append(self._new_delivery(result, results, callback, target, url, plan))
            except TargetError as error:  # noqa: PERF203 - one refusal doesn't end the round
                logger.error("target rejected, nothing is stored for it: %s", error)
                refusals.append(error)
        return new_deliveries, refusals

    def _new_delivery(
        self,
        result: JobResult,
        results: Body,
        callback: Callback,
        target: Target,
        url: str | None,
        plan: OutputPlan | None,
    ) -> NewDelivery:
        with ExitStack() as stack:
            uploads = [] if plan is None else plan.uploads(target)
            entries = {upload.output.name: upload.entry() for upload in uploads}
            delivery = self._attempts.prepare(result, results, target, stack, results_url=lambda: url, outputs=entries)
            # A stored delivery isn't rejected because its target has expired: it may have been delivered before. Nor is
            # one whose issuer replaces an expired target.
            now = datetime.now(timezone.utc)
            is_replaced = callback.issuer is not None and target.has_expired(now)
            if not is_replaced and not self._store.entries(ids=[delivery.delivery_id]):
                delivery.upload(now)
                for upload in uploads:
                    upload.check()
            shown = evolve(callback, url=target.callback.url, given=callback)
            places = () if plan is None else (plan.target(output, target).callback for output in plan.files)
            return evolve(
                NewDelivery.of(delivery.delivery_id, target),
                callback=shown,
                output_callbacks=tuple(None if place is target.callback else place for place in places),
            )


def object_url(given: Sequence[Callback]) -> str | None:
    """Return the URL of the object that will contain the results, without a signature."""
    for callback in given:
        with contextlib.suppress(TargetError):
            url = plan(callback).object_url("results")
            if url is not None:
                return url
    return None
