"""callback_sdk.text.quoted_secrets"""

from __future__ import annotations

import base64
import html
import json
import quopri
from urllib.parse import quote, quote_plus, unquote_plus

import pytest

from callback_sdk.text.quoted_secrets import without_secrets
from tests.growth import assert_linear

SECRET = "tok3n/Ab+cd=EF\"gh&ij<kl mn'op%zz"

SPELLINGS = {
    "as it is": SECRET,
    "percent-encoded": quote(SECRET),
    "percent-encoded as a whole": quote(SECRET, safe=""),
    "percent-encoded in lower case": quote(SECRET, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "percent-encoded twice": quote(quote(SECRET, safe=""), safe=""),
    "percent-encoded with asterisks": "".join(f"%{ord(character):02x}" for character in SECRET),
    "as a form": quote_plus(SECRET),
    "decoded as a form": unquote_plus(SECRET.replace("%", "%25")),
    "escape() of JavaScript": "".join(f"%u{ord(character):04X}" for character in SECRET),
    "HTML": html.escape(SECRET),
    "HTML, by code points": "".join(f"&#{ord(character)};" for character in SECRET),
    "HTML, by hexadecimal code points": "".join(f"&#x{ord(character):x};" for character in SECRET),
    "HTML of a URL": html.escape(quote(SECRET, safe="/")),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON of PHP": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "JSON of Go": json.dumps(SECRET)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c"),
    "a log of nginx": SECRET.replace('"', "\\x22"),
    "lower case": SECRET.lower(),
    "upper case": SECRET.upper(),
    "wrapped": "\r\n ".join(SECRET[place : place + 5] for place in range(0, len(SECRET), 5)),
    "octal escapes": "".join(f"\\{ord(character):03o}" for character in SECRET),
    "octal escapes of printf": "".join(f"\\0{ord(character):03o}" for character in SECRET),
    "code points in braces": "".join(f"\\u{{{ord(character):x}}}" for character in SECRET),
    "hexadecimal in braces": "".join(f"\\x{{{ord(character):X}}}" for character in SECRET),
    "code points of eight digits": "".join(f"\\U{ord(character):08x}" for character in SECRET),
    "quoted-printable": quopri.encodestring(SECRET.encode()).decode(),
    "quoted-printable as a whole": "".join(f"={ord(character):02X}" for character in SECRET),
    "quoted-printable with soft line breaks": "=\n".join(character.replace("=", "=3D") for character in SECRET),
    "hexadecimal digits": SECRET.encode().hex(),
    "hexadecimal digits in upper case": SECRET.encode().hex().upper(),
    "bytes with colons": SECRET.encode().hex(":"),
    "bytes of an array": ", ".join(f"0x{byte:02x}" for byte in SECRET.encode()),
    "base32": base64.b32encode(SECRET.encode()).decode().rstrip("="),
    "base64 twice": base64.b64encode(base64.b64encode(SECRET.encode())).decode(),
    **{f"with U+{code:04X} in between": chr(code).join(SECRET) for code in (0xAD, 0x200B, 0x200D, 0x2060, 0xFEFF)},
    "with a percent-encoded zero-width space in between": "%E2%80%8B".join(SECRET),
    "cut at the end": SECRET[:20],
    "cut at the start": SECRET[-20:],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_credential_is_hidden_in_each_spelling(name: str) -> None:
    """What stands around it remains."""
    said = without_secrets(f"<b>No {SPELLINGS[name]}, sorry</b>", [SECRET])
    assert said == "<b>No ***, sorry</b>"


@pytest.mark.parametrize("prefix", ["", "a", "ab"])
def test_credential_is_hidden_in_base64(prefix: str) -> None:
    """At each of the three alignments; up to three characters at its edges are shown (actions/runner issue 291)."""
    secret = "Ab3dE5fG7hI9jK1lM3nO5pQ7"
    encoded = base64.b64encode(f"{prefix}{secret}, sorry".encode()).decode()
    said = without_secrets(f"said {encoded}", [secret])
    assert "***" in said
    assert all(encoded[place : place + 8] not in said for place in range(4, 28))


@pytest.mark.parametrize("width", [1, 2])
def test_credential_is_hidden_in_a_dump(width: int) -> None:
    """Of `hexdump -C` or `xxd`: the offsets remain, which stand between the lines."""
    lines = [SECRET.encode()[start : start + 16] for start in (0, 16)]
    dump = "\n".join(f"{16 * number:08x}  {line.hex(' ', width)}  |" for number, line in enumerate(lines))
    assert without_secrets(dump, [SECRET]) == "00000000  ***  |\n00000010  ***  |"


@pytest.mark.parametrize("prefix", ["", "a", "ab", "abc", "abcd"])
def test_credential_is_hidden_in_other_encodings(prefix: str) -> None:
    """At each alignment of base32, and of base64 in base64; a few characters at the edges are shown."""
    secret = "Ab3dE5fG7hI9jK1lM3nO5pQ7"
    text = f"{prefix}{secret}, sorry".encode()
    for encoded in (base64.b32encode(text), base64.b64encode(b"xy"[: len(prefix) % 3] + base64.b64encode(text))):
        said = without_secrets(f"said {encoded.decode()}", [secret])
        assert "***" in said
        assert all(encoded.decode()[place : place + 8] not in said for place in range(16, 36))


@pytest.mark.parametrize(
    ("secret", "quoted"),
    [
        ('Digest username="bob", realm="x", response="0a1b2c3d4e"', "0a1b2c3d4e"),
        ('MediaBrowser Client="Kodi", Token="0a1b2c3d4e"', "0a1b2c3d4e"),
        ("SharedKey account:0a1b2c3d4e=", "0a1b2c3d4e"),
        ("Bearer 0a1b2c3d4e", "0a1b2c3d4e"),
        ("session=0a1b2c3d4e; theme=dark", "0a1b2c3d4e"),
        ("1;token=0a1b2c3d4e", "0a1b2c3d4e"),
        (f"Basic {base64.b64encode(b'bob:0a1b2c3d4e').decode()}", "0a1b2c3d4e"),
        (f"Basic {base64.b64encode(b'bob:0a1b2c3d4e:x').decode().rstrip('=')}", "0a1b2c3d4e:x"),
        (f"basic {base64.b64encode(b'0a1b2c3d4e:x').decode()}", "0a1b2c3d4e"),
        (f"Basic {base64.b64encode('b:pässwörd'.encode()).decode()}", "pässwörd"),
        (f"Basic {base64.b64encode('b:pässwörd'.encode('latin-1')).decode()}", "pässwörd"),
        (f"Basic {base64.urlsafe_b64encode(b'b:??>>??>>pass').decode()}", "??>>??>>pass"),
        ("пароль12", "пароль12"),
        ("пароль12", "пароль12".encode().decode("latin-1")),
        ("pässwörd1", "pässwörd1".encode("latin-1").decode("utf-8", "replace")),
    ],
)
def test_part_of_a_credential_is_hidden(secret: str, quoted: str) -> None:
    """Servers quote the parameters of a header alone, and decode them."""
    assert without_secrets(f"is {quoted} known?", [secret]) == "is *** known?"


def test_words_around_a_credential_are_shown() -> None:
    """Names of schemes and parameters, and texts of less than six bytes, are no credentials."""
    said = 'Bearer, Digest response and realm "bob" are unknown; 12345'
    given = ["Bearer 0a1b2c3d4e", 'Digest username="bob", realm="Wiki", response="0a1b2c3d4e"', "12345", "", "bob"]
    assert without_secrets(said, given) == said


def test_text_without_credentials_is_not_changed() -> None:
    """Not even its escapes, letter case or lone surrogates."""
    for said in ("", "a%2Fb &amp; \\u0041 +\ud800", "x" * 1_000):
        assert without_secrets(said, [SECRET, "other"]) is said


def test_position_of_a_credential_doesnt_matter() -> None:
    """In short texts and long ones, in the midst of escapes, at the start and at the end."""
    for size in (0, 1, 500):
        around = "%20&lt;é" * size
        hidden = "0a1b2c3d4e5f6a7b8c"
        assert without_secrets(around + hidden + around, [hidden]) == f"{around}***{around}"


GROWING = {
    "texts": lambda size: ("ab%2Fcd&#65;" * size, [SECRET]),
    "escapes of escapes": lambda size: ("%25" * size, [SECRET]),
    "long credentials": lambda size: ("a text of a server " * 20, ["ab%2Fcd+" * size]),
    "many credentials": lambda size: ("a text of a server " * 20, [f"secret{number}" for number in range(size)]),
    "many parts": lambda size: ("a text of a server " * 20, ["abcdef=ghijkl:mnopqr;" * size]),
    "credentials in a text": lambda size: ("secret1 " * size, ["secret1"]),
    "spaces": lambda size: (" " * size, [" " * size]),
    "octal escapes": lambda size: ("\\1" * size + "\\101" * size, [SECRET]),
    "braces": lambda size: ("\\u{" * size, [SECRET]),
    "quoted-printable": lambda size: ("=" * size + "=3D" * size + "=\n" * size, [SECRET]),
    "zeros": lambda size: ("0x" * size + "0x41," * size, [SECRET]),
    "invisible characters": lambda size: ("\u200b" * size, ["\u200b" * size]),
    "base64": lambda size: ("QUJD" * size, [SECRET]),
    "base32": lambda size: ("MFRGGZDF" * size, [SECRET]),
    "hexadecimal digits": lambda size: ("a text of a server " * 20, ["0123456789abcdef" * size]),
    "ampersands": lambda size: ("&#" * size, ["&#" * size]),
}


@pytest.mark.parametrize("name", GROWING)
def test_time_is_linear(name: str) -> None:
    """In the lengths of text and credentials, and in their number."""
    assert_linear(lambda given: without_secrets(*given), GROWING[name](100), GROWING[name](100 * 16), ratio=16)
