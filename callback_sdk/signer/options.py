"""Check the arguments of presigning: keys, lifetimes, headers, fields and conditions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from callback_sdk.errors import ConfigurationError, SigningError
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.signer.credentials import SigningCredentials
from callback_sdk.targets.policies import FILENAME

MAX_LIFETIME = timedelta(days=7)
"""Maximum lifetime of a presigned URL in Signature Version 4."""

MAX_KEY = 1024
"""Maximum bytes of a key in UTF-8 ("Creating object key names", Amazon S3 User Guide)."""

Condition = Mapping[str, str] | Iterable[Any]

_RESERVED = frozenset(
    {
        "key",
        "bucket",
        "policy",
        "file",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-signature",
        "x-amz-security-token",
    }
)

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
    headers = {
        "content-type": content_type,
        "if-none-match": "*" if if_none_match else None,
        "x-amz-acl": acl,
        **{f"x-amz-meta-{name}".lower(): value for name, value in _members("metadata", metadata).items()},
    }
    chosen = {name: value for name, value in headers.items() if value is not None}
    for name, value in chosen.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or not _is_header_value(value):
            raise SigningError(
                f"The header {name!r} can't be sent with this value.",
                hint="Headers and metadata must be printable ASCII. Encode other values, such as in base64.",
            )
    return chosen


def _is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()


def form_fields(
    fields: Mapping[str, str] | None,
    content_type: str | None,
    acl: str | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, str]:
    chosen = _members("fields", fields)
    shorthands = {"Content-Type": content_type, "acl": acl}
    shorthands |= {f"x-amz-meta-{name}": value for name, value in _members("metadata", metadata).items()}
    given = {name.lower() for name in chosen}
    for name, value in shorthands.items():
        if value is None:
            continue
        if name.lower() in given:
            raise SigningError(f"The field {name!r} is given twice.", hint="Give it in `fields` or by its own name.")
        chosen[name] = value
    for name, value in chosen.items():
        if name.lower() in _RESERVED:
            raise SigningError(f"The field {name!r} is set by the signer.", hint="Leave it out.")
        if not isinstance(value, str):
            raise SigningError(
                f"The field {name!r} is of type {type(value).__name__}.", hint="Give all fields as strings."
            )
    return chosen


def form_conditions(
    conditions: Iterable[Condition] | None, fields: Mapping[str, str], max_bytes: int | None
) -> list[Any]:
    chosen = _conditions(conditions)
    covered = set()
    for condition in chosen:
        if isinstance(condition, dict):
            covered |= {name.lower() for name in condition}
        elif len(condition) == 3 and (condition[0] == "content-length-range" or str(condition[1]).startswith("$")):
            covered.add(str(condition[1]).removeprefix("$").lower())
        else:
            raise SigningError(
                f"Invalid condition: {condition!r}.",
                hint='Give {"acl": "private"}, ["starts-with", "$key", "runs/"] or ["content-length-range", 0, 1000].',
            )
    chosen += [{name: value} for name, value in fields.items() if name.lower() not in covered]
    if max_bytes is not None:
        if not isinstance(max_bytes, int) or max_bytes < 0:
            raise SigningError(f"max_bytes is {max_bytes!r:.100}.", hint="Give a number of bytes.")
        chosen.append(["content-length-range", 0, max_bytes])
    return chosen


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
    try:
        chosen = [dict(one) if isinstance(one, Mapping) else list(one) for one in given or ()]
        json.dumps(chosen)
    except TypeError:
        raise SigningError(
            "conditions is not a list of JSON values.",
            hint='Give a list such as [{"acl": "private"}, ["starts-with", "$key", "runs/"]].',
        ) from None
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
