"""Secrets that sign the webhooks of a user's tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from attrs import define

from callback_sdk.client.connection import JSON, ServiceConnection
from callback_sdk.client.form import encode_value
from callback_sdk.client.responses import parse_response, unexpected_response
from callback_sdk.client.states import parse_moment
from callback_sdk.documents.body import Body
from callback_sdk.documents.decoding import has_lone_surrogate
from callback_sdk.errors import InvalidRequestError
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.redaction import Secret, hides_tracebacks, wrap_secret
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLRepr

_PATH = "/signing-secrets"
_ANY = "*/*"
"""Media type of a response without a body."""


@define(frozen=True, kw_only=True)
class WebhookSecret(HTMLRepr):
    """A secret that signs webhooks.

    Attributes:
        id: Its id.
        scheme: `"v1"` for a secret that receivers have too, `"v1a"` for a key pair.
        public_key: The public key of a key pair, for receivers; None for `"v1"`.
        created_at: When it was created, in UTC.
        expires_at: Until when it signs, in UTC; None until a newer one has replaced it.
        secret: The secret, for receivers, of a new one only: the service doesn't show it again. None for a key pair,
            and for a secret that was given.
    """

    id: str
    scheme: str
    public_key: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    secret: Secret[str] | None = None

    def _html_fields(self) -> dict[str, Any]:
        return {name.replace("_", " "): getattr(self, name) for name in WebhookSecret.__annotations__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WebhookSecret:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data[name] for name in ("id", "scheme", "public_key") if name in data}
        times = {name: parse_moment(data.get(name)) for name in ("created_at", "expires_at")}
        is_shown = data.get("secret") is not None
        return cls(**members | times, secret=Secret(str(data["secret"])) if is_shown else None)


class SigningSecrets:
    """The secrets that sign webhooks of the user's tasks: `Client.signing_secrets`.

    Args:
        connection: Connection to the service.
    """

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    @hides_tracebacks
    def all(self) -> list[WebhookSecret]:
        """Return the secrets that sign now, the newest first, without their values."""
        data = self._connection.request("GET", _PATH).data
        if not isinstance(data, dict) or not isinstance(data.get("secrets"), list):
            raise unexpected_response("a list of secrets")
        return [parse_response("a secret", WebhookSecret.from_dict, one) for one in data["secrets"]]

    @hides_tracebacks
    def create(
        self,
        *,
        scheme: Literal["v1", "v1a"] = "v1",
        secret: str | Secret[str] | None = None,
        overlap: Duration = timedelta(days=1),
    ) -> WebhookSecret:
        """Create or rotate the secret. It signs from now on, and for the overlap the earlier ones of its scheme do too.

        Args:
            scheme: `"v1"` for a secret that receivers get, `"v1a"` for a key pair whose public key they get.
            secret: A secret that receivers have already; None to generate one.
            overlap: A `timedelta` or seconds, at most 90 days.

        Raises:
            ConfigurationError: The overlap is not a duration.
            InvalidRequestError: The service rejects the secret or the scheme.
            ConflictError: There are too many secrets.
        """
        given = None if secret is None else wrap_secret(secret)
        del secret
        seconds = total_seconds("overlap", overlap, zero=True)
        body = Secret({"scheme": scheme, "secret": None if given is None else given.reveal(), "overlap": seconds})
        sent = Body(encode_value("secret", body).reveal())
        # Not repeated: a lost response would leave a secret that nobody knows, which the next rotation replaces.
        # The service may quote it in an error.
        hidden = Secret(() if given is None else (str(given.reveal()),))
        data = self._connection.request("POST", _PATH, body=sent, content_type=JSON, hidden=hidden).data
        return parse_response("a secret", WebhookSecret.from_dict, data)

    @hides_tracebacks
    def revoke(self, secret_id: str) -> None:
        """Let a secret sign nothing more. Without another one, webhooks are unsigned.

        Raises:
            NotFoundError: The user has no such secret.
        """
        if not isinstance(secret_id, str) or not secret_id or has_lone_surrogate(secret_id):
            raise InvalidRequestError(f"secret_id is {short_repr(secret_id)}.", hint="Give the id of a secret.")
        self._connection.request("DELETE", f"{_PATH}/{quote(secret_id, safe='')}", repeatable=True, accept=_ANY)
