"""POST policies: what a form must hold to be taken, read and checked as the store does it.

Source: "POST Policy" in Amazon's S3 API reference; Google's "Policy document" has the same form.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from attrs import define

from callback_sdk.errors import InvalidS3FieldsError, PolicyError
from callback_sdk.redaction import Secret, SecretFields, SecretURL

_UNCHECKED = frozenset(
    {"policy", "file", "signature", "awsaccesskeyid", "googleaccessid", "x-amz-signature", "x-goog-signature"}
)
"""Fields that need no condition. Names that begin with `x-ignore-` need none either."""


@define(frozen=True)
class Policy:
    """A POST policy, its values wrapped.

    Attributes:
        expires_at: When the store stops to take it, in UTC.
        size_range: Fewest and most bytes of the file; None when the policy doesn't say.
    """

    _conditions: Secret[tuple[tuple[str, str, str], ...]]
    expires_at: datetime
    size_range: tuple[int, int] | None

    def check(self, url: SecretURL, fields: SecretFields, size: int | None) -> None:
        """Hold the form against every condition.

        Args:
            url: The target, for the error's text.
            fields: The form's fields.
            size: Bytes of the file; None when it is not known yet.

        Raises:
            PolicyError: The store would refuse this form; the text names the condition.
        """
        given = Secret({name.lower(): value for name, value in fields.reveal().items()})
        named = set()
        for number in range(len(self._conditions.reveal())):
            operator, name = self._conditions.reveal()[number][:2]
            named.add(name)
            if name == "bucket" and "bucket" not in given.reveal():
                continue
            if not _holds(Secret((given.reveal().get(name, ""), *self._conditions.reveal()[number]))):
                raise PolicyError(
                    f"The policy of {url} demands {'a prefix' if operator == 'starts-with' else 'a value'} of the "
                    f"field {name!r} that s3_fields doesn't have.",
                    hint="Pass s3_fields on unchanged, as they were returned when the policy was signed.",
                    url=str(url),
                )
        self._check_extra(url, set(given.reveal()) - named)
        self._check_size(url, size)

    def _check_extra(self, url: SecretURL, names: set[str]) -> None:
        extra = sorted(name for name in names - _UNCHECKED if not name.startswith("x-ignore-"))
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


def _holds(case: Secret[tuple[str, str, str, str]]) -> bool:
    given, operator, name, wanted = case.reveal()
    if operator == "eq":
        return given == wanted
    if name == "content-type":
        return all(part.strip().startswith(wanted) for part in given.split(","))
    return given.startswith(wanted)


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
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        pass
    raise InvalidS3FieldsError(
        f"The policy in s3_fields of {url} can't be read: it is not the base64 of a JSON policy document.",
        hint="Pass s3_fields on unchanged, as they were returned when the policy was signed.",
        url=str(url),
    )


def _parse(encoded: Secret[str]) -> Policy:
    document = json.loads(base64.b64decode(encoded.reveal(), validate=True))
    conditions: list[tuple[str, str, str]] = []
    size_range = None
    for condition in document["conditions"]:
        if isinstance(condition, Mapping):
            conditions += [("eq", name.lower(), _text(value)) for name, value in condition.items()]
            continue
        operator, first, second = condition
        if operator.lower() == "content-length-range":
            size_range = (int(first), int(second))
        elif operator.lower() in ("eq", "starts-with"):
            conditions.append((operator.lower(), first.removeprefix("$").lower(), _text(second)))
        else:
            raise ValueError("unknown operator")
    return Policy(Secret(tuple(conditions)), _time(document["expiration"]), size_range)


def _text(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError("a condition's value is a string")


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
