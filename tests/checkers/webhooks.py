"""A webhook receiver with two verifiers: that of this package, and that of the Standard Webhooks project."""

from __future__ import annotations

from contextlib import AbstractContextManager

import standardwebhooks

from callback_sdk import webhooks
from callback_sdk.errors import WebhookVerificationError
from tests.checkers import http_store
from tests.checkers.http_store import Request


class Receiver:
    """Accepts webhooks that both verifiers accept, and rejects those that both reject.

    Args:
        secret: Secret that signs the webhooks.

    Attributes:
        endpoint: URL of the receiver.
        taken: Bodies of accepted webhooks.
        disagreements: Webhooks that only one verifier accepted.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.endpoint = ""
        self.taken: list[bytes] = []
        self.disagreements = 0

    def take(self, request: Request) -> int:
        """Return 200 if both verifiers accept the webhook, otherwise 401."""
        headers, body = dict(request.headers), request.body
        ours, theirs = self._ours(headers, body), self._theirs(headers, body)
        self.disagreements += ours != theirs
        if not (ours and theirs):
            return 401
        self.taken.append(body)
        return 200

    @property
    def url(self) -> str:
        """URL for webhooks."""
        return f"{self.endpoint}/done"

    def _ours(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            webhooks.verify(self.secret, headers, body)
        except WebhookVerificationError:
            return False
        return True

    def _theirs(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            standardwebhooks.Webhook(self.secret).verify(body, headers)
        except standardwebhooks.WebhookVerificationError:
            return False
        return True


def running(secret: str) -> AbstractContextManager[Receiver]:
    """Run a receiver in a thread."""
    return http_store.running(Receiver(secret))
