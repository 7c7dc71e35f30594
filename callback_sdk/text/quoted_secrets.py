"""Find credentials in foreign text, in whatever spelling: decoded, escaped, wrapped, encoded or in part; pure.

A server quotes a request as it came, as it parsed it, or as it writes it into HTML, JSON, a mail or a dump. So text and
credentials are compared after their escapes were decoded, without regard to letter case, whitespace, `+`, backslashes,
invisible characters and what separates the bytes of a dump; and text is compared with credentials in hexadecimal
digits and base64, and words in base64 and base32 are decoded.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote_to_bytes

from callback_sdk.text.path_secrets import HIDDEN

_SHORTEST = 6
"""Minimum bytes of a credential. Shorter ones occur by chance."""

_WINDOW = 12
"""Bytes in a row that a text and a longer credential must not share."""

_SHORT_TEXT = 128
"""Maximum bytes of a text, such as an ETag, for which searching the credentials is faster than an index of them."""

_MAX_SHORT = 12 * _WINDOW
"""Maximum bytes of a credential that may be shorter than `_WINDOW` without its escapes."""

_ROUNDS = 4
"""How often a text may have been escaped."""

_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_OTHER = re.compile(
    # Of JavaScript's `escape`; of JSON and programming languages, octal ones too; of dumps; of HTML and XML.
    rb"%u[0-9A-Fa-f]{4}|\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[ux]\{[0-9A-Fa-f]{1,6}\}|0?[0-3][0-7]{2})"
    rb"|0[Xx][0-9A-Fa-f]{2}(?![0-9A-Fa-f])(?:,(?=\s{0,4}0[Xx]))?"
    rb"|&(?:#[0-9]{1,7}|#[Xx][0-9A-Fa-f]{1,6}|amp|lt|gt|quot|apos);"
)
"""Escapes of a character. They are decoded in this order, as often as a text may have been escaped."""

_QUOTED = re.compile(rb"=(?:[0-9A-Fa-f]{2}|\r?\n)")
"""Escapes of quoted-printable (RFC 2045, section 6.7). Credentials contain such text too: both readings count."""

_DROPPED = re.compile(
    # A separator of bytes in a dump.
    rb"(?<=[0-9A-Fa-f]{2})[:-](?=[0-9A-Fa-f]{2})|"
    # Soft hyphen, grapheme joiner, Mongolian separator, zero-width and bidirectional characters, variation selectors
    # and the byte order mark, in UTF-8.
    rb"\xc2\xad|\xcd\x8f|\xe1\xa0\x8e|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xb8[\x80-\x8f]|\xef\xbb\xbf"
)

_ENTITIES = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}

_IGNORED = bytes(range(0x21)) + b"+\\\x7f"
"""Whitespace, control characters, and what stands for a space or for an escape."""

_BETWEEN = b"\xff"
"""Separates credentials; no byte of UTF-8."""

_WORDS = re.compile(r"[\s,;&?|<>]+")
"""What separates the words and the parameters of a credential."""

_HEXADECIMAL = re.compile(rb"[0-9a-f-]*")
"""Most ETags: digests of the object."""

_BASE64URL = str.maketrans("-_", "+/")
_PLAIN_BASE64 = bytes.maketrans(b"-_", b"+/")

_ENCODED = re.compile(rb"([0-9A-Za-z+/_-]{24,})={0,6}")
"""Words that may be base64 or base32, of at least `_WINDOW` bytes."""

_BASE32 = re.compile(rb"[A-Z2-7]+|[a-z2-7]+")


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Replace credentials in a text by asterisks, except those of less than six bytes.

    A part of a longer credential is replaced too: 12 bytes in a row, a parameter such as `response="..."`, the user or
    the password of `Basic` authentication. The time is linear in the lengths of text and credentials.

    Args:
        text: A foreign text that may quote the credentials.
        secrets: The credentials, as they stand in the request or decoded.
    """
    data = text.encode("utf-8", "surrogatepass")
    secrets = [secret for secret in secrets if len(secret) >= _SHORTEST]
    is_digest = _HEXADECIMAL.fullmatch(data) is not None
    known = _spellings(secrets, is_digest=is_digest)
    spans = [*_spans(data, None, secrets, known)]
    if _QUOTED.search(data):
        spans += _spans(data, _QUOTED, secrets, known)
    spans += () if is_digest else _encoded_spans(data, known)
    return _hide_spans(data, sorted(spans)) if spans else text


def _spans(
    data: bytes, escapes: re.Pattern[bytes] | None, secrets: Iterable[str], known: bytes
) -> Iterator[tuple[int, int]]:
    """Yield start and end of each part of a text that belongs to a credential, after some escapes were decoded."""
    folded = _fold(data if escapes is None else escapes.sub(_unescape, data))
    if len(folded) < _SHORTEST:
        return
    if len(folded) <= _SHORT_TEXT and not any(window in known for window in _windows(folded, _SHORTEST)):
        return
    mask = _mask(folded, _indexes(secrets, known, len(folded)))
    if b"\1" in mask:
        starts, ends = _places(data, escapes)
        yield from ((starts[run.start()], ends[run.end() - 1]) for run in re.finditer(b"\1+", mask))


def _encoded_spans(data: bytes, known: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each word in base64 or base32 that is, decoded, a spelling of a part of a credential."""
    index: bytes | set[bytes] | None = None
    for word in _ENCODED.finditer(data):
        if index is None:
            index = known if len(data) <= _SHORT_TEXT else set(_windows(known, _WINDOW))
        if any(window in index for text in _decodings(word[1]) for window in _windows(_fold(text), _WINDOW)):
            yield word.span()


def _decodings(word: bytes) -> Iterator[bytes]:
    """Yield what a word in base64 or base32 may be, at each alignment: it may be a part, or stand after others."""
    in_base64 = word.translate(_PLAIN_BASE64)
    for start in range(4):
        part = in_base64[start : start + (len(word) - start) // 4 * 4]
        yield base64.b64decode(part)
    if _BASE32.fullmatch(word):
        for start in range(8):
            yield base64.b32decode(word[start : start + (len(word) - start) // 8 * 8].upper())


def _hide_spans(text: bytes, spans: Iterable[tuple[int, int]]) -> str:
    shown, last = [], 0
    for start, end in spans:
        if start >= last:
            shown += [text[last:start], HIDDEN.encode()]
        last = max(last, end)
    return b"".join([*shown, text[last:]]).decode("utf-8", "replace")


def _mask(text: bytes, indexes: Iterable[tuple[int, bytes | set[bytes]]]) -> bytes:
    """Return a mask with 1 for each byte of a text that belongs to a credential."""
    mask = bytearray(len(text))
    for length, known in indexes:
        for start, window in enumerate(_windows(text, length)):
            if window in known:
                mask[start : start + length] = b"\1" * length
    return bytes(mask)


def _windows(text: bytes, length: int) -> Iterator[bytes]:
    return (text[start : start + length] for start in range(len(text) - length + 1))


def _indexes(secrets: Iterable[str], known: bytes, text_length: int) -> Iterator[tuple[int, bytes | set[bytes]]]:
    """Yield lengths of texts to hide, each with a container of all texts of this length."""
    yield _WINDOW, known if text_length <= _SHORT_TEXT else set(_windows(known, _WINDOW))
    short = (part for secret in secrets for part in _parts(secret) if len(part) <= _MAX_SHORT)
    parts = {_fold(text) for part in short for text in _charsets(part)}
    by_length: dict[int, set[bytes]] = {}
    for part in parts:
        if _SHORTEST <= len(part) < _WINDOW:
            by_length.setdefault(len(part), set()).add(part)
    yield from by_length.items()


def _spellings(secrets: Iterable[str], *, is_digest: bool) -> bytes:
    """Return all spellings of credentials in one text, which is folded."""
    whole = (part for secret in secrets for part in (secret, *_logins(secret)))
    joined = _BETWEEN.join(text for part in whole for text in _charsets(part))
    decoded = _decode(joined)
    found = [decoded]
    for plain in {joined, decoded}:
        found.append(plain.hex().encode())
        # Whatever precedes a credential, its base64 is that of one of three alignments.
        found += () if is_digest else (base64.b64encode(plain[skipped:]) for skipped in range(3))
    return _BETWEEN.join(map(_normalize, found))


def _parts(secret: str) -> Iterator[str]:
    """Yield a credential, and those of its parts that a server may quote alone."""
    yield secret
    yield from _logins(secret)
    words = [word for word in _WORDS.split(secret) if word]
    if len(words) > 1 and words[0].isalpha():
        # The name of an authentication scheme is not secret (RFC 9110, section 11.1).
        words.pop(0)
    for word in words:
        name, _, value = word.partition("=")
        part = value.strip("=\"'") or name
        yield part
        if ":" in part:
            yield from part.split(":")


def _logins(secret: str) -> Iterator[str]:
    """Yield user and password of `Basic` authentication (RFC 7617), together and each."""
    scheme, _, encoded = secret.partition(" ")
    if scheme.lower() != "basic":
        return
    padded = encoded.strip().rstrip("=").translate(_BASE64URL)
    try:
        login = base64.b64decode(padded + "=" * (-len(padded) % 4))
    except ValueError:
        return
    for charset in ("utf-8", "latin-1"):
        text = login.decode(charset, "replace")
        yield text
        yield from text.split(":", 1)


def _charsets(text: str) -> Iterator[bytes]:
    """Yield a text as it stands in a server's text after that was decoded: a header as Latin-1, a body as UTF-8."""
    yield _bytes(text)
    if not text.isascii():
        yield _bytes(_bytes(text).decode("latin-1"))
        yield _bytes(text.encode("latin-1", "replace").decode("utf-8", "replace"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _fold(text: bytes) -> bytes:
    """Return a text in the form in which its spellings are equal."""
    return _normalize(_decode(text))


def _normalize(text: bytes) -> bytes:
    return _DROPPED.sub(b"", text).translate(None, _IGNORED).lower()


def _decode(text: bytes) -> bytes:
    """Return a text without escapes."""
    for _ in range(_ROUNDS):
        before, text = text, unquote_to_bytes(text)
        if b"&" in text or b"\\" in text or b"%" in text or b"0x" in text or b"0X" in text:
            text = _OTHER.sub(_unescape, text)
        if text == before:
            break
    return text


def _unescape(escape: re.Match[bytes]) -> bytes:
    text = escape[0]
    if text[:1] == b"&":
        name = text[1:-1]
        if name in _ENTITIES:
            return _ENTITIES[name]
        return _character(int(name[2:], 16) if name[1:2] in b"Xx" else int(name[1:]))
    if text[:1] == b"=":
        return bytes.fromhex(text[1:].strip().decode())
    if text[1:2].isdigit() and text[:1] == b"\\":
        return bytes((int(text[1:], 8),))
    if len(text) == 3 and text[:1] == b"%":
        return bytes((int(text[1:], 16),))
    code = int(text[2:].strip(b"{},"), 16)
    return bytes((code,)) if text[1:2] in b"xX" and code < 0x100 else _character(code)


def _character(code: int) -> bytes:
    return _bytes(chr(code if code <= 0x10FFFF else 0xFFFD))


def _places(text: bytes, escapes: re.Pattern[bytes] | None) -> tuple[list[int], list[int]]:
    """Return where each byte of the folded text starts and ends in the text itself."""
    places = list(range(len(text) + 1))
    if escapes is not None:
        text, places = _decode_places(text, places, escapes)
    for _ in range(_ROUNDS):
        for pattern in (_PERCENT, _OTHER):
            text, places = _decode_places(text, places, pattern)
    text, places = _decode_places(text, places, _DROPPED, lambda _: b"")
    shown = [place for place, byte in enumerate(text) if byte not in _IGNORED]
    return [places[place] for place in shown], [places[place + 1] for place in shown]


def _decode_places(
    text: bytes,
    places: list[int],
    pattern: re.Pattern[bytes],
    decode: Callable[[re.Match[bytes]], bytes] = _unescape,
) -> tuple[bytes, list[int]]:
    pieces: list[bytes] = []
    kept: list[int] = []
    last = 0
    for escape in pattern.finditer(text):
        character = decode(escape)
        pieces += [text[last : escape.start()], character]
        kept += [*places[last : escape.start()], *[places[escape.start()]] * len(character)]
        last = escape.end()
    return b"".join([*pieces, text[last:]]), kept + places[last:]
