"""`multipart/form-data` (RFC 7578) with a known length, its file streamed."""

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
        filename: What the receiver is told that the file is called.
        content_type: Its media type.
        body: Its bytes.
    """

    name: str
    filename: str
    content_type: str
    body: Body


def encode_form(fields: SecretFields, files: Iterable[FormFile], *, boundary: str | None = None) -> tuple[Body, str]:
    """Put fields and files into one body, the fields first and all in the order given.

    Args:
        fields: Names and values; a value may be a credential.
        files: What comes after the fields.
        boundary: The line between the parts; a random one when not given.

    Returns:
        The body, and the value of its `Content-Type` header.
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
    # WHATWG HTML, "multipart/form-data encoding algorithm": these three and no others.
    return name.replace("\n", "%0A").replace("\r", "%0D").replace('"', "%22")
