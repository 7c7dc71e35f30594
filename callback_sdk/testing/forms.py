"""Parsing of POST forms (`multipart/form-data`, RFC 7578) as object stores do it."""

from __future__ import annotations

import re
from urllib.parse import unquote

from attrs import define, field

_BOUNDARY = re.compile(r'(?i)boundary=(?:"([^"]{1,70})"|([^";]{1,70}))')
_NAME = re.compile(r'[;\s]name="([^"]*)"')
_FILENAME = re.compile(r'[;\s]filename="([^"]*)"')
_TYPE = re.compile(r"(?im)^content-type:([^\r\n]*)")


@define(frozen=True, kw_only=True)
class ReceivedForm:
    """The fields before the file, and the file. Fields after the file are ignored, as by AWS.

    Attributes:
        fields: Values by name in lower case.
        file: Bytes of the file; None if there is none.
        filename: File name given by the sender.
        content_type: Media type of the file part; None if it has none.
    """

    fields: dict[str, str] = field(factory=dict, repr=False)
    file: bytes | None = field(default=None, repr=False)
    filename: str = ""
    content_type: str | None = None


def read_form(content_type: str, body: bytes) -> ReceivedForm | None:
    """Parse a form.

    Args:
        content_type: Header of the request.
        body: The whole body of the request.

    Returns:
        The form; None if the body is not a complete form.
    """
    kind, _, parameters = content_type.partition(";")
    match = _BOUNDARY.search(parameters)
    if match is None or kind.strip().lower() != "multipart/form-data":
        return None
    boundary = match[1] or match[2]
    preamble, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if preamble or not parts or not parts.pop().startswith(b"--"):
        return None
    fields: dict[str, str] = {}
    for part in parts:
        raw, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        head = raw.decode("utf-8", "replace")
        name = _NAME.search(head)
        if name is None:
            return None
        if name[1].lower() == "file":
            filename, media_type = _FILENAME.search(head), _TYPE.search(head)
            return ReceivedForm(
                fields=fields,
                file=content,
                filename=unquote(filename[1]) if filename else "",
                content_type=media_type[1].strip() or None if media_type else None,
            )
        fields[unquote(name[1]).lower()] = content.decode("utf-8", "replace")
    return ReceivedForm(fields=fields)
