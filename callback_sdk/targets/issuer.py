"""The issuer in `callback_param["refresh"]`: the server that is asked for a new target when one has expired; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from callback_sdk.errors import CallbackParamError, TargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.header_rules import COMPUTED, FORBIDDEN, LOGIN, check_sendable
from callback_sdk.targets.hosts import check_url
from callback_sdk.targets.members import REFRESH, Member, by_lower_name, named_strings, type_with_article
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_HEADERS, MAX_HEADERS_SIZE

_HEADERS = Member(
    name=REFRESH, max_count=MAX_HEADERS, max_characters=MAX_HEADERS_SIZE, error=CallbackParamError
)  # fmt: skip

_OWN = frozenset({"accept", "content-encoding", "content-type"})
"""Headers that describe the JSON of the request and of the response."""

_SIGNATURE_PREFIX = "webhook-"


@define(frozen=True, kw_only=True)
class Issuer:
    """The server that issues a target, and is asked for a new one when the target has expired.

    Attributes:
        url: URL that the request is sent to.
        headers: Headers of the request, by their names in lower case. They may be credentials.
    """

    url: SecretURL
    headers: SecretFields

    def plain(self) -> Secret[dict[str, Any]]:
        """Return `{"url": ..., "headers": ...}`, the value of `refresh`."""
        return Secret({"url": self.url.reveal(), "headers": self.headers.reveal()})

    def credentials(self) -> Secret[tuple[str, ...]]:
        """Return the values that are credentials."""
        return Secret((*self.url.secrets().reveal(), *self.headers.reveal().values()))


def read_issuer(url: SecretURL, param: Secret[Any]) -> Issuer:
    """Return the issuer that `refresh` names.

    Args:
        url: URL of the target.
        param: Its `callback_param`, which has the member.

    Raises:
        CallbackParamError: It doesn't describe a request.
        SignedHeaderError: One of its headers can't be sent.
    """
    given = Secret(param.reveal()[REFRESH])
    if (problem := _problem(given)) is not None:
        raise _error(url, problem)
    try:
        issuer_url = SecretURL(given.reveal()["url"].strip())
        check_url(issuer_url)
    except TargetError:
        raise _error(url, "has a url that is not a complete http or https URL") from None
    headers = by_lower_name(named_strings(url, _HEADERS, Secret(given.reveal().get("headers") or {})))
    signature = {name for name in headers.reveal() if name.startswith(_SIGNATURE_PREFIX)}
    forbidden = ((FORBIDDEN | COMPUTED) - LOGIN) | _OWN | signature
    check_sendable(url, REFRESH, headers, forbidden=forbidden)
    return Issuer(url=issuer_url, headers=headers)


def _problem(given: Secret[Any]) -> str | None:
    """Return why `refresh` describes no request, as it completes a sentence; None if it does."""
    if not isinstance(given.reveal(), Mapping):
        return f"is {type_with_article(given)}, not a dict"
    if unknown := [name for name in given.reveal() if name not in ("url", "headers")]:
        return f"has a member {short_repr(unknown[0])}; it takes url and headers"
    if not isinstance(given.reveal().get("url"), str):
        return "has no url" if "url" not in given.reveal() else "has a url that is not a string"
    headers = Secret(given.reveal().get("headers"))
    if headers.reveal() is not None and not isinstance(headers.reveal(), Mapping):
        return f"has headers that are {type_with_article(headers)}, not a dict"
    return None


def _error(url: SecretURL, problem: str) -> CallbackParamError:
    return CallbackParamError(
        f"refresh of {url} {problem}.",
        hint='Give {"refresh": {"url": "https://...", "headers": {...}}}, the server that issues new targets. For a '
        "part of the document choose another name.",
        url=str(url),
    )
