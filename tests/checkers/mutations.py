"""Mutations of signed URLs and forms: what happens to them on their way, and what signers can get wrong.

A mutation is made after the signature, or before it: then `tests.checkers.resign` makes the signature anew.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, unquote

Mutation = tuple[str, str]
"""A description, and the URL."""


def damaged(url: str) -> Iterator[Mutation]:
    """Yield a signed URL with each damage that can happen to it on its way."""
    place, _, query = url.partition("?")
    pairs = query.split("&")
    for number, pair in enumerate(pairs):
        for text, others in _pairs(pair):
            yield text, f"{place}?{'&'.join([*pairs[:number], *others, *pairs[number + 1 :]])}"
    for text, other in _queries(pairs):
        yield text, f"{place}?{other}"
    for text, path in _places(place):
        yield text, f"{path}?{query}"
    yield "fragment", f"{url}#top"
    yield "space after the URL", f"{url} "
    yield "escaped space after the URL", f"{url}%20"
    yield "escaped newline after the URL", f"{url}%0A"


def with_values(url: str, values: Mapping[str, Mapping[str, str]], more: Iterable[str]) -> Iterator[Mutation]:
    """Yield a signed URL with other values of its parameters, and with more parameters.

    Args:
        url: The URL.
        values: Values by parameter and description.
        more: Additional parameters, encoded.
    """
    place, _, query = url.partition("?")
    pairs = dict(pair.split("=", 1) for pair in query.split("&"))
    for name, others in values.items():
        for text, value in others.items():
            changed = {**pairs, name: quote(value, safe="")}
            yield f"{name}: {text}", f"{place}?{'&'.join(map('='.join, changed.items()))}"
    for pair in more:
        yield f"more: {pair}", f"{url}&{pair}"


def _pairs(pair: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what can become of one parameter."""
    name, _, value = pair.partition("=")
    other = unquote(value)
    changed = {
        "missing": [],
        "twice": [pair, pair],
        "twice, the first one empty": [f"{name}=", pair],
        "empty": [f"{name}="],
        "another name": [f"{name}x={value}"],
        "name in lower case": [f"{name.lower()}={value}"],
        "name escaped": [f"%{ord(name[0]):02X}{name[1:]}={value}"],
        "value in lower case": [f"{name}={value.lower()}"],
        "value in upper case": [f"{name}={value.upper()}"],
        "value cut": [f"{name}={value[:-1]}"],
        "value escaped in lower case": [f"{name}={''.join(f'%{byte:02x}' for byte in other.encode())}"],
        "value escaped twice": [f"{name}={value.replace('%', '%25')}"],
        "value not escaped": [f"{name}={other}"],
        "space after the value": [f"{name}={value}%20"],
        "newline after the value": [f"{name}={value}%0A"],
    }
    for text, others in changed.items():
        if others != [pair]:
            yield f"{name}: {text}", others


def _queries(pairs: list[str]) -> Iterator[Mutation]:
    query = "&".join(pairs)
    yield "parameters in reverse", "&".join(reversed(pairs))
    yield "parameters sorted", "&".join(sorted(pairs))
    yield "ampersand at the end", f"{query}&"
    yield "ampersand at the beginning", f"&{query}"
    yield "ampersands twice", query.replace("&", "&&")
    yield "ampersands of HTML", query.replace("&", "&amp;")
    yield "semicolons", query.replace("&", ";")
    yield "another question mark", f"?{query}"


def _places(place: str) -> Iterator[Mutation]:
    """Yield what can become of the path, which ends with an object below `runs/`."""
    head, _, name = place.rpartition("/runs/")
    paths = {
        "slash before the key": f"{head}//runs/{name}",
        "slashes in the key": f"{head}/runs//{name}",
        "slash after the key": f"{place}/",
        "a dot segment": f"{head}/runs/./{name}",
        "two dots": f"{head}/other/../runs/{name}",
        "escaped dots": f"{head}/other/%2E%2E/runs/{name}",
        "escaped slash": f"{head}/runs%2F{name}",
        "an escaped letter": f"{head}/%72uns/{name}",
        "escapes in lower case": "".join([head, "/runs/", name.replace("%C3%BC", "%c3%bc")]),
        "plus for space": f"{head}/runs/{name.replace('%20', '+')}",
        "not escaped": f"{head}/runs/{unquote(name).replace(' ', '%20')}",
        "key escaped twice": f"{head}/runs/{name.replace('%', '%25')}",
        "escaped space after the key": f"{place}%20",
        "escaped newline after the key": f"{place}%0A",
        "no key": f"{head}/",
        "no bucket": f"{head.rpartition('/')[0]}/{name}",
    }
    for text, path in paths.items():
        if path != place:
            yield text, path


def forms(fields: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the mutations of a form's fields.

    Args:
        fields: The fields, as the signer returned them.
    """
    for name, value in fields.items():
        rest = {key: other for key, other in fields.items() if key != name}
        yield f"{name}: missing", rest
        for text, other in {
            "empty": "",
            "in upper case": value.upper(),
            "cut": value[:-1],
            "with a space after it": f"{value} ",
            "with a newline after it": f"{value}\n",
        }.items():
            yield f"{name}: {text}", {**fields, name: other}
        for text, other in {"lower case": name.lower(), "upper case": name.upper(), "another": f"{name}x"}.items():
            if other != name:
                yield f"{name}: name in {text}", {other if key == name else key: v for key, v in fields.items()}
    yield "fields in reverse", dict(reversed(fields.items()))
    for text, more in {
        "x-ignore-": {"x-ignore-this": "1"},
        "metadata": {"x-amz-meta-more": "1"},
        "a status": {"success_action_status": "201"},
        "another field": {"note": "1"},
        "an ACL": {"acl": "private"},
        "a file": {"file": "1"},
        "a bucket": {"bucket": "results"},
        "a type": {"Content-Type": "text/plain"},
    }.items():
        yield f"additional: {text}", {**fields, **more}


def policies(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the mutations of a policy, in base64.

    Args:
        document: The policy.
    """
    end, conditions = document["expiration"], list(document["conditions"])
    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    ends = {
        "expired": "2020-01-01T00:00:00Z",
        "without milliseconds": f"{soon:%Y-%m-%dT%H:%M:%SZ}",
        "with microseconds": f"{soon:%Y-%m-%dT%H:%M:%S.123456Z}",
        "with an offset": f"{soon:%Y-%m-%dT%H:%M:%S+00:00}",
        "without a time zone": f"{soon:%Y-%m-%dT%H:%M:%S}",
        "without a time": f"{soon + timedelta(days=1):%Y-%m-%d}",
        "in lower case": end.lower(),
        "a number": int(soon.timestamp()),
        "empty": "",
        "of RFC 9110": f"{soon:%a, %d %b %Y %H:%M:%S GMT}",
    }
    changed: dict[str, Any] = {f"expiration: {text}": {**document, "expiration": value} for text, value in ends.items()}
    for number in range(len(conditions)):
        rest = conditions[:number] + conditions[number + 1 :]
        changed[f"without condition {number}"] = {**document, "conditions": rest}
    more = {
        "prefix of the key": ["starts-with", "$key", "runs/"],
        "another prefix": ["starts-with", "$key", "other/"],
        "any key": ["starts-with", "$key", ""],
        "exact key": ["eq", "$key", "runs/other"],
        "name without $": ["starts-with", "key", "runs/"],
        "name in upper case": ["starts-with", "$KEY", "runs/"],
        "operator in upper case": ["STARTS-WITH", "$key", "runs/"],
        "unknown operator": ["ends-with", "$key", "json"],
        "two elements": ["starts-with", "$key"],
        "an unknown field": {"x-amz-meta-none": "1"},
        "any unknown field": ["starts-with", "$x-amz-meta-none", ""],
        "too small": ["content-length-range", 0, 1],
        "too large": ["content-length-range", 10000, 20000],
        "exact range": ["content-length-range", 0, 100000],
        "range of strings": ["content-length-range", "0", "100000"],
        "range in upper case": ["Content-Length-Range", 0, 100000],
        "range in reverse": ["content-length-range", 100000, 0],
        "negative range": ["content-length-range", -1, 100000],
        "range of one number": ["content-length-range", 100000],
        "empty object": {},
        "empty list": [],
        "a string": "key",
        "null": None,
        "a number": {"key": 1},
        "another bucket": {"bucket": "other-bucket"},
    }
    for text, condition in more.items():
        changed[f"condition: {text}"] = {**document, "conditions": [*conditions, condition]}
    changed["no conditions"] = {"expiration": end}
    changed["no expiration"] = {"conditions": conditions}
    changed["conditions of null"] = {**document, "conditions": None}
    changed["expiration in upper case"] = {"EXPIRATION": end, "conditions": conditions}
    changed["a list"] = [document]
    changed["another member"] = {**document, "version": 1}
    for text, value in changed.items():
        yield text, base64.b64encode(json.dumps(value).encode()).decode()
    plain = json.dumps(document)
    texts = {
        "indented": json.dumps(document, indent=2),
        "with a comma too many": plain.replace("]}", ",]}"),
        "with a byte order mark": f"\ufeff{plain}",
        "in single quotes": plain.replace('"', "'"),
        "with text after it": f"{plain} x",
        "with newlines after it": f"{plain}\n\n",
        "empty": "",
    }
    for text, value in texts.items():
        yield text, base64.b64encode(value.encode()).decode()
    encoded = base64.b64encode(plain.encode() + b" " * (-len(plain) % 3 + 1)).decode()
    yield "without padding", encoded.rstrip("=")
    yield "of base64url", base64.urlsafe_b64encode((plain + " ?>?>").replace(" ?>?>", "").encode()).decode()
    yield "in lines", "\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
