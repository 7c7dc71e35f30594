"""TargetIssuer: an endpoint that issues new targets in place of expired ones, named by `callback_param["refresh"]`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define

from callback_sdk import webhooks
from callback_sdk.errors import DocumentError, WebhookVerificationError
from callback_sdk.parsing import Duration
from callback_sdk.receivers.authentication import Authentication, Secrets
from callback_sdk.receivers.documents import job_id_of, read_object
from callback_sdk.receivers.handover import Steps, run
from callback_sdk.receivers.reply import Reply, json_reply, refusal, rejection
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.targets import check_target
from callback_sdk.text.escaping import escape
from callback_sdk.types import CallbackTarget

logger = logging.getLogger(__name__)

_MAX_REQUEST = 64 * 1024
"""Bytes of a request: ids, and the name of an output file."""


@define(frozen=True, kw_only=True)
class TargetRequest:
    """A request for a new target.

    Attributes:
        job_id: The task's id.
        delivery_id: Id of the delivery whose target has expired.
        output: Name of the output file; None for the document, and for a document with all files below its prefix.
    """

    job_id: str
    delivery_id: str
    output: str | None


Issue = Callable[[TargetRequest], CallbackTarget | None]
"""Returns a new target; None for a job that it doesn't know."""


class TargetIssuer:
    """An endpoint that issues new targets.

    A framework serves it, by one of the modules `starlette`, `flask`, `django` and `aws_lambda`.

    Args:
        issue: Called with each `TargetRequest`; returns the new target, or None for one that it refuses. It has to
            check that the job is one of its own: whoever can sign webhooks can ask for any.
        secrets: See `Receiver`. Requests are signed like webhooks.
        headers: The headers in `callback_param["refresh"]`; see `Receiver`.
        tolerance: See `Receiver`.

    Raises:
        ConfigurationError: There are neither secrets nor headers, or an argument is invalid.
        MissingExtraError: The extra `ed25519`, for public keys, is not installed.
    """

    max_bytes = _MAX_REQUEST

    @clearing_locals
    def __init__(
        self,
        issue: Issue,
        *,
        secrets: Secrets | None,
        headers: Mapping[str, str] | None = None,
        tolerance: Duration = webhooks.TOLERANCE,
    ) -> None:
        self._authentication = Authentication(secrets, headers, tolerance)
        self._issue = issue

    def receive(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer a request.

        Args:
            headers: The request's headers; names in any letter case.
            body: The raw body.

        Returns:
            200 with the target; 401 for a wrong signature, 404 for a refused job, 422 for another body, and 500 when
            `issue` failed.
        """
        return run(self.steps(headers, body))

    def steps(self, headers: Mapping[str, str], body: bytes) -> Steps[Reply]:
        """See `Endpoint.steps`."""
        try:
            self._authentication.verify(headers, body)
            request = _read(body)
        except (WebhookVerificationError, DocumentError) as error:
            logger.warning("A request for a target was rejected: %s", error.message)
            return rejection(error)
        try:
            answer = yield partial(self._answer, request)
        except Exception:
            logger.exception("No target could be issued for job %s", escape(request.job_id))
            return refusal(500, "No target could be issued.")
        if answer.reveal() is None:
            return refusal(404, "The job is not known here.")
        return json_reply(200, answer.reveal(), cache_control="no-store")

    @clearing_locals
    def _answer(self, request: TargetRequest) -> Secret[Any]:
        target: Secret[Any] = Secret(self._issue(request))
        if target.reveal() is None:
            return Secret(None)
        # Checked here, so that the log of the issuer has the reason.
        return Secret(check_target(target.reveal()).callback.plain())


def _read(body: bytes) -> TargetRequest:
    members = read_object(body, "request for a target")
    delivery_id, output = members.get("delivery_id"), members.get("output")
    if not isinstance(delivery_id, str) or "output" not in members or not isinstance(output, (str, type(None))):
        raise DocumentError(
            "The request for a target has no delivery_id or no output.", hint="Is this URL that of a webhook?"
        )
    return TargetRequest(job_id=job_id_of(members), delivery_id=delivery_id, output=output)
