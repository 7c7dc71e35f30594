"""`s3_prefix` and `azure_prefix` in `callback_param`: one signature for the document and all output files below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from callback_sdk.errors import CallbackParamError, OutputError
from callback_sdk.outputs.names import checked_name
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.members import AZURE_PREFIX, S3_PREFIX, type_with_article
from callback_sdk.text.descriptions import short_repr

DOCUMENT = "result.json"
"""Default name of the document."""

MAX_PREFIX = 512
"""Maximum bytes of a prefix: with the longest name of an output file it is a key of 1,024 bytes."""

_HINTS = {
    S3_PREFIX: "Pass what S3Signer(bucket).presign_prefix(...) returns, or "
    '{"s3_prefix": {"document": "result.json"}} with s3_fields.',
    AZURE_PREFIX: 'Give {"azure_prefix": {"prefix": "runs/42/", "document": "result.json"}} with the URL of a '
    "container or a directory and its shared access signature.",
}


@define(frozen=True, kw_only=True)
class Prefix:
    """How the objects below a prefix are named.

    Attributes:
        member: The member of `callback_param`.
        path: What precedes every name: in Azure below the URL, empty in S3, where the form has it.
        document: Name of the document.
    """

    member: str
    path: str = ""
    document: str = DOCUMENT

    @property
    def events(self) -> str:
        """What the names of events begin with."""
        return f"{self.document}.events/"

    def event(self, sequence: int) -> str:
        """Return the name of an event.

        Args:
            sequence: Its number, from 1.
        """
        return f"{self.events}{sequence:08}.json"

    def plain(self) -> dict[str, Any]:
        """Return the member's value."""
        path = {"prefix": self.path} if self.member == AZURE_PREFIX else {}
        return {**path, "document": self.document}


def read_prefix(url: SecretURL, param: Secret[Any]) -> Prefix:
    """Return the prefix of a target.

    Args:
        url: URL of the target, for errors.
        param: Its `callback_param`, with one of the members.

    Raises:
        CallbackParamError: The member is not valid, or both are given.
    """
    given = [name for name in (S3_PREFIX, AZURE_PREFIX) if param.reveal().get(name) is not None]
    member = given[0]
    if len(given) > 1:
        raise _invalid(url, member, f"is given together with {given[1]}")
    value = param.reveal()[member]
    if not isinstance(value, Mapping):
        raise _invalid(url, member, f"is {type_with_article(Secret(value))}, not a dict")
    names = {"document", "prefix"} if member == AZURE_PREFIX else {"document"}
    if unknown := [name for name in value if name not in names]:
        raise _invalid(url, member, f"has a member {short_repr(unknown[0])}")
    try:
        document = checked_name(value.get("document", DOCUMENT))
    except OutputError as error:
        raise _invalid(url, member, f"names the document as no file can be named: {error.message}") from None
    path = value.get("prefix", "")
    if problem := path and prefix_problem(path):
        raise _invalid(url, member, f"has a prefix that {problem}")
    return Prefix(member=member, path=path, document=document)


def prefix_problem(prefix: Any) -> str | None:
    """Return why a prefix is not allowed, as it completes a sentence; None if it is."""
    if not isinstance(prefix, str):
        return f"is of type {type(prefix).__name__}, not a string"
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        return "has a lone surrogate, which UTF-8 can't encode"
    if size > MAX_PREFIX:
        return f"has {size} bytes; {MAX_PREFIX} are allowed"
    # Without the slash, runs/4 would permit the keys of runs/42 too.
    if not prefix.endswith("/") or "${filename}" in prefix:
        return "doesn't end with a slash, or has the placeholder ${filename}"
    if not {".", "..", ""}.isdisjoint(prefix.removesuffix("/").split("/")):
        return "has a segment that is empty, . or .."
    return None


def _invalid(url: SecretURL, member: str, problem: str) -> CallbackParamError:
    return CallbackParamError(f"{member} of {url} {problem.rstrip('.')}.", hint=_HINTS[member], url=str(url))
