"""Presigned PUT URLs and POST policies, equal byte for byte to botocore's.

botocore says once where a bucket is; the signatures are made here, because one of botocore's costs a
hundred times as much.

Sources: "Signature Version 4" and "POST Policy" in Amazon's S3 API reference.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlsplit

from callback_sdk.buckets import Bucket, Credentials
from callback_sdk.errors import SigningError
from callback_sdk.models import PostTarget, PutTarget
from callback_sdk.redaction import Secret, SecretFields

ALGORITHM = "AWS4-HMAC-SHA256"

LONGEST = timedelta(days=7)
"""The longest life that Signature Version 4 allows."""

HOUR = timedelta(hours=1)

MAX_KEY = 1024
"""Bytes of an object's key, encoded as UTF-8."""

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
    }
    | {"x-amz-security-token"}
)

_WILDCARD = "${filename}"

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class S3Signer:
    """Signs places for results in one bucket. It makes no request, and threads may share it.

    Args:
        bucket: The bucket's name, or the ARN of an access point.
        client: A boto3 S3 client whose credentials, region, endpoint and addressing style count; by default
            boto3's own credential chain and configuration do.
        region: The bucket's region.
        endpoint_url: Another store than AWS; addressed path-style, unless `addressing_style` says otherwise.
        addressing_style: `"virtual"`, `"path"` or `"auto"`.

    Raises:
        SigningError: There are no credentials, no region, or no such bucket name.

    Example:
        >>> signer = S3Signer("results-bucket", region="eu-central-1")
        >>> put = signer.put("runs/42.json", expires=timedelta(hours=6), content_type="application/json")
    """

    def __init__(
        self,
        bucket: str,
        *,
        client: Any = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        addressing_style: str | None = None,
    ) -> None:
        if addressing_style not in (None, "auto", "virtual", "path"):
            raise SigningError(f"addressing_style is {addressing_style!r}.", hint="Give 'virtual', 'path' or 'auto'.")
        if client is not None and (region or endpoint_url):
            raise SigningError(
                "A client was given together with region or endpoint_url.",
                hint="Give these to boto3.client, or leave the client out.",
            )
        self._bucket = Bucket(
            bucket, client=client, region=region, endpoint_url=endpoint_url, addressing_style=addressing_style
        )
        self._now: Callable[[], datetime] = _utc_now
        self._last_key: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def __repr__(self) -> str:
        return f"S3Signer({self._bucket.name!r}, region={self._bucket.location.region!r})"

    @property
    def bucket(self) -> str:
        """The bucket that it signs for."""
        return self._bucket.name

    def put(
        self,
        key: str,
        *,
        expires: timedelta = HOUR,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> PutTarget:
        """Sign a URL that takes one object by PUT.

        Args:
            key: The object's key.
            expires: How long the URL lives, 1 second to 7 days.
            content_type: The object's media type.
            acl: A canned ACL, such as `"bucket-owner-full-control"`.
            metadata: The object's own metadata, without the prefix `x-amz-meta-`.
            if_none_match: Whether the store refuses to write over an object that is there.

        Returns:
            The URL, with the headers that the upload must carry.

        Raises:
            SigningError: The key, the life or a header can't be signed; the text says why.
        """
        now, credentials = self._now(), self._bucket.credentials()
        seconds = _lifetime(expires, now, credentials)
        headers = _headers(content_type, acl, metadata, if_none_match)
        url = self._presign(_encode_key(key), headers, seconds, now, credentials)
        expires_at = now.replace(microsecond=0) + timedelta(seconds=seconds)
        return PutTarget(url=Secret(url), headers=SecretFields(headers), expires_at=expires_at)

    def post(
        self,
        key: str,
        *,
        expires: timedelta = HOUR,
        fields: Mapping[str, str] | None = None,
        conditions: Iterable[Condition] | None = None,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        max_size: int | None = None,
    ) -> PostTarget:
        """Sign a form that takes one object by POST.

        Args:
            key: The object's key; `${filename}` at its end stands for the name of the uploaded file.
            expires: How long the form lives, 1 second to 7 days.
            fields: Form fields, such as `{"acl": "bucket-owner-full-control", "x-amz-meta-run": "43"}`. Each
                that no condition covers gets one that holds it to its value.
            conditions: More conditions, as `generate_presigned_post` takes them.
            content_type: Shorthand for the field `Content-Type`.
            acl: Shorthand for the field `acl`.
            metadata: Shorthand for fields with the prefix `x-amz-meta-`.
            max_size: Most bytes that the object may have.

        Returns:
            The URL and the form's fields.

        Raises:
            SigningError: The key, the life, a field or a condition can't be signed; the text says why.
        """
        now, credentials = self._now(), self._bucket.credentials()
        seconds = _lifetime(expires, now, credentials)
        _check_form_key(key)
        form = _fields(fields, content_type, acl, metadata)
        wanted = _conditions(conditions, form, max_size)
        expires_at = now + timedelta(seconds=seconds)
        signed = self._sign_form(key, form, wanted, now, expires_at, credentials)
        return PostTarget(url=Secret(self._post_url()), fields=signed, expires_at=expires_at.replace(microsecond=0))

    def _post_url(self) -> str:
        if self._bucket.location.post_url is None:
            raise SigningError("An access point takes no POST.", hint="Sign a PUT, or give the bucket's own name.")
        return self._bucket.location.post_url

    def _presign(
        self, key: str, headers: Mapping[str, str], seconds: int, now: datetime, credentials: Credentials
    ) -> str:
        place = self._bucket.location
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{place.region}/{place.service}/aws4_request"
        names = ["host", *headers]
        names.sort()
        signed_names = ";".join(names)
        head = (
            f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={_escape(f'{credentials.access_key}/{scope}')}"
            f"&X-Amz-Date={stamp}&X-Amz-Expires={seconds}"
        )
        token = "" if credentials.token is None else f"&X-Amz-Security-Token={_escape(credentials.token.reveal())}"
        listed = f"&X-Amz-SignedHeaders={_escape(signed_names)}"
        canonical_headers = "".join(
            f"{name}:{place.host if name == 'host' else ' '.join(headers[name].split())}\n" for name in names
        )
        # The canonical query is sorted by name; the URL has botocore's order, with the token after the headers.
        canonical = (
            f"PUT\n{urlsplit(place.put_url).path}{key}\n{head}{token}{listed}\n{canonical_headers}\n{signed_names}\n"
            "UNSIGNED-PAYLOAD"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = self._signature(f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}", stamp[:8], credentials)
        return f"{place.put_url}{key}?{head}{listed}{token}&X-Amz-Signature={signature}"

    def _sign_form(
        self,
        key: str,
        fields: dict[str, str],
        conditions: list[Any],
        now: datetime,
        expires_at: datetime,
        credentials: Credentials,
    ) -> SecretFields:
        place = self._bucket.location
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{place.region}/{place.service}/aws4_request"
        signing = {
            "x-amz-algorithm": ALGORITHM,
            "x-amz-credential": f"{credentials.access_key}/{scope}",
            "x-amz-date": stamp,
        }
        if credentials.token is not None:
            signing["x-amz-security-token"] = credentials.token.reveal()
        document = {
            "expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": [
                *conditions,
                {"bucket": self._bucket.name},
                _key_condition(key),
                *({name: value} for name, value in signing.items()),
            ],
        }
        policy = base64.b64encode(json.dumps(document).encode()).decode()
        signature = self._signature(policy, stamp[:8], credentials)
        return SecretFields({**fields, "key": key, **signing, "policy": policy, "x-amz-signature": signature})

    def _signature(self, text: str, day: str, credentials: Credentials) -> str:
        known, signing_key = self._last_key
        wanted = (credentials.access_key, day)
        if known != wanted:
            place = self._bucket.location
            signing_key = f"AWS4{credentials.secret_key.reveal()}".encode()
            for part in (day, place.region, place.service, "aws4_request"):
                signing_key = hmac.digest(signing_key, part.encode(), hashlib.sha256)
            self._last_key = (wanted, signing_key)
        return hmac.digest(signing_key, text.encode(), hashlib.sha256).hex()


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")


def _encode_key(key: str) -> str:
    """Return a key as it stands in a URL."""
    try:
        length = len(key.encode())
    except (UnicodeEncodeError, AttributeError):
        raise SigningError(
            "The key is no string that UTF-8 can hold.", hint="Give an object's key such as 'runs/42.json'."
        ) from None
    if not 1 <= length <= MAX_KEY:
        raise SigningError(f"The key has {length} bytes; a store takes 1 to {MAX_KEY}.", hint="Give another key.")
    return quote(key, safe="/~")


def _lifetime(expires: timedelta, now: datetime, credentials: Credentials) -> int:
    """Return the life of a signature in whole seconds, when it can have it."""
    if not isinstance(expires, timedelta):
        raise SigningError(f"expires is a {type(expires).__name__}.", hint="Give timedelta(seconds=3600), for one.")
    if expires < timedelta(seconds=1):
        raise SigningError(f"A life of {expires} is over at once.", hint="Give at least a second, better hours.")
    if expires > LONGEST:
        raise SigningError(
            f"A life of {expires} is longer than the 7 days that Signature Version 4 allows.",
            hint="Sign for 7 days at most, and sign again when a job takes longer.",
        )
    if credentials.expires_at is not None and now + expires > credentials.expires_at:
        raise SigningError(
            f"The credentials are temporary and end at {credentials.expires_at:%Y-%m-%d %H:%M:%S} UTC; a signature "
            f"that is to live for {expires} would end with them.",
            hint="Ask for less, or sign with the credentials of an IAM user, which don't end.",
        )
    return int(expires.total_seconds())


def _headers(
    content_type: str | None, acl: str | None, metadata: Mapping[str, str] | None, if_none_match: bool
) -> dict[str, str]:
    headers = {
        "content-type": content_type,
        "if-none-match": "*" if if_none_match else None,
        "x-amz-acl": acl,
        **{f"x-amz-meta-{name}".lower(): value for name, value in (metadata or {}).items()},
    }
    chosen = {name: value for name, value in headers.items() if value is not None}
    for name, value in chosen.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or not _is_header_value(value):
            raise SigningError(
                f"The header {name!r} can't be sent with this value.",
                hint="Names and values of headers and metadata are printable ASCII; encode others, as base64 for one.",
            )
    return chosen


def _is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _fields(
    fields: Mapping[str, str] | None,
    content_type: str | None,
    acl: str | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, str]:
    chosen = dict(fields or {})
    shorthands = {"Content-Type": content_type, "acl": acl}
    shorthands |= {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
    given = {name.lower() for name in chosen}
    for name, value in shorthands.items():
        if value is None:
            continue
        if name.lower() in given:
            raise SigningError(f"The field {name!r} is given twice.", hint="Give it in `fields` or by its own name.")
        chosen[name] = value
    for name, value in chosen.items():
        if name.lower() in _RESERVED:
            raise SigningError(f"The field {name!r} is the signer's own.", hint="Leave it out.")
        if not isinstance(value, str):
            raise SigningError(f"The field {name!r} is a {type(value).__name__}.", hint="Give all fields as strings.")
    return chosen


def _conditions(conditions: Iterable[Condition] | None, fields: Mapping[str, str], max_size: int | None) -> list[Any]:
    chosen = [dict(c) if isinstance(c, Mapping) else list(c) for c in conditions or ()]
    covered = set()
    for condition in chosen:
        if isinstance(condition, dict):
            covered |= {name.lower() for name in condition}
        elif len(condition) == 3 and (condition[0] == "content-length-range" or str(condition[1]).startswith("$")):
            covered.add(str(condition[1]).removeprefix("$").lower())
        else:
            raise SigningError(
                f"The condition {condition!r} is none.",
                hint='Give {"acl": "private"}, ["starts-with", "$key", "runs/"] or ["content-length-range", 0, 1000].',
            )
    chosen += [{name: value} for name, value in fields.items() if name.lower() not in covered]
    if max_size is not None:
        chosen.append(["content-length-range", 0, max_size])
    return chosen


def _check_form_key(key: str) -> None:
    _encode_key(key)
    if _WILDCARD in key.removesuffix(_WILDCARD):
        raise SigningError(
            f"The key has {_WILDCARD} in its middle: the store would put a name there, and refuse the key for it.",
            hint="Put it at the end.",
        )


def _key_condition(key: str) -> Any:
    return ["starts-with", "$key", key.removesuffix(_WILDCARD)] if key.endswith(_WILDCARD) else {"key": key}
