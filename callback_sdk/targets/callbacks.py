"""Callbacks as people give them: a URL or several, with one parameter for all or one each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import CallbackParamError, InvalidTargetError, TargetError
from callback_sdk.models import PresignedMultipart, PresignedPost, PresignedPrefix, PresignedPut
from callback_sdk.redaction import Secret, SecretFields, SecretURL, wrap_secret
from callback_sdk.targets.members import (
    AZURE_PREFIX,
    COMPLETED,
    DEFAULT_EVENTS,
    EARLY_EVENTS,
    EVENT_NAMES,
    EVENTS,
    FAILED,
    FIELDS,
    HEADERS,
    HTTP,
    MEMBERS,
    MEMBERS_BEFORE_EVENTS,
    PARTS,
    REFRESH,
    S3_PREFIX,
    SUCCEEDED,
    WEBHOOK,
    read_fields,
    read_headers,
    read_http,
    type_with_article,
)
from callback_sdk.targets.misplaced_credentials import refuse_misplaced

if TYPE_CHECKING:
    from callback_sdk.targets.issuer import Issuer
    from callback_sdk.targets.prefixes import Prefix
    from callback_sdk.targets.signed_parts import SignedParts
    from callback_sdk.targets.webhook_options import WebhookOptions


RESULTS = "results"
"""Scheme of targets in the bucket of the service."""


@define(frozen=True)
class Callback:
    """One place that a result goes to, its credentials wrapped.

    Attributes:
        url: Where to.
        param: `callback_param` without the members below, as it stands in the document.
        fields: `s3_fields`; None when `callback_param` has no such member.
        headers: `s3_headers`, by their names in lower case; None when `callback_param` has no such member.
        http: The headers in `http`, likewise; None when `callback_param` has no such member.
        webhook: `webhook`, the secrets and headers of a webhook; None if `callback_param` doesn't ask for one.
        issuer: `refresh`: who is asked for a new target when this one has expired; None without such a member.
        parts: `s3_parts`; None when `callback_param` has no such member.
        prefix: `s3_prefix` or `azure_prefix`; None when `callback_param` has no such member.
        events: The events that it subscribes to, of `members.EVENT_NAMES`.
        given: The callback as it was given, if a target has changed it for one object below a prefix.
        shown: URL to show instead of `url`: that of the object for `results:`, which the service signs itself.
    """

    url: SecretURL
    param: dict[str, Any] = field(factory=dict)
    fields: SecretFields | None = None
    headers: SecretFields | None = None
    http: SecretFields | None = None
    webhook: WebhookOptions | None = None
    issuer: Issuer | None = None
    parts: SignedParts | None = None
    prefix: Prefix | None = None
    events: frozenset[str] = DEFAULT_EVENTS
    given: Callback | None = None
    shown: SecretURL | None = None

    @property
    def is_results(self) -> bool:
        """Whether it is `results:` or `results:NAME`, an object in the bucket of the service."""
        return self.url.scheme == RESULTS

    @property
    def takes_events(self) -> bool:
        """Whether it subscribes to events before the end."""
        return not self.events.isdisjoint(EARLY_EVENTS)

    def takes_result(self, *, success: bool) -> bool:
        """Return whether it is sent the result document.

        Args:
            success: Whether the job has results.
        """
        return COMPLETED in self.events or (SUCCEEDED if success else FAILED) in self.events

    @property
    def stored_events(self) -> str | None:
        """The events as they are stored beside `plain`, separated by commas; None for the result only."""
        return None if self.events == DEFAULT_EVENTS else ",".join(name for name in EVENT_NAMES if name in self.events)

    @property
    def shown_url(self) -> SecretURL:
        """The URL to show."""
        return self.shown or self.url

    def plain(self) -> dict[str, Any]:
        """Return `{"url": ..., "param": ...}` with every credential in it, to store or to send on purpose."""
        if self.given is not None:
            return self.given.plain()
        return {"url": self.url.reveal(), "param": {**self.param, **self._members().reveal()}}

    def credentials(self) -> Secret[tuple[str, ...]]:
        """Return the values that came with the URL: fields, headers, secrets, and those of parts and of the issuer."""
        given = [secret for secret in (self.fields, self.headers, self.http) if secret is not None]
        of_parts = () if self.parts is None else self.parts.secrets().reveal()
        others = (one.credentials().reveal() for one in (self.issuer, self.webhook) if one is not None)
        of_others = (value for values in others for value in values)
        return Secret((*(value for secret in given for value in secret.reveal().values()), *of_parts, *of_others))

    def replaced_by(self, new: Callback) -> Callback:
        """Return another place for the same document, which keeps its `callback_param`.

        A receiver knows a delivery by its id, and may have seen the document already: its bytes must not change.

        Args:
            new: The other place. Without an issuer it keeps that of this one.

        Raises:
            CallbackParamError: Its `callback_param` would change the document.
        """
        if new.param and _as_json(new.param) != _as_json(self.param):
            raise CallbackParamError(
                f"callback_param of {new.url} differs from the one in the document, which an attempt may have "
                "delivered already.",
                hint="Leave the members out that are part of the document, or give the same ones.",
                url=str(new.url),
            )
        given = None if new.given is None else self.replaced_by(new.given)
        issuer = new.issuer or (None if new.is_results else self.issuer)
        return evolve(new, param=self.param, issuer=issuer, events=self.events, given=given)

    def _members(self) -> Secret[dict[str, Any]]:
        given = {FIELDS: self.fields, HEADERS: self.headers}
        members: dict[str, Any] = {name: secret.reveal() for name, secret in given.items() if secret is not None}
        if self.http is not None:
            members[HTTP] = {"method": "PUT", "headers": self.http.reveal()}
        if self.webhook is not None:
            members[WEBHOOK] = self.webhook.plain().reveal()
        if self.issuer is not None:
            members[REFRESH] = self.issuer.plain().reveal()
        if self.parts is not None:
            members[PARTS] = self.parts.plain()
        if self.prefix is not None:
            members[self.prefix.member] = self.prefix.plain()
        if self.events != DEFAULT_EVENTS:
            members[EVENTS] = [name for name in EVENT_NAMES if name in self.events]
        return Secret(members)


def parse_callbacks(callback_url: Any, callback_param: Any = None) -> tuple[Callback, ...]:
    """Pair URLs and parameters.

    Args:
        callback_url: A URL, what a signer returned such as a `PresignedPut`, a `(url, param)` pair, a
            `{"url": ..., "param": ...}` dict, or a list of these; None for none. It may be wrapped in a `Secret`.
        callback_param: A dict for every URL, or a list as long as the URLs. Members of an item's own parameter take
            precedence. It may be wrapped in a `Secret`.

    Raises:
        CallbackParamError: The parameters don't fit the URLs.
        TargetError: A URL or its parameter can't be used.
    """
    # From here on no local variable is a plain credential: tracebacks may be printed with their locals.
    callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
    items = [_split(item) for item in _items(callback_url)]
    params = _params(callback_param, len(items))
    found = tuple(_requested(url, _merge(own, given)) for (url, own), given in zip(items, params, strict=True))
    if isinstance(callback_param.reveal(), Mapping) and not callback_param.reveal().keys().isdisjoint((HTTP, WEBHOOK)):
        _check_one_server(found)
    return found


def read_stored(stored: Secret[Any], events: str | None) -> Callback:
    """Return a callback that was stored.

    Args:
        stored: What `Callback.plain` returned.
        events: `Callback.stored_events`. None for targets that versions without events have stored, too, in which a
            member `events` is a part of the document.

    Raises:
        TargetError: An earlier version accepted it, and this one doesn't.
    """
    members = MEMBERS_BEFORE_EVENTS if events is None else MEMBERS
    return _callback(SecretURL(stored.reveal()["url"]), Secret(stored.reveal()["param"]), members)


def required_callbacks(callback_url: Any, callback_param: Any = None) -> tuple[Callback, ...]:
    """Pair URLs and parameters of a result that must have a target.

    A worker that lost the URL must not take its result for delivered.

    Raises:
        TargetError: There is no target, or `parse_callbacks` rejects one.
    """
    callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
    given = parse_callbacks(callback_url, callback_param)
    if not given:
        found = "None" if callback_url.reveal() is None else "an empty list"
        raise TargetError(
            f"There is no target to deliver the result to: callback_url is {found}.",
            hint="Give the job's callback URL, or don't call write for a job without one.",
        )
    return given


def _check_one_server(callbacks: tuple[Callback, ...]) -> None:
    """Reject headers and secrets for one server that a common parameter would give to several."""
    for member in (HTTP, WEBHOOK):
        servers = {callback.url.origin for callback in callbacks if _is_for_one_server(callback, member)}
        if len(servers) <= 1:
            continue
        raise CallbackParamError(
            f"callback_param is one dict for {len(callbacks)} callback URLs at {len(servers)} servers, "
            f"and its {member} has headers or a secret for one of them.",
            hint="Give a list with one entry (a dict or None) for each URL.",
        )


def _is_for_one_server(callback: Callback, member: str) -> bool:
    """Return whether a callback has credentials in `http` or `webhook`."""
    if member == HTTP:
        return callback.http is not None
    return callback.webhook is not None and bool(callback.webhook.credentials().reveal())


def _items(callback_url: Secret[Any]) -> list[Secret[Any]]:
    if callback_url.reveal() is None:
        return []
    if isinstance(callback_url.reveal(), list):
        return [Secret(item) for item in callback_url.reveal()]
    return [callback_url]


def _params(callback_param: Secret[Any], count: int) -> list[Secret[Any]]:
    if not isinstance(callback_param.reveal(), (list, tuple)):
        return [callback_param] * count
    length = len(callback_param.reveal())
    if length != count:
        raise CallbackParamError(
            f"callback_param is a list of {length} for {count} callback URL{'s' * (count != 1)}.",
            hint="Give one dict for all of them, or a list with one entry (a dict or None) for each URL.",
        )
    return [Secret(param) for param in callback_param.reveal()]


def _split(item: Secret[Any]) -> tuple[Secret[Any], Secret[Any] | None]:
    """Split an item into its URL and its own parameter, or None."""
    if isinstance(item.reveal(), (tuple, list)) and len(item.reveal()) == 2:
        url, own = _split_place(Secret(item.reveal()[0]))
        return url, _merge(own, Secret(item.reveal()[1]))
    return _split_place(item)


def _split_place(item: Secret[Any]) -> tuple[Secret[Any], Secret[Any] | None]:
    """Split an item that is not a pair. Pairs of pairs have no meaning, and may nest as deeply as they like."""
    if isinstance(item.reveal(), (PresignedPut, PresignedPost, PresignedMultipart, PresignedPrefix)):
        return Secret(item.reveal().url), Secret(item.reveal().callback_param)
    if isinstance(item.reveal(), Mapping) and "url" in item.reveal():
        return _split_mapping(item)
    return item, None


def _split_mapping(item: Secret[Any]) -> tuple[Secret[Any], Secret[Any] | None]:
    """Split a mapping with a URL: ours, or what boto3's `generate_presigned_post` returns."""
    names = item.reveal().keys() - {"url"}
    if not names:
        return Secret(item.reveal()["url"]), None
    if names == {"fields"}:
        return Secret(item.reveal()["url"]), Secret({FIELDS: item.reveal()["fields"]})
    if names in ({"param"}, {"callback_param"}):
        return Secret(item.reveal()["url"]), Secret(item.reveal()[min(names)])
    return item, None


def _merge(own: Secret[Any] | None, given: Secret[Any]) -> Secret[Any]:
    """Merge an item's own parameter into the common one."""
    if own is None or own.reveal() is None:
        return given
    if not isinstance(own.reveal(), Mapping) or given.reveal() is None:
        return own
    return Secret({**given.reveal(), **own.reveal()}) if isinstance(given.reveal(), Mapping) else given


def _requested(url: Secret[Any], param: Secret[Any]) -> Callback:
    if not isinstance(url.reveal(), str):
        raise InvalidTargetError(
            f"A callback URL is a string, not {type(url.reveal()).__name__}.",
            hint="Give a URL, what a signer returned, a (url, param) pair, or "
            '{"url": "https://...", "param": {...}} or {"url": "https://...", "fields": {...}} without other members.',
        )
    address = SecretURL(url.reveal().strip())
    if param.reveal() is None:
        return Callback(address)
    if not isinstance(param.reveal(), Mapping):
        raise CallbackParamError(
            f"callback_param of {address} is {type_with_article(param)}, not a dict.",
            hint='Give a dict, such as {"s3_fields": post.fields}, or nothing.',
            url=str(address),
        )
    return _callback(address, param, MEMBERS)


def _callback(url: SecretURL, param: Secret[Any], members: frozenset[str]) -> Callback:
    """Return a callback of which `param` has members that say how to deliver, and others of the document."""
    refuse_misplaced(url, param)
    given = Secret({name: value for name, value in param.reveal().items() if name in members and value is not None})
    return Callback(
        url,
        {name: value for name, value in param.reveal().items() if name not in members},
        read_fields(url, param) if FIELDS in param.reveal() else None,
        read_headers(url, given) if HEADERS in given.reveal() else None,
        read_http(url, given) if HTTP in given.reveal() else None,
        _webhook(url, given) if WEBHOOK in given.reveal() else None,
        _issuer(url, given) if REFRESH in given.reveal() else None,
        _parts(url, given) if PARTS in given.reveal() else None,
        _prefix(url, given),
        _events(url, given) if EVENTS in given.reveal() else DEFAULT_EVENTS,
    )


def _events(url: SecretURL, param: Secret[Any]) -> frozenset[str]:
    # Imported here, because few targets subscribe to others than the default.
    with no_fork:
        from callback_sdk.targets.events import read_events

    return read_events(url, param)


def _issuer(url: SecretURL, param: Secret[Any]) -> Issuer:
    # Imported here, because few targets have one.
    with no_fork:
        from callback_sdk.targets.issuer import read_issuer

    return read_issuer(url, param)


def _webhook(url: SecretURL, param: Secret[Any]) -> WebhookOptions | None:
    # Imported here, because few callbacks have them.
    with no_fork:
        from callback_sdk.targets.webhook_options import read_webhook

    return read_webhook(url, param)


def _parts(url: SecretURL, param: Secret[Any]) -> SignedParts:
    # Imported here, because few targets have them.
    with no_fork:
        from callback_sdk.targets.signed_parts import read_parts

    return read_parts(url, param)


def _as_json(param: dict[str, Any]) -> Any:
    """Return a `callback_param` as a reader of the document gets it."""
    with no_fork:
        from callback_sdk.documents.document import encode

    return json.loads(encode(param, path="callback_param").data)


def _prefix(url: SecretURL, param: Secret[Any]) -> Prefix | None:
    if param.reveal().keys().isdisjoint((S3_PREFIX, AZURE_PREFIX)):
        return None
    # Imported here, because few processes need it.
    with no_fork:
        from callback_sdk.targets.prefixes import read_prefix

    return read_prefix(url, param)
