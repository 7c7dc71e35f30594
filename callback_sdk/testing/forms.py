"""What a POST form holds: `multipart/form-data` (RFC 7578), read as an object store does."""

from __future__ import annotations

import re
from urllib.parse import unquote

from attrs import define, field

_BOUNDARY = re.compile(r'(?i)^multipart/form-data\s*;.*?boundary=("?)([^";]{1,70})\1')
_NAME = re.compile(r'[;\s]name="([^"]*)"')
_FILENAME = re.compile(r'[;\s]filename="([^"]*)"')
_TYPE = re.compile(r"(?im)^content-type:\s*(\S.*?)\s*$")


@define(frozen=True, kw_only=True)
class Form:
    """The fields before the file, and the file; whatever comes after it is left out, as AWS does.

    Attributes:
        fields: Names in lower case, and their values.
        file: Bytes of the file; None when there is none.
        filename: What the sender calls it.
        content_type: The file part's own media type; None without one.
    """

    fields: dict[str, str] = field(factory=dict, repr=False)
    file: bytes | None = field(default=None, repr=False)
    filename: str = ""
    content_type: str | None = None


def read_form(content_type: str, body: bytes) -> Form | None:
    """Read a form.

    Args:
        content_type: The request's header.
        body: Its whole body.

    Returns:
        The form; None when it is none, or isn't whole.
    """
    match = _BOUNDARY.match(content_type)
    if match is None:
        return None
    preamble, *parts = (b"\r\n" + body).split(b"\r\n--" + match[2].encode())
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
            filename, kind = _FILENAME.search(head), _TYPE.search(head)
            return Form(
                fields=fields,
                file=content,
                filename=unquote(filename[1]) if filename else "",
                content_type=kind[1] if kind else None,
            )
        fields[unquote(name[1]).lower()] = content.decode("utf-8", "replace")
    return Form(fields=fields)
