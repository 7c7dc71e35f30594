"""Responses of the fake AIStore: XML of its S3 API, JSON of its native API."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.sax.saxutils import escape

from callback_sdk.testing.faults import FaultResponse

_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0, section 2.2, doesn't have, and bytes that aren't UTF-8: Go's encoding/xml writes U+FFFD."""


def xml_text(text: str) -> str:
    """Escape a text for XML as Go does."""
    return escape(_NOT_IN_XML.sub("\ufffd", text), {"\n": "&#xA;", "\r": "&#xD;", "\t": "&#x9;"})


def xml_response(name: str, members: str, *, status: int = 200) -> FaultResponse:
    """Return an XML document with the namespace of S3."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01">{members}</{name}>'
    return FaultResponse(status=status, headers={"Content-Type": "application/xml"}, body=text.encode())


def xml_error(status: int, code: str, message: str, members: str = "") -> FaultResponse:
    """Return an error of the S3 API."""
    text = f"<Code>{code}</Code><Message>{xml_text(message)}</Message>{members}"
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error>{text}</Error>'
    return FaultResponse(status=status, headers={"Content-Type": "text/xml; charset=utf-8"}, body=text.encode())


def json_response(value: Any, *, status: int = 200) -> FaultResponse:
    """Return a response of the native API."""
    return FaultResponse(status=status, headers={"Content-Type": "application/json"}, body=json.dumps(value).encode())


def json_error(status: int, message: str) -> FaultResponse:
    """Return an error of the native API or of AuthN."""
    return json_response({"status": status, "message": message}, status=status)
