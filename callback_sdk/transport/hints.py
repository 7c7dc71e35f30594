"""Find the hint for an error response: what caused it, and what to do next; pure.

The same code means different things: `AccessDenied` is an expired URL, an unsigned header, a condition of a POST policy
or a missing permission. So a hint is chosen by the code, the store's own message, the kind of target and what was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@define(frozen=True, eq=False)
class Hint:
    """A hint, with the responses that it is true for. A condition that isn't given always holds.

    Attributes:
        text: The causes, the most likely first, and what to do next. `{md5}` is the document's MD5.
        says: Parts of the store's message, in lower case; one of them is sufficient.
        kinds: Parts of the target's kind, such as `post`, `v2` or `gcs`; one of them is sufficient.
        sends: A header of the request, in lower case.
        host: End of the host's name.
    """

    text: str
    says: tuple[str, ...] = ()
    kinds: frozenset[str] = field(default="", converter=_words)
    sends: str = ""
    host: str = ""


@define(frozen=True, kw_only=True)
class Circumstances:
    """What is known of an error response and its request.

    Attributes:
        kind: The target's kind.
        message: The store's message with its details, in lower case.
        headers: Names of the request's headers, in lower case.
        host: Host that responded.
    """

    kind: str
    message: str
    headers: frozenset[str]
    host: str


def find_hint(hints: Sequence[Hint], circumstances: Circumstances) -> str | None:
    """Return the first hint that is true for a response; None if none is."""
    return next((hint.text for hint in hints if _holds(hint, circumstances)), None)


def _holds(hint: Hint, known: Circumstances) -> bool:
    return (
        (not hint.says or any(part in known.message for part in hint.says))
        and (not hint.kinds or bool(hint.kinds.intersection(known.kind.split("-"))))
        and (not hint.sends or hint.sends in known.headers)
        and known.host.endswith(hint.host)
    )
