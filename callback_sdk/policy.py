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

_VIRTUAL_HOST = re.compile(r".+\.s3[.-]([a-z0-9-]+\.)*amazonaws\.com(\.cn)?")

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
        for number in range(len(self._conditions.reveal())):
            operator, name = self._conditions.reveal()[number][:2]
            if name == "bucket" and name not in given.reveal():
                _check_bucket(url, Secret(self._conditions.reveal()[number][2]))
            elif name not in given.reveal():
                raise _missing(url, name)
            elif not _holds(Secret((given.reveal()[name], *self._conditions.reveal()[number]))):
                raise PolicyError(
                    f"The policy of {url} demands {'a prefix' if operator == 'starts-with' else 'a value'} of the "
                    f"field {name!r} that s3_fields doesn't have.",
                    hint=_UNCHANGED,
                    url=str(url),
                )
        self._check_extra(url, set(given.reveal()))
        self._check_size(url, size)

    def _check_extra(self, url: SecretURL, names: set[str]) -> None:
        named = {name for _, name, _ in self._conditions.reveal()}
        extra = sorted(name for name in names - named - _UNCHECKED if not name.startswith("x-ignore-"))
        if extra:
            raise PolicyError(
                f"s3_fields of {url} has the field {extra[0]!r}, for which the policy has no condition.",
                hint="Sign again with a condition for it (S3Signer.post adds one for each field), or leave it out.",
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


def _check_bucket(url: SecretURL, wanted: Secret[str]) -> None:
    """Refuse a form that goes to another bucket than the policy's, as far as the URL tells."""
    # A host of one's own, or a proxy, may stand for a bucket without naming it.
    segments = [part for segment in unquote(url.path).split("/") for part in segment.split(":") if part]
    named = url.host.startswith(f"{wanted.reveal()}.".lower()) or wanted.reveal() in (*segments, url.host)
    if not named and (len(segments) == 1 or _VIRTUAL_HOST.fullmatch(url.host)):
        raise PolicyError(
            f"The policy in s3_fields of {url} is for another bucket.",
            hint="Pass on the URL and the fields of one form together: with several callbacks, in the same order.",
            url=str(url),
        )


def _missing(url: SecretURL, name: str) -> PolicyError:
    return PolicyError(
        f"The policy of {url} has a condition for the field {name!r}, and s3_fields doesn't have it.",
        hint="Add the field, with a value that the condition takes: generate_presigned_post returns only the "
        "fields that it was given as Fields.",
        url=str(url),
    )


def _holds(case: Secret[tuple[str, str, str, str]]) -> bool:
    given, operator, name, wanted = case.reveal()
    if FILENAME in given:
        return _may_hold(case)
    if operator == "eq":
        return given == wanted
    # Several content types hold when each of them does.
    return all(value.startswith(wanted) for value in (re.split(", *", given) if name == "content-type" else [given]))


def _may_hold(case: Secret[tuple[str, str, str, str]]) -> bool:
    """Tell whether a condition holds for some name of the file, which is not known before the job has run."""
    given, operator, _, wanted = case.reveal()
    if FILENAME in wanted:
        return False
    literals = given.split(FILENAME)
    if operator == "eq":
        return re.fullmatch(".+".join(map(re.escape, literals)), wanted, re.DOTALL) is not None
    return literals[0].startswith(wanted) or wanted.startswith(literals[0])


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
