"""Callbacks as people give them: a URL or several, with one parameter for all or one each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from callback_sdk.errors import (
    CallbackParamError,
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    TargetError,
)
from callback_sdk.models import PresignedPost, PresignedPut
from callback_sdk.redaction import Secret, SecretFields, SecretURL, wrap_secret
from callback_sdk.text.limits import MAX_FIELDS, MAX_FORM, MAX_HEADERS, MAX_HEADERS_SIZE

FIELDS = "s3_fields"
"""Member of `callback_param` with the form fields of a presigned POST."""

HEADERS = "s3_headers"
"""Member of `callback_param` with the headers that a presigned PUT signed."""

_SURROGATES = re.compile("[\ud800-\udfff]")


@define(frozen=True)
class Callback:
    """One place that a result goes to, its credentials wrapped.

    Attributes:
        url: Where to.
        param: `callback_param` without its credentials, as it stands in the document.
        fields: `s3_fields`; None when `callback_param` has no such member.
        headers: `s3_headers`; None when `callback_param` has no such member.
    """

    url: SecretURL
    param: dict[str, Any] = field(factory=dict)
    fields: SecretFields | None = None
    headers: SecretFields | None = None

    def plain(self) -> dict[str, Any]:
        """Return `{"url": ..., "param": ...}` with every credential in it, to store or to send on purpose."""
        credentials = {FIELDS: self.fields, HEADERS: self.headers}
        secrets = {name: secret.reveal() for name, secret in credentials.items() if secret is not None}
        return {"url": self.url.reveal(), "param": {**self.param, **secrets}}


def parse_callbacks(callback_url: Any, callback_param: Any = None) -> tuple[Callback, ...]:
    """Pair URLs and parameters.

    Args:
        callback_url: A URL, a `PresignedPut` or a `PresignedPost`, a `(url, param)` pair, a
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
    return tuple(_callback(url, _merge(own, given)) for (url, own), given in zip(items, params, strict=True))


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
    if isinstance(item.reveal(), (PresignedPut, PresignedPost)):
        return Secret(item.reveal().url), Secret(item.reveal().callback_param)
    if isinstance(item.reveal(), (tuple, list)) and len(item.reveal()) == 2:
        url, own = _split(Secret(item.reveal()[0]))
        return url, _merge(own, Secret(item.reveal()[1]))
    if isinstance(item.reveal(), Mapping) and item.reveal().keys() <= {"url", "param"} and "url" in item.reveal():
        return Secret(item.reveal()["url"]), Secret(item.reveal().get("param"))
    return item, None


def _merge(own: Secret[Any] | None, given: Secret[Any]) -> Secret[Any]:
    """Merge an item's own parameter into the common one."""
    if own is None or own.reveal() is None:
        return given
    if not isinstance(own.reveal(), Mapping) or given.reveal() is None:
        return own
    return Secret({**given.reveal(), **own.reveal()}) if isinstance(given.reveal(), Mapping) else given


def _callback(url: Secret[Any], param: Secret[Any]) -> Callback:
    if not isinstance(url.reveal(), str):
        raise InvalidTargetError(
            f"A callback URL is a string, not {type(url.reveal()).__name__}.",
            hint="Give a URL, a PresignedPut, a PresignedPost, a (url, param) pair, or "
            '{"url": "https://...", "param": {...}} without other members.',
        )
    address = SecretURL(url.reveal().strip())
    if param.reveal() is None:
        return Callback(address)
    if not isinstance(param.reveal(), Mapping):
        raise CallbackParamError(
            f"callback_param of {address} is {_article(param)}, not a dict.",
            hint='Give a dict, such as {"s3_fields": post.fields}, or nothing.',
            url=str(address),
        )
    _refuse_bare_fields(address, param)
    return Callback(
        address,
        {key: value for key, value in param.reveal().items() if key not in (FIELDS, HEADERS)},
        _fields(address, param) if FIELDS in param.reveal() else None,
        _headers(address, param) if param.reveal().get(HEADERS) is not None else None,
    )


def _refuse_bare_fields(url: SecretURL, param: Secret[Any]) -> None:
    names = {str(name).lower() for name in param.reveal()}
    if "policy" in names and names & {"x-amz-signature", "signature", "x-goog-signature"}:
        raise InvalidS3FieldsError(
            f"callback_param of {url} has the form fields at its top level, which would put them into the document.",
            hint='Move them one level down: callback_param={"s3_fields": fields}.',
            url=str(url),
        )


def _fields(url: SecretURL, param: Secret[Any]) -> SecretFields:
    fields = Secret(param.reveal()[FIELDS])
    if not isinstance(fields.reveal(), Mapping) or not fields.reveal():
        found = "empty" if fields.reveal() in ({}, None, "") else _article(fields)
        raise MissingS3FieldsError(
            f"s3_fields of {url} is {found}.",
            hint='Give the dict that generate_presigned_post returned as "fields". For a presigned PUT URL leave '
            "s3_fields out.",
            url=str(url),
        )
    if "fields" in fields.reveal() and isinstance(fields.reveal()["fields"], Mapping):
        raise InvalidS3FieldsError(
            f"s3_fields of {url} is the whole return value of generate_presigned_post.",
            hint='Give its "fields" only: {"s3_fields": response["fields"]}.',
            url=str(url),
        )
    return _strings(url, _FORM, fields)


def _headers(url: SecretURL, param: Secret[Any]) -> SecretFields:
    headers = Secret(param.reveal()[HEADERS])
    if not isinstance(headers.reveal(), Mapping):
        raise CallbackParamError(
            f"s3_headers of {url} is {_article(headers)}, not a dict.",
            hint="Give a dict from the names of the signed headers to their values.",
            url=str(url),
        )
    return _strings(url, _PUT, headers)


@define(frozen=True, kw_only=True)
class _Member:
    """A member of `callback_param` with names and values.

    Attributes:
        name: The member.
        max_count: Maximum number of values.
        max_characters: Maximum characters of names and values together.
        error: Class of the error for an invalid one.
    """

    name: str
    max_count: int
    max_characters: int
    error: type[TargetError]


_FORM = _Member(name=FIELDS, max_count=MAX_FIELDS, max_characters=MAX_FORM, error=InvalidS3FieldsError)
_PUT = _Member(name=HEADERS, max_count=MAX_HEADERS, max_characters=MAX_HEADERS_SIZE, error=CallbackParamError)


def _strings(url: SecretURL, member: _Member, values: Secret[Any]) -> SecretFields:
    if len(values.reveal()) > member.max_count:
        raise _too_large(url, member, f"{len(values.reveal())} members; {member.max_count} are allowed")
    for name in values.reveal():
        if not isinstance(name, str) or not _is_text(Secret(values.reveal()[name])):
            raise member.error(
                f"{member.name} of {url} has a member {name!r:.100} that is neither a string nor a number.",
                hint="Pass the values unchanged, as the signer returned them.",
                url=str(url),
            )
    strings = SecretFields({name: str(value) for name, value in values.reveal().items()})
    size = sum(len(name) + len(value) for name, value in strings.reveal().items())
    if size > member.max_characters:
        raise _too_large(url, member, f"{size} characters; {member.max_characters} are allowed")
    return strings


def _too_large(url: SecretURL, member: _Member, problem: str) -> TargetError:
    return member.error(
        f"{member.name} of {url} has {problem}.",
        hint="Pass the values that the signer returned, and nothing else; results belong into the document.",
        url=str(url),
    )


def _is_text(value: Secret[Any]) -> bool:
    if isinstance(value.reveal(), str):
        # UTF-8 can't encode a lone surrogate.
        return not _SURROGATES.search(value.reveal())
    if isinstance(value.reveal(), int):
        # str() raises ValueError for integers of more than 4,300 digits (CVE-2020-10735).
        return not isinstance(value.reveal(), bool) and value.reveal().bit_length() <= 64
    return isinstance(value.reveal(), float)


def _article(value: Secret[Any]) -> str:
    name = type(value.reveal()).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
