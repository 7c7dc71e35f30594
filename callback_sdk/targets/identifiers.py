"""Find the query parameters of a signature in URLs that no kind of target recognized; pure.

A signed URL that was cut, escaped twice or copied from HTML is not a webhook: its document would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote_plus, urlsplit

from attrs import Factory, define, evolve, field

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.expiry import incomplete_url_error

Found = Secret[dict[str, list[str]]]
"""Values of parameters by name."""

_AMPERSAND = re.compile(r"&(?:amp;|#38;|#x26;)+|\\u0026", re.IGNORECASE)
"""An ampersand escaped for HTML, once or several times, or for JSON."""

_ESCAPED = {"&amp;": "HTML", "\\u0026": "JSON"}
"""Forms of an ampersand that no query has."""

_SEPARATOR = re.compile("[?&#]|;(?=[^=;?&#]*=)")
"""A semicolon separates parameters for some servers (HTML 4.01, appendix B.2.2), and the items of a list within one."""

_ROUNDS = 3
"""How often a URL may have been escaped."""

_SEVERAL = 2
"""Parameters with common names that identify a signed URL together."""


# The forms of values. An unescaped `+` in base64 reads as a space.
HMAC_SHA1 = re.compile("[A-Za-z0-9+/ ]{27}=")
HMAC_SHA256 = re.compile("[A-Za-z0-9+/ ]{43}=")
RSA_2048 = re.compile("[A-Za-z0-9+/ ]{342}==")
UNIX_TIME = re.compile("[0-9]{9,11}")
DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
ISO_TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{4,16}(?:Z|[+ -][0-9:]{4,5})?")
UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.lower().split())


@define(frozen=True, eq=False, repr=False)
class Identifiers:
    """Query parameters that identify the signed URLs of one kind, even if some are missing or misspelled.

    Attributes:
        names: Parameters that no webhook has, separated by spaces. Each is sufficient, in any letter case. `x-amz-*`
            stands for all names with this prefix.
        values: Parameters with names that webhooks have too (`sig`, `Expires`), each with the form of its value. Two
            that match are sufficient.
        others: Parameters with names and values that are common; one that matches is sufficient beside one of
            `values`.
        tokens: Parameters with common names whose values no webhook has; one that matches is sufficient.
    """

    names: frozenset[str] = field(default="", converter=_names)
    values: Mapping[str, re.Pattern[str]] = Factory(dict)
    others: Mapping[str, re.Pattern[str]] = Factory(dict)
    tokens: Mapping[str, re.Pattern[str]] = Factory(dict)
    _prefixes: tuple[str, ...] = field(init=False)

    @_prefixes.default
    def _find_prefixes(self) -> tuple[str, ...]:
        return tuple(name.removesuffix("*") for name in self.names if name.endswith("*"))

    def match(self, names: frozenset[str], found: Found) -> bool:
        """Tell whether parameters are of this kind.

        Args:
            names: Their names, in lower case.
            found: Their values, by name.
        """
        if not self.names.isdisjoint(names):
            return True
        if self._prefixes and any(name.startswith(self._prefixes) for name in names):
            return True
        if self.tokens and _matching_names(self.tokens, found):
            return True
        alike = _matching_names(self.values, found) if self.values else set[str]()
        return bool(alike) and len(alike | _matching_names(self.others, found)) >= _SEVERAL


def _matching_names(values: Mapping[str, re.Pattern[str]], found: Found) -> set[str]:
    names = [name for name in values if name in found.reveal()]
    return {name for name in names if any(map(values[name].fullmatch, found.reveal()[name]))}


def merge(kinds: Iterable[Identifiers]) -> tuple[Identifiers, ...]:
    """Return identifiers that match what any of the kinds matches, with all names in one set."""
    every = tuple(kinds)
    names = Identifiers(" ".join(name for kind in every for name in kind.names))
    return (names, *(evolve(kind, names="") for kind in every if kind.values or kind.tokens))


def check_escaping(url: SecretURL) -> None:
    """Reject a URL with ampersands that are escaped for HTML or JSON.

    Raises:
        InvalidTargetError: Its parameters can't be told apart.
    """
    for text, language in _ESCAPED.items():
        # In the path it is a part of an object key.
        if text in url.reveal() and text in url.request_target().partition("?")[2]:
            raise InvalidTargetError(
                f"{url} has {text} in place of &: it was escaped for {language}.",
                hint=f"Copy the URL from where it was signed, or replace each {text} by &.",
                url=str(url),
            )


def check_unsigned(url: SecretURL, kinds: Iterable[Identifiers]) -> None:
    """Reject a URL that has parameters of a signature.

    Args:
        url: A URL that no kind of signed URL recognized.
        kinds: What identifies the URLs of each kind.

    Raises:
        InvalidTargetError: It is an incomplete signed URL.
    """
    if is_signed(url, kinds):
        raise incomplete_url_error(url)


def is_signed(url: SecretURL, kinds: Iterable[Identifiers]) -> bool:
    """Tell whether a URL has parameters of a signature.

    Args:
        url: A URL.
        kinds: What identifies the URLs of each kind.
    """
    found = parameters(url)
    names = frozenset([name.lower() for name in found.reveal()])
    return any(kind.match(names, found) for kind in kinds)


def parameters(url: SecretURL) -> Found:
    """Return all parameters of a URL, also those that are in the path or in another value because of wrong escaping.

    Parameters of another URL, which is the value of a parameter, are not among them.
    """
    found: Found = Secret({})
    for pair in map(Secret, _pairs(Secret(urlsplit(url.reveal())._replace(scheme="", netloc="").geturl()))):
        found.reveal().setdefault(pair.reveal()[0], []).append(pair.reveal()[1])
    return found


def _pairs(text: Secret[str]) -> Iterator[tuple[str, str]]:
    path, *pieces = map(Secret, _SEPARATOR.split(_AMPERSAND.sub("&", text.reveal())))
    yield from _hidden_names(path)
    for piece in pieces:
        yield _pair(piece)
        yield from _hidden_names(piece)


def _hidden_names(text: Secret[str]) -> Iterator[tuple[str, str]]:
    """Yield parameters with an escaped `?`, `&` or `=`, if the text isn't the beginning of another URL."""
    for _ in range(_ROUNDS if "%" in text.reveal() or "+" in text.reveal() else 0):
        text = Secret(unquote_plus(text.reveal()))
    if "://" not in text.reveal():
        yield from (_pair(Secret(piece)) for piece in _SEPARATOR.split(text.reveal()))


def _pair(piece: Secret[str]) -> tuple[str, str]:
    parts = Secret(piece.reveal().replace("\\", "").partition("="))
    return unquote_plus(parts.reveal()[0]), unquote_plus(parts.reveal()[2])
