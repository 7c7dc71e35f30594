"""Reject credentials in `callback_param` outside of the members for them: they would be sent in the document."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from callback_sdk.errors import CallbackParamError, InvalidS3FieldsError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.members import (
    AZURE_PREFIX,
    EVENT_NAMES,
    EVENTS,
    FIELDS,
    HEADERS,
    HTTP,
    MEMBERS,
    PARTS,
    S3_PREFIX,
    SIGNATURE_FIELDS,
    WEBHOOK,
)
from callback_sdk.targets.named_values import by_name
from callback_sdk.text.descriptions import short_repr

_SINGULAR = {
    "s3field": FIELDS,
    "s3header": HEADERS,
    "s3part": PARTS,
    "s3prefix": S3_PREFIX,
    "azureprefix": AZURE_PREFIX,
    "webhook": WEBHOOK,
}
"""Members by the letters and digits of their names, without the plural."""

_REQUEST = frozenset({"method", "headers"})
"""Names in the value of `http`."""

_SECRET_PREFIXES = ("whsec_", "whsk_")
"""Beginnings of secrets that sign webhooks; see `webhooks`."""

_MAX_NAME = 20

_POLICY_START = 64
"""Characters of a policy that are decoded to recognize it."""
_MAX_PATH = 8
"""Names of a path that are shown besides the last."""

Path = tuple[str, ...]
"""Names of members, and indexes such as `[0]`."""

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
    for path, named in _named_parts(rest):
        names = {name.lower() for name in named.reveal() if isinstance(name, str)}
        if _is_form(names, named):
            raise InvalidS3FieldsError(
                f"{_text(path)} of {url} has the fields of a form, which would put them into the document.",
                hint='Give them as s3_fields: callback_param={"s3_fields": fields}.',
                url=str(url),
            )
        if _are_headers(path) and names & _CREDENTIAL_HEADERS:
            raise CallbackParamError(
                f"{_text(path)} of {url} has the header {min(names & _CREDENTIAL_HEADERS)}, which would put it into "
                "the document.",
                hint='For a webhook, move it: callback_param={"webhook": {"headers": {...}}}. For a server that '
                'accepts PUT: callback_param={"http": {"method": "PUT", "headers": {...}}}.',
                url=str(url),
            )
        if (name := _secret_in(named)) is not None:
            raise CallbackParamError(
                f"{_text((*path[:_MAX_PATH], name))} of {url} is a webhook's secret, which would be put into the "
                "document.",
                hint='Move it: callback_param={"webhook": {"secret": "whsec_..."}}.',
                url=str(url),
            )


def _secret_in(values: Secret[Mapping[Any, Any]]) -> str | None:
    """Return the name of a value that is a webhook's secret; None if there is none."""
    for name, value in values.reveal().items():
        several = value if isinstance(value, (list, tuple)) else (value,)
        if any(isinstance(one, str) and one.lstrip().startswith(_SECRET_PREFIXES) for one in several):
            return short_repr(name)[1:-1] if isinstance(name, str) else ""
    return None


def _is_form(names: set[str], values: Secret[Mapping[Any, Any]]) -> bool:
    """Return whether values are the fields of a form, and not for instance a policy that was signed by hand.

    Args:
        names: Their names, in lower case.
        values: The values, by name.
    """
    if "policy" not in names or not names & SIGNATURE_FIELDS:
        return False
    named = (item for item in values.reveal().items() if isinstance(item[0], str))
    policy = Secret(next(value for name, value in named if name.lower() == "policy"))
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
    if not isinstance(name, str) or name in MEMBERS or not isinstance(value.reveal(), (Mapping, list)):
        return
    letters = "".join(filter(str.isalnum, name[:_MAX_NAME].lower())).removesuffix("s")
    meant = _SINGULAR.get(letters)
    if isinstance(value.reveal(), Mapping) and value.reveal() and value.reveal().keys() <= _REQUEST:
        meant = HTTP
    if letters == EVENTS.removesuffix("s") and _has_events(value):
        meant = EVENTS
    if meant is not None:
        raise CallbackParamError(
            f"callback_param of {url} has a member {short_repr(name)}, which would be a part of the document.",
            hint=f"If {meant} is meant, correct the name. Otherwise choose another one.",
            url=str(url),
        )


def _has_events(value: Secret[Any]) -> bool:
    """Return whether a value has names of events, and is not a list of something else under the same name."""
    return isinstance(value.reveal(), list) and any(name in EVENT_NAMES for name in value.reveal())


def _named_parts(param: Secret[Any]) -> Iterator[tuple[Path, Secret[Mapping[Any, Any]]]]:
    """Yield the path of each part that has names, with its values by name.

    It doesn't recurse, as parts may nest as deeply as they like, and contain themselves.
    """
    stack: list[tuple[Path, Secret[Any]]] = [(("callback_param",), param)]
    seen = set[int]()
    while stack:
        path, part = stack.pop()
        if id(part.reveal()) in seen:
            continue
        seen.add(id(part.reveal()))
        named = by_name(part)
        if named is not None:
            yield path, named
        stack += [((*path[:_MAX_PATH], name), inner) for name, inner in _inner(part)]


def _inner(part: Secret[Any]) -> Iterator[tuple[str, Secret[Any]]]:
    is_list = not isinstance(part.reveal(), Mapping)
    for name, inner in enumerate(part.reveal()) if is_list else part.reveal().items():
        if isinstance(inner, (Mapping, list, tuple)):
            yield (f"[{name}]" if is_list else short_repr(name)[1:-1] if isinstance(name, str) else ""), Secret(inner)


def _are_headers(path: Path) -> bool:
    """Tell whether a part may be headers: by its name, or as the whole of `callback_param`."""
    names = [name for name in path if not name.startswith("[")]
    return len(path) == 1 or names[-1].lower().endswith("headers")


def _text(path: Path) -> str:
    return ".".join(path).replace(".[", "[")
