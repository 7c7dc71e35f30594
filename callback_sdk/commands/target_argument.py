"""The argument TARGET: a file, standard input, or a URL."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from callback_sdk.redaction import Secret

_BOTO3_FORM = {"url", "fields"}
"""Members of what `generate_presigned_post` returns."""

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help='A file with a URL, or with JSON: {"url": ..., "param": {...}}, a list of these, or what '
        "generate_presigned_post returns. - reads standard input. A URL is accepted, too, but other users of this "
        "machine see command lines.",
        show_default=False,
    ),
]


def read_targets(where: str) -> list[Secret[Any]]:
    """Return the targets of a file, of standard input, or of the command line itself.

    Raises:
        CallbackParamError: There is none.
    """
    from callback_sdk.errors import CallbackParamError
    from callback_sdk.redaction import Secret

    text = _read(where)
    del where
    found: Secret[Any] = text
    if text.reveal()[:1] in ("{", "["):
        try:
            found = Secret(json.loads(text.reveal()))
        except ValueError:
            found = Secret(None)
    items = [Secret(_item(one)) for one in _listed(found).reveal()]
    if not items:
        raise CallbackParamError(
            "There is no target in what was given.", hint='Give a URL, or JSON: {"url": "https://...", "param": {}}.'
        )
    return items


def _read(where: str) -> Secret[str]:
    from callback_sdk.redaction import Secret

    if where == "-":
        return Secret(sys.stdin.read().strip())
    if "://" in where:
        return Secret(where.strip())
    return Secret(Path(where).read_text(encoding="utf-8").strip())


def _listed(found: Secret[Any]) -> Secret[list[Any]]:
    from callback_sdk.redaction import Secret

    value = found.reveal()
    return Secret(value if isinstance(value, list) else [value] if value else [])


def _item(given: Any) -> Any:
    if isinstance(given, dict) and given.keys() >= _BOTO3_FORM:
        return {"url": given["url"], "param": {"s3_fields": given["fields"]}}
    return given
