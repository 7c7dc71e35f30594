"""SubmittedForm: the fields and files of a request, and the JSON in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import define, field

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.documents.decoding import decode, has_lone_surrogate
from callback_sdk.errors import CallbackSDKError
from callback_sdk.features.json import weigh
from callback_sdk.redaction import Secret, clearing_locals

MAX_PARAMETERS = 1024 * 1024
"""Maximum bytes of the file `parameters`."""

_MAX_PARTS = 2_000_000
"""Maximum number of values in the JSON of a form, as `features.json.weigh` counts them; about 80 MB of objects."""

_MAX_DEPTH = 100
"""Maximum nesting of lists and objects."""


class SubmissionError(CallbackSDKError, ValueError):
    """A field of the form is invalid; the message names it."""


@define(frozen=True, kw_only=True)
class SubmittedForm:
    """The unparsed fields and files of a request.

    Attributes:
        fields: Text by name; a value may contain credentials.
        files: Uploads by name, in order.
    """

    fields: Mapping[str, Secret[str]] = field(repr=False)
    files: Mapping[str, Sequence[BinaryIO]] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return a field that is not a credential; None if it is missing or empty."""
        value = self.fields.get(name)
        return value.reveal().strip() or None if value is not None else None

    def json(self, name: str, *, max_bytes: int = MAX_PARAMETERS) -> Secret[Any]:
        """Parse a field or file of JSON; None if it is missing or empty.

        Raises:
            SubmissionError: The value is not JSON, or is too long.
        """
        if name in self.fields:
            return Secret(parse_json(self.fields[name].reveal().encode(), name))
        if self.files.get(name):
            return Secret(_read_json(self.files[name][0], name, max_bytes))
        return Secret(None)

    def fingerprint(self, *where: str) -> str:
        """Return the SHA-256, in hex, of the request's content and path, independent of the encoding of the form."""
        total = hashlib.sha256()
        for part in where:
            _add(total, b"where", part.encode())
        for name in sorted(self.fields):
            _add(total, name.encode(errors="replace"), self.fields[name].reveal().encode(errors="replace"))
        for name in sorted(self.files):
            for file in self.files[name]:
                _add(total, name.encode(errors="replace"), _digest(file))
        return total.hexdigest()


@clearing_locals
def _read_json(file: BinaryIO, name: str, max_bytes: int) -> Any:
    file.seek(0)
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise SubmissionError(f"{name!r} has more than {max_bytes} bytes.", hint="Send a shorter value.")
    return parse_json(data, name)


@clearing_locals
def parse_json(data: bytes, name: str) -> Any:
    """Parse the JSON of a field, a file or a body; None if it is empty.

    Raises:
        SubmissionError: It is not JSON, or is too large or too deep to be parsed.
    """
    if not data.strip():
        return None
    if weigh(data) > _MAX_PARTS:
        raise SubmissionError(f"{name!r} has too many values.", hint="Send large data as features.")
    try:
        value = decode(data)
    except ValueError as error:
        raise SubmissionError(f"{name!r} is not JSON: {error}.", hint="Send the output of json.dumps.") from None
    if _is_deep(value):
        raise SubmissionError(f"{name!r} is nested deeper than {_MAX_DEPTH} levels.", hint="Reduce the nesting.")
    # Databases, headers and logs can't store lone surrogates.
    if has_lone_surrogate(value):
        raise SubmissionError(f"{name!r} has a text that is not valid Unicode.", hint="Replace its lone surrogates.")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _add(total: Any, name: bytes, value: bytes) -> None:
    for part in (name, value):
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)


def _digest(file: BinaryIO) -> bytes:
    file.seek(0)
    found = hashlib.sha256()
    while chunk := file.read(CHUNK_SIZE):
        found.update(chunk)
    file.seek(0)
    return found.digest()
