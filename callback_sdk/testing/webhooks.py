"""A local webhook receiver that verifies signatures and records requests."""

from __future__ import annotations

import json
from collections.abc import Iterable

from callback_sdk.errors import WebhookVerificationError
from callback_sdk.receivers.authentication import Authentication
from callback_sdk.redaction import Secret
from callback_sdk.testing.faults import BEFORE_BODY, Fault, FaultResponse, Faults, Step
from callback_sdk.testing.received import ReceivedRequest
from callback_sdk.testing.server import RecordingServer


class WebhookReceiver(RecordingServer):
    """A local webhook receiver, in threads of this process.

        with WebhookReceiver() as webhook:
            webhook.respond(503, headers={"Retry-After": "1"}).inject_fault(Fault.LOST_RESPONSE)
            ResultsWriter().write(result, webhook.url)
            first, second, third = webhook.wait_for(3)

    The receiver responds with 200 and an empty body unless `respond` or `inject_fault` was called.

    Args:
        path: Path of `url`; the receiver responds on every path.
        secret: The secret that signs webhooks, or a list of valid secrets; a request with a wrong or missing signature
            gets the response 401. None accepts every request.
        faults: Random faults; None for none.

    Raises:
        ConfigurationError: A secret is invalid.
    """

    # Redirects are not injected, because a redirected webhook fails permanently.
    default_faults = tuple(fault for fault in Fault if fault is not Fault.REDIRECT)

    def __init__(
        self, *, path: str = "/webhook", secret: str | Iterable[str] | None = None, faults: Faults | None = None
    ) -> None:
        super().__init__(faults=faults)
        self._path = path
        secrets = Secret([secret] if isinstance(secret, str) else [*(secret or ())])
        self._authentication = Authentication(secrets.reveal(), None) if secrets.reveal() else None

    @property
    def url(self) -> str:
        """URL for webhooks."""
        return self._origin + self._path

    def _subject(self, request: ReceivedRequest) -> str:
        return request.delivery_id or super()._subject(request)

    def _outcome(self, step: Step, request: ReceivedRequest) -> FaultResponse:
        if self._authentication is not None and step.fault not in BEFORE_BODY:
            try:
                self._authentication.verify(request.headers, request.body)
            except WebhookVerificationError as error:
                return self._failure(401, "Unauthorized", str(error))
        return super()._outcome(step, request)

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        return FaultResponse()

    def _failure(self, status: int, code: str, message: str) -> FaultResponse:
        body = json.dumps({"error": message}).encode()
        return FaultResponse(status=status, headers={"Content-Type": "application/json"}, body=body)
