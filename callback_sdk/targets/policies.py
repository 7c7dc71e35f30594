"""POST policies: parse them, and check a form against their conditions as the store does.

Sources: "POST Policy" and "POST Object" in Amazon's S3 API reference, and botocore's `generate_presigned_post`;
Google's "Policy document" has the same form.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

from attrs import define

from callback_sdk.errors import InvalidS3FieldsError, PolicyError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.amazon import amazon_host
from callback_sdk.targets.dialects import AMAZON, FILENAME, Dialect
from callback_sdk.targets.named_values import form_problem, has_surrogates
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_CONDITIONS

_UNCHECKED = frozenset(
    {"policy", "signature", "awsaccesskeyid", "googleaccessid", "x-amz-signature", "x-goog-signature"}
)
"""Fields that need no condition, besides those that begin with `x-ignore-`."""

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)

_WHOLE_NUMBER = re.compile("-?[0-9]{1,18}")

_UNCHANGED = "Pass s3_fields unchanged, as the signer returned them."

CONDITIONS_HINT = (
    'Give conditions such as [{"acl": "private"}, ["starts-with", "$key", "runs/"], ["content-length-range", 0, 1000]].'
)

Condition = tuple[str, str, str]
"""`"eq"` or `"starts-with"`, the field's name in lower case, and the value or prefix."""


class UnreadableError(ValueError):
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

    @property
    def bucket(self) -> str | None:
        """Name of the bucket that the policy is for; None if it names none."""
        exact = (value for operator, name, value in self._conditions.reveal() if (operator, name) == ("eq", "bucket"))
        return next(exact, None)

    def demands(self, name: str, value: str) -> bool:
        """Tell whether there are conditions for a field, and a value meets them.

        Args:
            name: Name of the field, in lower case.
            value: The value.
        """
        found = self._conditions_of(name)
        return bool(found) and all(
            value == wanted if operator == "eq" else value.startswith(wanted) for operator, wanted in found
        )

    def allows_any(self, name: str, beginning: str) -> bool:
        """Tell whether a form may have a field with any value that begins like this."""
        found = self._conditions_of(name)
        is_open = all(operator == "starts-with" and beginning.startswith(wanted) for operator, wanted in found)
        return is_open and (bool(found) or not self._strict)

    def _conditions_of(self, field: str) -> list[tuple[str, str]]:
        return [(operator, wanted) for operator, name, wanted in self._conditions.reveal() if name == field]

    def check(
        self,
        url: SecretURL,
        fields: SecretFields,
        size: int | None,
        filename: str | None = None,
        *,
        subject: str = "The document",
    ) -> None:
        """Check a form against every condition.

        Args:
            url: The target, for the error's text.
            fields: The form's fields.
            size: Bytes of the file; None before they are known.
            filename: The file's name; None before it is known.
            subject: What is uploaded, for the error of its size.

        Raises:
            InvalidS3FieldsError: The form is invalid under any policy.
            PolicyError: The store would reject the form; the text names the condition.
        """
        given = fields_by_name(url, fields)
        if filename is not None:
            given = Secret({name: value.replace(FILENAME, filename) for name, value in given.reveal().items()})
        check_conditions(url, given, self._conditions)
        if self._strict:
            self._check_extra(url, set(given.reveal()))
        self._check_size(url, size, subject)

    def _check_extra(self, url: SecretURL, names: set[str]) -> None:
        named = {name for _, name, _ in self._conditions.reveal()}
        extra = sorted(name for name in names - named - _UNCHECKED if not name.startswith("x-ignore-"))
        if extra:
            raise PolicyError(
                f"s3_fields of {url} has the field {extra[0]!r} that the policy doesn't allow.",
                hint="Presign again with a condition for it (presign_post adds one for each field), or leave it out.",
                url=str(url),
            )

    def _check_size(self, url: SecretURL, size: int | None, subject: str) -> None:
        if self.size_range is None or size is None:
            return
        least, most = self.size_range
        if not least <= size <= most:
            raise PolicyError(
                f"{subject} has {size} bytes, and the policy of {url} takes {least} to {most}.",
                hint="Presign again with a wider content-length-range: presign_prefix(..., max_bytes=...) or "
                "presign_post(..., max_bytes=...).",
                url=str(url),
            )


def check_conditions(url: SecretURL, given: Secret[dict[str, str]], conditions: Secret[tuple[Condition, ...]]) -> None:
    """Check a form against conditions.

    Args:
        url: The target, for the error's text.
        given: The form's fields, from `fields_by_name`.
        conditions: The conditions, from `read_conditions`.

    Raises:
        PolicyError: The store would reject the form; the text names the condition.
    """
    form = _Form(url, given)
    for number in range(len(conditions.reveal())):
        form.check(Secret(conditions.reveal()[number]))


def fields_by_name(url: SecretURL, fields: SecretFields) -> Secret[dict[str, str]]:
    """Return the fields of a form by lower-case names: stores compare them case-insensitively.

    Raises:
        InvalidS3FieldsError: The form is invalid under any policy.
    """
    given = Secret({name.lower(): value for name, value in fields.reveal().items()})
    problem, hint = form_problem(fields), _UNCHANGED
    if problem is None and "key" not in given.reveal():
        problem = "has no field 'key', so the store can't name the object"
        hint = "Add the object's key to s3_fields: minio for Python returns the fields without it."
    if problem is None:
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
        self._content_types = _first_and_last(Secret(given.reveal().get("content-type", "")))
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
            raise _missing_field(self._url, name)
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


def _first_and_last(content_types: Secret[str]) -> Secret[tuple[str, str]]:
    """Return the first and the last of several content types in sort order: their common prefix is that of all."""
    first, *others = content_types.reveal().split(",")
    texts = [first, *(text.lstrip(" ") for text in others)]
    return Secret((min(texts), max(texts)))


def _unmet(url: SecretURL, operator: str, name: str, *, has_placeholder: bool) -> PolicyError:
    if has_placeholder:
        return PolicyError(
            f"The policy of {url} demands {FILENAME} itself in the field {name!r}, where the store puts the file's "
            "name in its place before it checks the policy.",
            hint=f"Presign with the condition ['starts-with', '${name}', prefix], where prefix is the text before "
            f"{FILENAME}, or without {FILENAME}.",
            url=str(url),
        )
    return PolicyError(
        f"The policy of {url} demands {'a prefix' if operator == 'starts-with' else 'a value'} of the field {name!r} "
        "that s3_fields doesn't have.",
        hint=_UNCHANGED,
        url=str(url),
    )


def _missing_field(url: SecretURL, name: str) -> PolicyError:
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
    hint = _UNCHANGED
    try:
        return _parse(encoded, dialect)
    except UnreadableError as error:
        reason, hint = str(error), f"It was signed so: presign again. {CONDITIONS_HINT}"
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        reason = "it is not the base64 of a JSON policy document"
    raise InvalidS3FieldsError(f"The policy in s3_fields of {url} can't be read: {reason}.", hint=hint, url=str(url))


def _parse(encoded: Secret[str], dialect: Dialect) -> Policy:
    # Base64 encoders that break lines are common (RFC 4648, section 3.1), and stores ignore the breaks.
    lines = Secret(encoded.reveal().replace("\r", "").replace("\n", ""))
    # From bytes, json.loads() takes UTF-16 and a byte order mark too, which stores reject (RFC 8259, section 8.1).
    document = Secret(json.loads(base64.b64decode(lines.reveal(), validate=True).decode()))
    conditions, size_range = read_conditions(document.reveal()["conditions"], dialect)
    return Policy(Secret(conditions), _time(document.reveal()["expiration"]), size_range, dialect.strict)


def read_conditions(given: Any, dialect: Dialect = AMAZON) -> tuple[tuple[Condition, ...], tuple[int, int] | None]:
    """Read the conditions of a policy: of a form that was given, and those that the signer signs.

    Args:
        given: A list in the form of `generate_presigned_post`, or anything else.
        dialect: How the store checks them.

    Returns:
        The conditions, and the minimum and maximum bytes of the file; None without a content-length-range.

    Raises:
        UnreadableError: No store accepts them.
    """
    if not isinstance(given, (list, tuple)):
        raise UnreadableError("its conditions are not a list")
    conditions: list[Condition] = []
    ranges: list[tuple[int, int]] = []
    for condition in given:
        if isinstance(condition, Mapping):
            conditions += _exact(condition)
        elif not isinstance(condition, (list, tuple)) or not condition or not isinstance(condition[0], str):
            raise UnreadableError("it has a condition that is neither an object nor a list with an operator")
        elif dialect.lists and condition[0] in ("in", "not-in"):
            # Only the store checks these.
            continue
        elif condition[0].lower() == "content-length-range":
            ranges.append(_range(condition[1:]))
        else:
            conditions.append(_read_match(condition, dialect))
        if len(conditions) > MAX_CONDITIONS:
            raise UnreadableError(f"it has more than {MAX_CONDITIONS} conditions")
    named = ((operator, dialect.aliases.get(name, name), value) for operator, name, value in conditions)
    return tuple(named), _intersection(ranges)


def _exact(condition: Mapping[Any, Any]) -> Iterator[Condition]:
    for name, value in condition.items():
        yield "eq", _name(name).lower(), _text(name, value)


def _read_match(condition: Sequence[Any], dialect: Dialect) -> Condition:
    operator, name = condition[0].lower(), "" if len(condition) != 3 else _name(condition[1]).lower()
    if operator not in ("eq", "starts-with"):
        raise UnreadableError("it has a condition that is neither eq nor starts-with nor content-length-range")
    if len(condition) != 3:
        raise UnreadableError(f"it has a condition {operator} without a name and a value")
    if not name.startswith("$"):
        raise UnreadableError(f"in its condition for {short_repr(name)} the name doesn't begin with '$'")
    name = name.removeprefix("$")
    if operator == "starts-with" and name in dialect.exact:
        raise UnreadableError(f"it has starts-with for {name!r}, for which stores accept eq only")
    return operator, name, _text(name, condition[2])


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise UnreadableError("it has a condition for a name that is not a string")
    return name


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableError(f"its value for {short_repr(name)} is not a string")
    if has_surrogates(name) or has_surrogates(value):
        raise UnreadableError(f"its value for {short_repr(name)} has a lone surrogate, which UTF-8 can't encode")
    return value


def _range(limits: Sequence[Any]) -> tuple[int, int]:
    if len(limits) != 2:
        raise UnreadableError("its content-length-range doesn't have two whole numbers")
    least, most = map(_number, limits)
    return least, most


def _number(value: Any) -> int:
    # An integer of more than 4,300 digits has no text (CVE-2020-10735).
    text = str(value) if type(value) is int and value.bit_length() <= 64 else value
    if not isinstance(text, str) or not _WHOLE_NUMBER.fullmatch(text):
        raise UnreadableError("its content-length-range doesn't have two whole numbers")
    return int(text)


def _intersection(ranges: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the sizes that are in several ranges, as all conditions must hold."""
    if not ranges:
        return None
    least, most = max(least for least, _ in ranges), min(most for _, most in ranges)
    if least > most or most < 0:
        raise UnreadableError("its content-length-range allows no number of bytes")
    return least, most


def _time(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise UnreadableError("its expiration is not a time such as 2030-01-31T12:00:00Z")
    microseconds = int((match[2] or "").ljust(6, "0")[:6])
    time = datetime.strptime(match[1] + match[3], "%Y-%m-%dT%H:%M:%S%z").astimezone(timezone.utc)
    return time + timedelta(microseconds=microseconds)
