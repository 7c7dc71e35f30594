"""Encode `multipart/form-data` (RFC 7578) with a known length; files are streamed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields


@define(frozen=True, kw_only=True)
class FormFile:
    """A file of a form.

    Attributes:
        name: The form field's name.
        filename: The file's name as sent to the receiver.
        content_type: The file's media type.
        body: The file's bytes.
    """

    name: str
    filename: str
    content_type: str
    body: Body


def encode_form(fields: SecretFields, files: Iterable[FormFile], *, boundary: str | None = None) -> tuple[Body, str]:
    """Encode fields and files as one body: first the fields, then the files, in the given order.

    Args:
        fields: Names and values; values may be credentials.
        files: Files, placed after the fields.
        boundary: The boundary between the parts; random when None.

    Returns:
        The body, and the value of the header `Content-Type`.
    """
    boundary = boundary or f"callback-sdk-{secrets.token_hex(16)}"
    parts: list[Body | bytes] = []
    for name in fields.reveal():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quote(name)}"\r\n\r\n'
        parts += [head.encode(), fields.reveal()[name].encode(), b"\r\n"]
    for file in files:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quote(file.name)}"; '
            f'filename="{_quote(file.filename)}"\r\nContent-Type: {file.content_type}\r\n\r\n'
        )
        parts += [head.encode(), file.body, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    flat = (item for part in parts for item in (part.parts if isinstance(part, Body) else (part,)))
    return Body(*flat), f"multipart/form-data; boundary={boundary}"


def _quote(name: str) -> str:
    # WHATWG HTML, "multipart/form-data encoding algorithm": exactly these three are escaped.
    return name.replace("\n", "%0A").replace("\r", "%0D").replace('"', "%22")
