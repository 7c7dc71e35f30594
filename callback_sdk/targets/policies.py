"""POST policies: parse them, and check a form against their conditions as the store does.

Sources: "POST Policy" and "POST Object" in Amazon's S3 API reference, and botocore's `generate_presigned_post`;
Google's "Policy document" has the same form.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

from attrs import define

from callback_sdk.errors import InvalidS3FieldsError, PolicyError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.amazon import amazon_host
from callback_sdk.targets.dialects import AMAZON, Dialect
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.text.limits import MAX_CONDITIONS

FILENAME = "${filename}"
"""Placeholder for the file's name, which the store replaces in all fields before it checks the policy."""

_UNCHECKED = frozenset(
    {"policy", "signature", "awsaccesskeyid", "googleaccessid", "x-amz-signature", "x-goog-signature"}
)
"""Fields that need no condition, besides those that begin with `x-ignore-`."""

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)

_UNCHANGED = "Pass s3_fields unchanged, as the signer returned them."

Condition = tuple[str, str, str]
"""`"eq"` or `"starts-with"`, the field's name in lower case, and the value or prefix."""


class _UnreadableError(ValueError):
    """A policy that no store accepts; the text has the reason, and none of its values."""


@define(frozen=True)
class Policy:
    """A POST policy.

    Attributes:
        expires_at: When it expires, in UTC.
        size_range: Minimum and maximum bytes of the file; None without a content-length-range.
    """

    _conditions: Secret[tuple[Condition, ...]]
    expires_at: datetime
    size_range: tuple[int, int] | None
    _strict: bool

    def check(self, url: SecretURL, fields: SecretFields, size: int | None, filename: str | None = None) -> None:
        """Check a form against every condition.

        Args:
            url: The target, for the error's text.
            fields: The form's fields.
            size: Bytes of the file; None before they are known.
            filename: The file's name; None before it is known.

        Raises:
            InvalidS3FieldsError: The form is invalid under any policy.
            PolicyError: The store would reject the form; the text names the condition.
        """
        given = _by_lower_name(url, fields)
        if filename is not None:
            given = Secret({name: value.replace(FILENAME, filename) for name, value in given.reveal().items()})
        form = _Form(url, given)
        for number in range(len(self._conditions.reveal())):
            form.check(Secret(self._conditions.reveal()[number]))
        if self._strict:
            self._check_extra(url, set(given.reveal()))
        self._check_size(url, size)

    def _check_extra(self, url: SecretURL, names: set[str]) -> None:
        named = {name for _, name, _ in self._conditions.reveal()}
        extra = sorted(name for name in names - named - _UNCHECKED if not name.startswith("x-ignore-"))
        if extra:
            raise PolicyError(
                f"s3_fields of {url} has the field {extra[0]!r} that the policy doesn't allow.",
                hint="Presign again with a condition for it (presign_post adds one for each field), or leave it out.",
                url=str(url),
            )

    def _check_size(self, url: SecretURL, size: int | None) -> None:
        if self.size_range is None or size is None:
            return
        least, most = self.size_range
        if not least <= size <= most:
            raise PolicyError(
                f"The document has {size} bytes, and the policy of {url} takes {least} to {most}.",
                hint="Presign again with a wider content-length-range.",
                url=str(url),
            )


def _by_lower_name(url: SecretURL, fields: SecretFields) -> Secret[dict[str, str]]:
    """Return the fields by lower-case names: stores compare them case-insensitively."""
    given = Secret({name.lower(): value for name, value in fields.reveal().items()})
    hint = _UNCHANGED
    if len(given.reveal()) < len(fields.reveal()):
        problem = "has a field twice, in different letter case"
    elif "file" in given.reveal():
        problem = "has a field 'file', which is the name of the document's own part"
    elif "key" not in given.reveal():
        problem = "has no field 'key', so the store can't name the object"
        hint = "Add the object's key to s3_fields: minio for Python, for one, returns the fields without it."
    else:
        return given
    raise InvalidS3FieldsError(f"s3_fields of {url} {problem}.", hint=hint, url=str(url))


class _Form:
    """A form to check against conditions, each in time linear in the condition's length.

    Args:
        url: URL of the form.
        given: Its fields by lower-case names.
    """

    def __init__(self, url: SecretURL, given: Secret[dict[str, str]]) -> None:
        self._url = url
        self._given = given
        self._open = Secret({name: _OpenValue.of(Secret(value)) for name, value in given.reveal().items()})
        self._content_types = _outermost(Secret(given.reveal().get("content-type", "")))
        segments = [part for segment in unquote(url.path).split("/") for part in segment.split(":") if part]
        self._buckets = {*segments, url.host}
        # A custom domain or a proxy may stand for a bucket without naming it.
        host = amazon_host(url)
        is_bucket = not host.is_access_point if host is not None else True
        self._names_bucket = len(segments) == 1 or (is_bucket and bool(StorageProviders().bucket_in_host(url)))

    def check(self, condition: Secret[Condition]) -> None:
        """Check the form against one condition.

        Raises:
            PolicyError: The store would reject the form.
        """
        operator, name = condition.reveal()[:2]
        if name == "bucket" and name not in self._given.reveal():
            self._check_bucket(condition)
        elif name not in self._given.reveal():
            raise _missing(self._url, name)
        elif not self._holds(condition):
            raise _unmet(self._url, operator, name, has_placeholder=FILENAME in condition.reveal()[2])

    def _check_bucket(self, condition: Secret[Condition]) -> None:
        """Reject a form for another bucket than the URL's, if the URL names one."""
        if self._names_bucket and not self._is_for(condition):
            raise PolicyError(
                f"The policy in s3_fields of {self._url} is for another bucket.",
                hint="Pass URL and fields of the same form together; with several callbacks, in the same order.",
                url=str(self._url),
            )

    def _is_for(self, condition: Secret[Condition]) -> bool:
        operator, _, bucket = condition.reveal()
        if operator == "starts-with":
            # Amazon rejects it for a bucket; Huawei's SDK makes it with an empty prefix.
            return any(name.startswith(bucket) for name in self._buckets)
        return bucket in self._buckets or self._url.host.startswith(f"{bucket}.".lower())

    def _holds(self, condition: Secret[Condition]) -> bool:
        operator, name, wanted = condition.reveal()
        open_value = self._open.reveal()[name]
        if open_value is not None:
            return open_value.may_hold(condition)
        if operator == "eq":
            return self._given.reveal()[name] == wanted
        # "starts-with" on a comma-separated Content-Type holds if it holds for each ("POST Policy", S3 API reference).
        several = self._content_types.reveal() if name == "content-type" else (self._given.reveal()[name],)
        return all(value.startswith(wanted) for value in several)


@define(frozen=True, repr=False)
class _OpenValue:
    """A field with `${filename}`, whose value is not known before the upload.

    Attributes:
        value: The field's value.
        first: The part before the first placeholder.
        count: Number of placeholders.
    """

    value: str
    first: str
    count: int

    @classmethod
    def of(cls, value: Secret[str]) -> _OpenValue | None:
        """Return None for a value without a placeholder."""
        count = value.reveal().count(FILENAME)
        return cls(value.reveal(), value.reveal().partition(FILENAME)[0], count) if count else None

    def may_hold(self, condition: Secret[Condition]) -> bool:
        """Tell whether a condition holds for some file name."""
        operator, _, wanted = condition.reveal()
        if FILENAME in wanted:
            return False
        if operator == "starts-with":
            return self.first.startswith(wanted) or wanted.startswith(self.first)
        # All placeholders have the same value: the lengths determine its length, the first one determines it.
        room = len(wanted) - len(self.value) + self.count * len(FILENAME)
        length, rest = divmod(room, self.count)
        if rest or length < 1:
            return False
        return self.value.replace(FILENAME, wanted[len(self.first) :][:length]) == wanted


def _outermost(content_types: Secret[str]) -> Secret[tuple[str, str]]:
    """Return the first and the last of several content types in sort order: their common prefix is that of all."""
    first, *others = content_types.reveal().split(",")
    texts = [first, *(text.lstrip(" ") for text in others)]
    return Secret((min(texts), max(texts)))


def _unmet(url: SecretURL, operator: str, name: str, *, has_placeholder: bool) -> PolicyError:
    if has_placeholder:
        return PolicyError(
            f"The policy of {url} demands {FILENAME} itself in the field {name!r}, where the store puts the file's "
            "name in its place before it checks the policy.",
            hint=f"Presign with a starts-with condition, such as ['starts-with', '${name}', 'runs/'], or without "
            f"{FILENAME}.",
            url=str(url),
        )
    return PolicyError(
        f"The policy of {url} demands {'a prefix' if operator == 'starts-with' else 'a value'} of the field {name!r} "
        "that s3_fields doesn't have.",
        hint=_UNCHANGED,
        url=str(url),
    )


def _missing(url: SecretURL, name: str) -> PolicyError:
    return PolicyError(
        f"The policy of {url} has a condition for the field {name!r}, and s3_fields doesn't have it.",
        hint="Add the field with a value that meets the condition: generate_presigned_post returns only the fields "
        "that were passed to it as Fields.",
        url=str(url),
    )


def parse_policy(url: SecretURL, fields: SecretFields, dialect: Dialect = AMAZON) -> Policy:
    """Parse the policy of a form.

    Args:
        url: The target, for the error's text.
        fields: The form's fields, including `policy`.
        dialect: How the store checks it.

    Raises:
        InvalidS3FieldsError: It is not a policy.
    """
    encoded = Secret(next(value for name, value in fields.reveal().items() if name.lower() == "policy"))
    try:
        return _parse(encoded, dialect)
    except _UnreadableError as error:
        reason = str(error)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        reason = "it is not the base64 of a JSON policy document"
    raise InvalidS3FieldsError(
        f"The policy in s3_fields of {url} can't be read: {reason}.", hint=_UNCHANGED, url=str(url)
    )


def _parse(encoded: Secret[str], dialect: Dialect) -> Policy:
    # Base64 encoders that break lines are common (RFC 4648, section 3.1), and stores ignore the breaks.
    lines = Secret(encoded.reveal().replace("\r", "").replace("\n", ""))
    # From bytes, json.loads() takes UTF-16 and a byte order mark too, which stores reject (RFC 8259, section 8.1).
    document = Secret(json.loads(base64.b64decode(lines.reveal(), validate=True).decode()))
    conditions: list[Condition] = []
    size_range: tuple[int, int] | None = None
    for condition in document.reveal()["conditions"]:
        if isinstance(condition, Mapping):
            conditions += _exact(condition)
        elif dialect.lists and condition[0] in ("in", "not-in"):
            # Only the store checks these.
            continue
        elif len(condition) == 3 and str(condition[0]).lower() == "content-length-range":
            least, most = (_number(value) for value in condition[1:])
            # All conditions must hold: several ranges intersect.
            known = size_range or (least, most)
            size_range = (max(known[0], least), min(known[1], most))
        else:
            conditions.append(_matching(condition, dialect))
        if len(conditions) > MAX_CONDITIONS:
            raise _UnreadableError(f"it has more than {MAX_CONDITIONS} conditions")
    named = ((operator, dialect.aliases.get(name, name), value) for operator, name, value in conditions)
    return Policy(Secret(tuple(named)), _time(document.reveal()["expiration"]), size_range, dialect.strict)


def _exact(condition: Mapping[str, Any]) -> Iterator[Condition]:
    for name, value in condition.items():
        yield "eq", name.lower(), _text(name, value)


def _matching(condition: Any, dialect: Dialect) -> Condition:
    if not isinstance(condition, list):
        raise TypeError("a condition is an object or a list")
    operator, field, value = condition
    operator, name = operator.lower(), field.lower().removeprefix("$")
    if operator not in ("eq", "starts-with"):
        raise _UnreadableError("it has a condition that is neither eq nor starts-with nor content-length-range")
    if not field.startswith("$"):
        raise _UnreadableError(f"in its condition for {name!r} the name doesn't begin with '$'")
    if operator == "starts-with" and name in dialect.exact:
        raise _UnreadableError(f"it has starts-with for {name!r}, for which stores accept eq only")
    return operator, name, _text(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _UnreadableError(f"its value for {name!r} is not a string")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch("-?[0-9]{1,18}", str(value)):
        raise _UnreadableError("its content-length-range doesn't have two whole numbers")
    return int(value)


def _time(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise _UnreadableError("its expiration is not a time such as 2030-01-31T12:00:00Z")
    microseconds = int((match[2] or "").ljust(6, "0")[:6])
    time = datetime.strptime(match[1] + match[3], "%Y-%m-%dT%H:%M:%S%z").astimezone(timezone.utc)
    return time + timedelta(microseconds=microseconds)
