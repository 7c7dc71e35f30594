"""Check the arguments of presigning: keys, lifetimes, headers, fields and conditions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import ConfigurationError, OutputError, SigningError, TargetError
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.signer.credentials import SigningCredentials
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.dialects import FILENAME
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.members import FIELDS, HEADERS, read_fields, read_headers
from callback_sdk.targets.named_values import has_surrogates
from callback_sdk.targets.operations import S3, check_operation
from callback_sdk.targets.policies import (
    CONDITIONS_HINT,
    UnreadableError,
    check_conditions,
    fields_by_name,
    read_conditions,
)
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_CONDITIONS, MAX_FIELDS, MAX_FORM

MAX_LIFETIME = timedelta(days=7)
"""Maximum lifetime of a presigned URL in Signature Version 4."""

MAX_KEY = 1024
"""Maximum bytes of a key in UTF-8 ("Creating object key names", Amazon S3 User Guide)."""

MAX_SIZE = 10**18 - 1
"""Maximum of a content-length-range."""

MAX_GIVEN_SIZE = MAX_FORM // 2
"""Maximum characters of fields and conditions. The base64 of the conditions is a field too, longer by a third."""

MAX_GIVEN_FIELDS = MAX_FIELDS - 7
"""Maximum number of fields besides the key and those of the signature."""

MAX_GIVEN_CONDITIONS = MAX_CONDITIONS // 2
"""Maximum number of conditions besides those of the fields and the signature."""

Condition = Mapping[str, str] | Iterable[Any]

_SIGNED_FIELDS = frozenset(
    {
        *("policy", "file", "x-amz-algorithm", "x-amz-credential", "x-amz-date"),
        *("x-amz-signature", "x-amz-security-token"),
    }
)

_RESERVED = _SIGNED_FIELDS | {"key", "bucket"}

_FORM_HINT = "Give conditions that the key and the fields meet, and fields that a form can have."

ANY_TYPE = ["starts-with", "$Content-Type", ""]
"""Condition that lets the sender of a form choose the media type."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def encode_key(key: str) -> str:
    """Percent-encode a key for a URL."""
    try:
        length = len(key.encode())
    except (UnicodeEncodeError, AttributeError):
        raise SigningError(
            "The key is not a string that UTF-8 can encode.", hint="Give an object's key such as 'runs/42.json'."
        ) from None
    if not 1 <= length <= MAX_KEY:
        raise SigningError(f"The key has {length} bytes; 1 to {MAX_KEY} are allowed.", hint="Give another key.")
    if key.startswith("/"):
        # Legal in S3, but its URL has an empty segment, which clients, proxies and some stores remove: the signature
        # doesn't match any more, or the object has another key (boto3's issue 4181, requests' 6711).
        without = key.lstrip("/")
        example = f": {without!r}" if without else ""
        raise SigningError(
            f"The key {short_repr(key)} begins with a slash.", hint=f"Give it without the slash{example}."
        )
    if key.startswith("s3://"):
        raise SigningError(
            f"The key {short_repr(key)} is the URL of an object.",
            hint="Give the key alone, which follows the bucket's name, and the bucket to S3Signer.",
        )
    return quote(key, safe="/~")


def check_lifetime(expires: Duration) -> timedelta:
    """Return the lifetime of a signature, which may be 1 second to 7 days.

    Raises:
        SigningError: It is out of range, or not a duration.
    """
    try:
        duration = to_timedelta("expires", expires)
    except ConfigurationError as error:
        raise SigningError(error.message, hint=error.hint) from None
    if duration < timedelta(seconds=1):
        raise SigningError(f"expires={expires} is too short.", hint="Give at least one second.")
    if duration > MAX_LIFETIME:
        raise SigningError(
            f"expires={expires} is longer than the 7 days that Signature Version 4 allows.",
            hint="Presign for 7 days at most, and presign again if a job takes longer.",
        )
    return duration


def lifetime(expires: timedelta, now: datetime, credentials: SigningCredentials) -> int:
    """Return the lifetime of a signature in whole seconds.

    Raises:
        SigningError: The credentials expire earlier.
    """
    if credentials.expires_at is not None and now + expires > credentials.expires_at:
        raise SigningError(
            f"The temporary credentials expire at {credentials.expires_at:%Y-%m-%d %H:%M:%S} UTC; a signature with "
            f"expires={expires} would expire with them.",
            hint="Give a shorter `expires`, or sign with the credentials of an IAM user, which don't expire.",
        )
    return int(expires.total_seconds())


def put_headers(
    content_type: str | None, acl: str | None, metadata: Mapping[str, str] | None, if_none_match: bool
) -> dict[str, str]:
    if not isinstance(if_none_match, bool):
        raise SigningError(f"if_none_match is {short_repr(if_none_match)}.", hint="Give True or False.")
    headers = {
        "content-type": content_type,
        "if-none-match": "*" if if_none_match else None,
        "x-amz-acl": acl,
        **_metadata(metadata, str.lower),
    }
    chosen = {name: value for name, value in headers.items() if value is not None}
    for name, value in chosen.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or not _is_header_value(value):
            raise SigningError(
                f"The header {short_repr(name)} can't be sent with this value.",
                hint="Headers and metadata must be printable ASCII. Encode other values, such as in base64.",
            )
    return chosen


def check_headers(url: SecretURL, headers: Mapping[str, str]) -> None:
    """Check headers of a PUT by the rules for the URLs of any signer.

    Args:
        url: URL of the bucket.
        headers: The headers, from `put_headers`.

    Raises:
        SigningError: The writer would reject the URL.
    """
    try:
        callback = Callback(url, headers=read_headers(url, Secret({HEADERS: headers})))
        given_headers(callback)
        check_operation(callback, S3)
    except TargetError as error:
        raise SigningError(f"A URL with these headers would be rejected: {error.message}", hint=error.hint) from None


def _is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()


def form_fields(
    fields: Mapping[str, str] | None,
    content_type: str | None,
    acl: str | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, str]:
    chosen = _members("fields", fields)
    given = {name.lower() for name in chosen}
    for name, value in {"Content-Type": content_type, "acl": acl, **_metadata(metadata, str)}.items():
        if value is None:
            continue
        if name.lower() in given:
            raise SigningError(
                f"The field {short_repr(name)} is given twice.", hint="Give it in `fields` or by its own name."
            )
        chosen[name] = value
    for name, value in chosen.items():
        if name.lower() in _RESERVED:
            raise SigningError(f"The field {name!r} is set by the signer.", hint="Leave it out.")
        if not isinstance(value, str):
            raise SigningError(
                f"The field {short_repr(name)} is of type {type(value).__name__}.", hint="Give all fields as strings."
            )
        if has_surrogates(name) or has_surrogates(value):
            raise SigningError(
                f"The field {short_repr(name)} has a lone surrogate, which UTF-8 can't encode.",
                hint="Give Unicode text.",
            )
    return chosen


def form_conditions(
    conditions: Iterable[Condition] | None, fields: Mapping[str, str], max_bytes: int | None, bucket: str
) -> list[Any]:
    # That of the bucket is added by the signer: some stores accept policies of 1 KiB only.
    chosen = [condition for condition in _conditions(conditions) if condition != {"bucket": bucket}]
    covered = {name for _, name, _ in _read(chosen)}
    if own := sorted(covered & _SIGNED_FIELDS):
        raise SigningError(f"The condition for {own[0]!r} is added by the signer.", hint="Leave it out.")
    chosen += [{name: value} for name, value in fields.items() if name.lower() not in covered]
    if max_bytes is not None:
        if type(max_bytes) is not int or not 0 <= max_bytes <= MAX_SIZE:
            raise SigningError(
                f"max_bytes is {short_repr(max_bytes)}.", hint=f"Give a number of bytes, from 0 to {MAX_SIZE}."
            )
        chosen.append(["content-length-range", 0, max_bytes])
    size = len(json.dumps(chosen)) + sum(len(name) + len(value) for name, value in fields.items())
    if size > MAX_GIVEN_SIZE or len(fields) > MAX_GIVEN_FIELDS:
        raise SigningError(
            f"The form has {len(fields)} fields and {size} characters; {MAX_GIVEN_FIELDS} and {MAX_GIVEN_SIZE} are "
            "allowed.",
            hint="Give fewer or shorter fields: Amazon S3 accepts 20 KB in a form.",
        )
    return chosen


def form_check(url: SecretURL, fields: Mapping[str, str], conditions: Sequence[Any]) -> Callable[[str], str]:
    """Check fields by the rules for the forms of any signer, and return a function that checks a key.

    The function returns the key unchanged. A condition for a field that isn't given is left to whoever sends the form,
    such as a browser, which adds the field.

    Args:
        url: URL of the form.
        fields: The form's fields, from `form_fields`.
        conditions: The policy's conditions, from `form_conditions`.

    Raises:
        SigningError: The writer would reject the form.
    """
    if not fields and not conditions:
        return check_form_key
    given = {*(name.lower() for name in fields), "bucket", "key"}
    named = tuple(condition for condition in _read(conditions) if condition[1] in given)

    def check(key: str) -> str:
        try:
            form = read_fields(url, Secret({FIELDS: {**fields, "key": check_form_key(key)}}))
            check_conditions(url, fields_by_name(url, form), Secret(named))
        except TargetError as error:
            raise SigningError(f"The form would be rejected: {error.message}", hint=_FORM_HINT) from None
        return key

    if any(name == "key" for _, name, _ in named):
        return check
    check("key")
    return check_form_key


def prefix_key(prefix: str) -> str:
    """Return the key of a form for any object below a prefix.

    Raises:
        SigningError: The prefix is invalid.
    """
    # Imported here, because few signers need it.
    with no_fork:
        from callback_sdk.targets.prefixes import prefix_problem

    if problem := prefix_problem(prefix):
        raise SigningError(f"The prefix {problem}: {short_repr(prefix)}.", hint="Give a prefix such as 'runs/42/'.")
    return f"{prefix}{FILENAME}"


def document_name(name: str) -> str:
    """Return the name of the document below a prefix.

    Raises:
        SigningError: No output file could have the name.
    """
    with no_fork:
        from callback_sdk.outputs.names import checked_name

    try:
        return checked_name(name)
    except OutputError as error:
        raise SigningError(error.message, hint="Give a name such as 'result.json'.") from None


def _read(conditions: Sequence[Any]) -> tuple[tuple[str, str, str], ...]:
    """Return operator, name and value of each condition.

    Raises:
        SigningError: No store accepts them.
    """
    try:
        return read_conditions(conditions)[0]
    except UnreadableError as error:
        raise SigningError(f"The policy can't be signed: {error}.", hint=CONDITIONS_HINT) from None


def _metadata(given: Mapping[str, str] | None, spelled: Callable[[str], str]) -> dict[str, str]:
    """Return metadata by the names of its headers or fields."""
    members = {spelled(f"x-amz-meta-{name}"): value for name, value in _members("metadata", given).items()}
    if len({name.lower() for name in members}) < len(given or ()):
        raise SigningError("metadata has a name twice, in different letter case.", hint="Give each name once.")
    return members


def _members(argument: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """Return fields or metadata by their names.

    Raises:
        SigningError: They are not a dict, or a name is not a string.
    """
    if given is not None and not isinstance(given, Mapping):
        raise SigningError(f"{argument} is of type {type(given).__name__}.", hint='Give a dict: {"name": "value"}.')
    for name in given or {}:
        if not isinstance(name, str):
            raise SigningError(
                f"{argument} has a name of type {type(name).__name__}.", hint="Give all names as strings."
            )
    return dict(given or {})


def _conditions(given: Iterable[Condition] | None) -> list[Any]:
    """Return conditions as JSON has them, one for each member of a dict: Amazon S3 rejects several in one object."""
    if given is None:
        return []
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise SigningError(f"conditions is of type {type(given).__name__}, not a list.", hint=CONDITIONS_HINT)
    chosen: list[Any] = []
    for condition in islice(given, MAX_GIVEN_CONDITIONS + 1):
        if isinstance(condition, Mapping):
            chosen += [{name: value} for name, value in condition.items()]
        else:
            chosen.append(list(condition) if isinstance(condition, tuple) else condition)
    if len(chosen) > MAX_GIVEN_CONDITIONS:
        raise SigningError(
            f"There are more than {MAX_GIVEN_CONDITIONS} conditions.", hint="Give one condition for each field."
        )
    return chosen


def check_form_key(key: str) -> str:
    """Check a key of a form, and return it unchanged."""
    encode_key(key)
    if FILENAME in key.removesuffix(FILENAME):
        raise SigningError(
            f"The key has {FILENAME} in its middle: the store replaces it, and the key no longer meets its condition.",
            hint="Move it to the end.",
        )
    return key
