"""POST policies: what a form must hold to be taken, read and checked as the store does it.

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
from callback_sdk.targets.providers import amazon_bucket
from callback_sdk.text.limits import MAX_CONDITIONS

FILENAME = "${filename}"
"""What a store replaces in a field, before it looks at the policy, by the name of the form's file."""

_UNCHECKED = frozenset(
    {"policy", "signature", "awsaccesskeyid", "googleaccessid", "x-amz-signature", "x-goog-signature"}
)
"""Fields that need no condition. Names that begin with `x-ignore-` need none either."""

_EXACT = frozenset({"bucket", "success_action_status", "x-amz-algorithm", "x-amz-credential", "x-amz-date"})
"""Fields for which a store takes no prefix."""

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)

_UNCHANGED = "Pass s3_fields on unchanged, as they were returned when the policy was signed."

Condition = tuple[str, str, str]
"""`"eq"` or `"starts-with"`, the field's name in lower case, and the value or prefix."""


class _UnreadableError(ValueError):
    """A policy that no store reads; the text says why, without any of its values."""


@define(frozen=True)
class Policy:
    """A POST policy, its values wrapped.

    Attributes:
        expires_at: When the store stops to take it, in UTC.
        size_range: Fewest and most bytes of the file; None when the policy doesn't say.
    """

    _conditions: Secret[tuple[Condition, ...]]
    expires_at: datetime
    size_range: tuple[int, int] | None

    def check(self, url: SecretURL, fields: SecretFields, size: int | None, filename: str | None = None) -> None:
        """Hold the form against every condition.

        Args:
            url: The target, for the error's text.
            fields: The form's fields.
            size: Bytes of the file; None when it is not known yet.
            filename: The file's name; None when it is not known yet.

        Raises:
            InvalidS3FieldsError: No policy would take this form.
            PolicyError: The store would refuse this form; the text names the condition.
        """
        given = _by_lower_name(url, fields)
        if filename is not None:
            given = Secret({name: value.replace(FILENAME, filename) for name, value in given.reveal().items()})
        form = _Form(url, given)
        for number in range(len(self._conditions.reveal())):
            form.check(Secret(self._conditions.reveal()[number]))
        self._check_extra(url, set(given.reveal()))
        self._check_size(url, size)

    def _check_extra(self, url: SecretURL, names: set[str]) -> None:
        named = {name for _, name, _ in self._conditions.reveal()}
        extra = sorted(name for name in names - named - _UNCHECKED if not name.startswith("x-ignore-"))
        if extra:
            raise PolicyError(
                f"s3_fields of {url} has the field {extra[0]!r} that the policy doesn't allow.",
                hint="Sign again with a condition for it (presign_post adds one for each field), or leave it out.",
                url=str(url),
            )

    def _check_size(self, url: SecretURL, size: int | None) -> None:
        if self.size_range is None or size is None:
            return
        least, most = self.size_range
        if not least <= size <= most:
            raise PolicyError(
                f"The document has {size} bytes, and the policy of {url} takes {least} to {most}.",
                hint="Sign again with a wider content-length-range.",
                url=str(url),
            )


def _by_lower_name(url: SecretURL, fields: SecretFields) -> Secret[dict[str, str]]:
    """Return the fields by their names in lower case, as a store compares them."""
    given = Secret({name.lower(): value for name, value in fields.reveal().items()})
    if len(given.reveal()) < len(fields.reveal()):
        problem = "has a field twice, in different letter case"
    elif "file" in given.reveal():
        problem = "has a field 'file', which is the document's own place in the form"
    elif "key" not in given.reveal():
        problem = "has no field 'key', so the store can't name the object"
    else:
        return given
    raise InvalidS3FieldsError(f"s3_fields of {url} {problem}.", hint=_UNCHANGED, url=str(url))


class _Form:
    """A form that is held against conditions, each of which costs no more than its own length.

    Args:
        url: Where the form goes.
        given: Its fields by their names in lower case.
    """

    def __init__(self, url: SecretURL, given: Secret[dict[str, str]]) -> None:
        self._url = url
        self._given = given
        self._open = Secret({name: _OpenValue.of(Secret(value)) for name, value in given.reveal().items()})
        self._content_types = _outermost(Secret(given.reveal().get("content-type", "")))
        segments = [part for segment in unquote(url.path).split("/") for part in segment.split(":") if part]
        self._buckets = {*segments, url.host}
        # A host of one's own, or a proxy, may stand for a bucket without naming it.
        self._names_bucket = len(segments) == 1 or bool(amazon_bucket(url))

    def check(self, condition: Secret[Condition]) -> None:
        """Hold the form against one condition.

        Raises:
            PolicyError: The store would refuse the form.
        """
        operator, name = condition.reveal()[:2]
        if name == "bucket" and name not in self._given.reveal():
            self._check_bucket(condition)
        elif name not in self._given.reveal():
            raise _missing(self._url, name)
        elif not self._holds(condition):
            raise PolicyError(
                f"The policy of {self._url} demands {'a prefix' if operator == 'starts-with' else 'a value'} of the "
                f"field {name!r} that s3_fields doesn't have.",
                hint=_UNCHANGED,
                url=str(self._url),
            )

    def _check_bucket(self, condition: Secret[Condition]) -> None:
        """Refuse a form that goes to another bucket than the policy's, as far as the URL tells."""
        if self._names_bucket and not self._is_for(condition):
            raise PolicyError(
                f"The policy in s3_fields of {self._url} is for another bucket.",
                hint="Pass on the URL and the fields of one form together: with several callbacks, in the same order.",
                url=str(self._url),
            )

    def _is_for(self, condition: Secret[Condition]) -> bool:
        bucket = condition.reveal()[2]
        return bucket in self._buckets or self._url.host.startswith(f"{bucket}.".lower())

    def _holds(self, condition: Secret[Condition]) -> bool:
        operator, name, wanted = condition.reveal()
        open_value = self._open.reveal()[name]
        if open_value is not None:
            return open_value.may_hold(condition)
        if operator == "eq":
            return self._given.reveal()[name] == wanted
        # Several content types hold when each of them does.
        several = self._content_types.reveal() if name == "content-type" else (self._given.reveal()[name],)
        return all(value.startswith(wanted) for value in several)


@define(frozen=True, repr=False)
class _OpenValue:
    """A field with the name of the file, which is not known before the job has run.

    Attributes:
        value: The field's value.
        first: What precedes the first name.
        count: How often the name occurs.
    """

    value: str
    first: str
    count: int

    @classmethod
    def of(cls, value: Secret[str]) -> _OpenValue | None:
        """Return None for a value that doesn't have the name."""
        count = value.reveal().count(FILENAME)
        return cls(value.reveal(), value.reveal().partition(FILENAME)[0], count) if count else None

    def may_hold(self, condition: Secret[Condition]) -> bool:
        """Tell whether a condition holds for some name."""
        operator, _, wanted = condition.reveal()
        if FILENAME in wanted:
            return False
        if operator == "starts-with":
            return self.first.startswith(wanted) or wanted.startswith(self.first)
        # The name is the same everywhere, so the lengths tell its length, and its first place tells the name.
        room = len(wanted) - len(self.value) + self.count * len(FILENAME)
        length, rest = divmod(room, self.count)
        if rest or length < 1:
            return False
        return self.value.replace(FILENAME, wanted[len(self.first) :][:length]) == wanted


def _outermost(content_types: Secret[str]) -> Secret[tuple[str, str]]:
    """Return the first and the last of several content types in order: what both begin with, all begin with."""
    first, *others = content_types.reveal().split(",")
    texts = [first, *(text.lstrip(" ") for text in others)]
    return Secret((min(texts), max(texts)))


def _missing(url: SecretURL, name: str) -> PolicyError:
    return PolicyError(
        f"The policy of {url} has a condition for the field {name!r}, and s3_fields doesn't have it.",
        hint="Add the field, with a value that the condition takes: generate_presigned_post returns only the "
        "fields that it was given as Fields.",
        url=str(url),
    )


def parse_policy(url: SecretURL, fields: SecretFields) -> Policy:
    """Read the policy of a form.

    Args:
        url: The target, for the error's text.
        fields: The form's fields, `policy` among them.

    Raises:
        InvalidS3FieldsError: It is no policy.
    """
    encoded = Secret(next(value for name, value in fields.reveal().items() if name.lower() == "policy"))
    try:
        return _parse(encoded)
    except _UnreadableError as error:
        reason = str(error)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        reason = "it is not the base64 of a JSON policy document"
    raise InvalidS3FieldsError(
        f"The policy in s3_fields of {url} can't be read: {reason}.", hint=_UNCHANGED, url=str(url)
    )


def _parse(encoded: Secret[str]) -> Policy:
    # Encoders that break lines are common, and stores read over the breaks.
    lines = Secret(encoded.reveal().replace("\r", "").replace("\n", ""))
    document = Secret(json.loads(base64.b64decode(lines.reveal(), validate=True)))
    conditions: list[Condition] = []
    size_range: tuple[int, int] | None = None
    for condition in document.reveal()["conditions"]:
        if isinstance(condition, Mapping):
            conditions += _exact(condition)
        elif len(condition) == 3 and str(condition[0]).lower() == "content-length-range":
            least, most = (_number(value) for value in condition[1:])
            # All conditions hold, so several ranges leave what is in each.
            known = size_range or (least, most)
            size_range = (max(known[0], least), min(known[1], most))
        else:
            conditions.append(_matching(condition))
        if len(conditions) > MAX_CONDITIONS:
            raise _UnreadableError(f"it has more than {MAX_CONDITIONS} conditions")
    return Policy(Secret(tuple(conditions)), _time(document.reveal()["expiration"]), size_range)


def _exact(condition: Mapping[str, Any]) -> Iterator[Condition]:
    for name, value in condition.items():
        yield "eq", name.lower(), _text(name, value)


def _matching(condition: Any) -> Condition:
    if not isinstance(condition, list):
        raise TypeError("a condition is an object or a list")
    operator, field, value = condition
    operator, name = operator.lower(), field.lower().removeprefix("$")
    if operator not in ("eq", "starts-with"):
        raise _UnreadableError("it has a condition that is neither eq nor starts-with nor content-length-range")
    if not field.startswith("$"):
        raise _UnreadableError(f"in its condition for {name!r} the name doesn't begin with '$'")
    if operator == "starts-with" and name in _EXACT:
        raise _UnreadableError(f"it has a prefix for {name!r}, for which stores take a value only")
    return operator, name, _text(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _UnreadableError(f"its value for {name!r} is no string")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch("-?[0-9]{1,18}", str(value)):
        raise _UnreadableError("its content-length-range has no two whole numbers")
    return int(value)


def _time(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise _UnreadableError("its expiration is no time such as 2030-01-31T12:00:00Z")
    microseconds = int((match[2] or "").ljust(6, "0")[:6])
    time = datetime.strptime(match[1] + match[3], "%Y-%m-%dT%H:%M:%S%z").astimezone(timezone.utc)
    return time + timedelta(microseconds=microseconds)
