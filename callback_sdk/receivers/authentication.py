"""Authentication: who may send requests to a receiver, by signatures and by headers."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping

from callback_sdk import webhooks
from callback_sdk.errors import ConfigurationError, WebhookVerificationError
from callback_sdk.parsing import Duration, several, total_seconds
from callback_sdk.redaction import Secret, clearing_locals

Secrets = str | Iterable[str] | Callable[[], str | Iterable[str]]
"""Secrets or public keys of webhooks: one, all that are valid, or a function that returns them for each request."""


class Authentication:
    """Verifies requests by their signature, by headers that only the sender knows, or by both.

    Args:
        secrets: Secrets or public keys of senders; None to verify no signature.
        headers: Headers that each request must have, such as `{"Authorization": "Bearer ..."}`; None for none.
        tolerance: Maximum difference between a request's timestamp and the clock, a `timedelta` or seconds.

    Raises:
        ConfigurationError: There are neither secrets nor headers, or one of them is invalid.
        MissingExtraError: The extra `ed25519`, for public keys, is not installed.
    """

    @clearing_locals
    def __init__(
        self, secrets: Secrets | None, headers: Mapping[str, str] | None, tolerance: Duration = webhooks.TOLERANCE
    ) -> None:
        self._tolerance = total_seconds("tolerance", tolerance, zero=True)
        self._headers = Secret({name.lower(): value for name, value in (headers or {}).items()})
        self._secrets = Secret(secrets if secrets is None or callable(secrets) else _several(secrets))
        given = self._secrets.reveal()
        if not self._headers.reveal() and (given is None or given == ()):
            raise ConfigurationError(
                "A receiver without secrets and headers would accept requests from anyone.",
                hint='Give secrets="whsec_...", or headers={"Authorization": "Bearer ..."} that the sender sends.',
            )
        if not all(isinstance(value, str) and value for value in self._headers.reveal().values()):
            raise ConfigurationError("The value of a header is empty or not a string.", hint="Give a secret value.")
        for secret in given if isinstance(given, tuple) else ():
            webhooks.verification_key(Secret(secret))

    @clearing_locals
    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Verify a request.

        Args:
            headers: The request's headers; names in any letter case.
            body: The raw body.

        Returns:
            The `webhook-id`; empty for a request without one, if no signature is required.

        Raises:
            WebhookVerificationError: A header or the signature is wrong or missing, or the timestamp is outside the
                tolerance.
        """
        given = webhooks.texts_of(headers)
        required = self._headers.reveal()
        # All are compared, in constant time each, as a webhook's signatures are.
        matches = [_equal(value, given.get(name, "")) for name, value in required.items()]
        if not all(matches):
            raise WebhookVerificationError(
                "A header that authenticates the sender is missing or wrong.", hint="Respond with 401."
            )
        secrets = self._secrets.reveal()
        if secrets is None:
            return given.get("webhook-id", "")
        valid = _several(secrets()) if callable(secrets) else secrets
        return webhooks.verify(valid, given, body, tolerance=self._tolerance)


def _several(secrets: str | Iterable[str]) -> tuple[str, ...]:
    return (secrets,) if isinstance(secrets, str) else several("secrets", secrets)


def _equal(expected: str, found: str) -> bool:
    return hmac.compare_digest(expected.encode("utf-8", "surrogatepass"), found.encode("utf-8", "surrogatepass"))
