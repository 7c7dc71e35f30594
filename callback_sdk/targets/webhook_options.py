"""Secrets and headers of a single webhook, in `callback_param["webhook"]`; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from callback_sdk import webhooks
from callback_sdk.errors import CallbackParamError, ConfigurationError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.header_rules import COMPUTED, FORBIDDEN, LOGIN, check_sendable
from callback_sdk.targets.members import WEBHOOK, Member, by_lower_name, named_strings, type_with_article
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_HEADERS_SIZE

MAX_SECRETS = 4
"""Secrets of one webhook: while they rotate there are two."""

MAX_WEBHOOK_HEADERS = 20

_HEADERS = Member(
    name=WEBHOOK, max_count=MAX_WEBHOOK_HEADERS, max_characters=MAX_HEADERS_SIZE, error=CallbackParamError
)  # fmt: skip

_OWN = frozenset(
    {"accept-encoding", "content-digest", "content-encoding", "content-type", "traceparent", "tracestate", "user-agent"}
)
"""Headers that describe the document and the request; the sender sets them."""

_SIGNATURE_PREFIX = "webhook-"


@define(frozen=True, kw_only=True)
class WebhookOptions:
    """How one webhook is sent.

    Attributes:
        secrets: Secrets that sign it, newest first; empty for those of the sender.
        headers: Further headers of the request, by their names in lower case. They may be credentials.
    """

    secrets: tuple[Secret[str], ...] = ()
    headers: SecretFields = field(factory=lambda: SecretFields({}))

    def keys(self) -> tuple[webhooks.SigningKey, ...]:
        """Return the signing keys of the secrets."""
        return tuple(map(webhooks.decode_secret, self.secrets))

    def plain(self) -> Secret[Any]:
        """Return the value of `webhook`: true without secrets and headers."""
        secrets = [secret.reveal() for secret in self.secrets]
        given = {"secret": secrets[0] if len(secrets) == 1 else secrets, "headers": self.headers.reveal()}
        return Secret({name: value for name, value in given.items() if value} or True)

    def credentials(self) -> Secret[tuple[str, ...]]:
        """Return the values that are credentials."""
        return Secret((*(secret.reveal() for secret in self.secrets), *self.headers.reveal().values()))


def read_webhook(url: SecretURL, param: Secret[Any]) -> WebhookOptions | None:
    """Return what `webhook` says; None if it is false.

    Args:
        url: URL of the target.
        param: Its `callback_param`, which has the member.

    Raises:
        CallbackParamError: It is neither a boolean nor secrets and headers.
        SignedHeaderError: One of its headers can't be sent.
    """
    given = Secret(param.reveal()[WEBHOOK])
    if isinstance(given.reveal(), bool):
        return WebhookOptions() if given.reveal() else None
    if (problem := _problem(given)) is not None:
        raise _error(url, problem)
    secrets = _secrets(url, Secret(given.reveal().get("secret")))
    headers = by_lower_name(named_strings(url, _HEADERS, Secret(given.reveal().get("headers") or {})))
    if len(headers.reveal()) < len(given.reveal().get("headers") or {}):
        raise _error(url, "has a header twice, in different letter case")
    signature = {name for name in headers.reveal() if name.startswith(_SIGNATURE_PREFIX)}
    check_sendable(url, WEBHOOK, headers, forbidden=((FORBIDDEN | COMPUTED) - LOGIN) | _OWN | signature)
    return WebhookOptions(secrets=secrets, headers=headers)


def _problem(given: Secret[Any]) -> str | None:
    """Return why `webhook` can't be read, as it completes a sentence; None if it can."""
    if not isinstance(given.reveal(), Mapping):
        return f"is {type_with_article(given)}, neither a boolean nor a dict"
    if unknown := [name for name in given.reveal() if name not in ("secret", "headers")]:
        return f"has a member {short_repr(unknown[0])}; it takes secret and headers"
    if not given.reveal():
        return "is an empty dict"
    headers = Secret(given.reveal().get("headers"))
    if headers.reveal() is not None and not isinstance(headers.reveal(), Mapping):
        return f"has headers that are {type_with_article(headers)}, not a dict"
    return None


def _secrets(url: SecretURL, given: Secret[Any]) -> tuple[Secret[str], ...]:
    if given.reveal() is None:
        return ()
    is_list = isinstance(given.reveal(), (list, tuple))
    found = [Secret(one) for one in given.reveal()] if is_list else [given]
    if not 1 <= len(found) <= MAX_SECRETS:
        raise _error(url, f"has {len(found)} secrets; 1 to {MAX_SECRETS} are allowed")
    try:
        for secret in found:
            webhooks.decode_secret(secret)
    except ConfigurationError as error:
        problem = error
    else:
        return tuple(found)
    # Raised outside of the handler: no frame of the other error is kept.
    raise CallbackParamError(f"webhook of {url}: {problem.message}", hint=problem.hint, url=str(url))


def _error(url: SecretURL, problem: str) -> CallbackParamError:
    return CallbackParamError(
        f"webhook of {url} {problem}.",
        hint='Give {"webhook": {"secret": "whsec_...", "headers": {...}}}, or {"webhook": true} to have the URL '
        "treated as a webhook's. For a part of the document choose another name.",
        url=str(url),
    )
