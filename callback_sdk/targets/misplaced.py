"""Reject credentials in `callback_param` outside of the members for them: they would be sent in the document."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from callback_sdk.errors import CallbackParamError, InvalidS3FieldsError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.members import FIELDS, HEADERS, HTTP, MEMBERS, SIGNATURE_FIELDS

_SINGULAR = {"s3field": FIELDS, "s3header": HEADERS}
"""Members by the letters and digits of their names, without the plural."""

_REQUEST = frozenset({"method", "headers"})
"""Names in the value of `http`."""

_MAX_DEPTH = 3

_MAX_NAME = 20

_POLICY_START = 64
"""Characters of a policy that are decoded to recognize it."""

_CREDENTIAL_HEADERS = frozenset(
    {
        *("authorization", "cookie", "x-api-key", "x-auth-token", "x-jfrog-art-api"),
        *("private-token", "job-token", "deploy-token"),
    }
)
"""Headers with credentials that HTTP servers, GitLab, OpenStack and Artifactory document."""


def refuse_misplaced(url: SecretURL, param: Secret[Any]) -> None:
    """Reject credentials outside of the members for them.

    Args:
        url: URL of the target.
        param: Its `callback_param`, a mapping.

    Raises:
        CallbackParamError: The name of a member is misspelled, or headers with credentials are elsewhere.
        InvalidS3FieldsError: The fields of a form are elsewhere.
    """
    for name in param.reveal():
        _check_name(url, name, Secret(param.reveal()[name]))
    rest = Secret({name: value for name, value in param.reveal().items() if name not in MEMBERS})
    for path, mapping in _mappings("callback_param", rest, _MAX_DEPTH):
        names = {str(name).lower() for name in mapping.reveal()}
        if _is_form(names, mapping):
            raise InvalidS3FieldsError(
                f"{path} of {url} has the fields of a form, which would put them into the document.",
                hint='Give them as s3_fields: callback_param={"s3_fields": fields}.',
                url=str(url),
            )
        if path.lower().endswith("headers") and names & _CREDENTIAL_HEADERS:
            raise CallbackParamError(
                f"{path} of {url} has the header {min(names & _CREDENTIAL_HEADERS)}, which would put it into the "
                "document.",
                hint='Move it: callback_param={"http": {"method": "PUT", "headers": {...}}}.',
                url=str(url),
            )


def _is_form(names: set[str], values: Secret[Any]) -> bool:
    """Return whether values are the fields of a form, and not for instance a policy that was signed by hand.

    Args:
        names: Their names, in lower case.
        values: The values, by name.
    """
    if "policy" not in names or not names & SIGNATURE_FIELDS:
        return False
    policy = Secret(next(value for name, value in values.reveal().items() if str(name).lower() == "policy"))
    return names & SIGNATURE_FIELDS != {"signature"} or _is_encoded_object(policy)


def _is_encoded_object(value: Secret[Any]) -> bool:
    """Return whether a value begins as the base64 of a JSON object does, which a policy is."""
    if not isinstance(value.reveal(), str):
        return False
    text = Secret("".join(value.reveal()[:_POLICY_START].split()))
    try:
        start = base64.b64decode(text.reveal()[: len(text.reveal()) // 4 * 4])
    except ValueError:
        return False
    return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def _check_name(url: SecretURL, name: Any, value: Secret[Any]) -> None:
    """Reject a member that can only be a misspelled one: by its name, or by a content such as that of `http`."""
    if name in MEMBERS or not isinstance(value.reveal(), (Mapping, list)):
        return
    letters = "".join(filter(str.isalnum, str(name)[:_MAX_NAME].lower())).removesuffix("s")
    meant = _SINGULAR.get(letters)
    if isinstance(value.reveal(), Mapping) and value.reveal() and value.reveal().keys() <= _REQUEST:
        meant = HTTP
    if meant is not None:
        raise CallbackParamError(
            f"callback_param of {url} has a member {name!r:.100}, which would be a part of the document.",
            hint=f"If {meant} is meant, correct the name. Otherwise choose another one.",
            url=str(url),
        )


def _mappings(path: str, value: Secret[Any], depth: int) -> Iterator[tuple[str, Secret[Any]]]:
    """Yield a mapping and those in it, each with its path."""
    if not isinstance(value.reveal(), Mapping) or depth < 0:
        return
    yield path, value
    inner = [(str(name), Secret(item)) for name, item in value.reveal().items()]
    for name, item in inner:
        yield from _mappings(f"{path}.{name:.100}", item, depth - 1)
