"""Names with values in the forms in which SDKs return them; pure.

The functions with an underscore take plain values and raise nothing, so that no traceback shows these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callback_sdk.redaction import Secret

_SURROGATES = re.compile("[\ud800-\udfff]")


def by_name(given: Secret[Any]) -> Secret[Mapping[Any, Any]] | None:
    """Return values by name; None if they have no names.

    SDKs return a dict, or a list of `{"name": ..., "value": ...}` dicts or of name and value pairs. There a name with
    several values is there several times.
    """
    return Secret(_by_name(given.reveal())) if _has_names(given.reveal()) else None


def join_values(values: Secret[Mapping[Any, Any]]) -> Secret[dict[Any, Any]]:
    """Join several values of one name: SDKs for Go, PHP and Java return a list for each (RFC 9110, section 5.3)."""
    return Secret({name: _join(value) for name, value in values.reveal().items()})


def not_text(values: Secret[Mapping[Any, Any]]) -> list[Any]:
    """Return the names that are not text, or have a value that is neither text nor a number."""
    return [
        name
        for name, value in values.reveal().items()
        if not isinstance(name, str) or has_surrogates(name) or not _is_text(value)
    ]


def has_surrogates(text: str) -> bool:
    """Tell whether a text has a lone surrogate, which UTF-8 can't encode."""
    return _SURROGATES.search(text) is not None


def form_problem(fields: Secret[dict[str, str]]) -> str | None:
    """Return what no form may have, as it completes a sentence; None if the fields have nothing of it.

    Args:
        fields: Fields of a form that was given, or that the signer signs.
    """
    names = [name.lower() for name in fields.reveal()]
    if len(set(names)) < len(names):
        return "has a field twice, in different letter case"
    if "file" in names:
        return "has a field 'file', which is the name of the document's own part"
    # The type of the file is a header of its part.
    if not all(value.isprintable() for name, value in fields.reveal().items() if name.lower() == "content-type"):
        return "has a field Content-Type with a character that HTTP can't send"
    return None


def _has_names(given: Any) -> bool:
    return isinstance(given, Mapping) or (isinstance(given, (list, tuple)) and all(map(_is_pair, given)))


def _is_pair(item: Any) -> bool:
    if isinstance(item, Mapping):
        return item.keys() == {"name", "value"} and isinstance(item["name"], str)
    return isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], str)


def _by_name(given: Any) -> Mapping[Any, Any]:
    if isinstance(given, Mapping):
        return given
    found: dict[str, list[Any]] = {}
    for item in given:
        name, value = (item["name"], item["value"]) if isinstance(item, Mapping) else item
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _join(value: Any) -> Any:
    several = isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, str) for one in value)
    return ",".join(value) if several else value


def _is_text(value: Any) -> bool:
    if isinstance(value, str):
        return not has_surrogates(value)
    if isinstance(value, int):
        # str() raises ValueError for integers of more than 4,300 digits (CVE-2020-10735).
        return not isinstance(value, bool) and value.bit_length() <= 64
    return isinstance(value, float)
