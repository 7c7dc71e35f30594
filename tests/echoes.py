"""Targets with random credentials in every place, a receiver that quotes requests, and a search for what it quoted."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import socket
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

from attrs import define

from tests import signedurls
from tests.rawserver import RawServer, answer, read_request

FAR = 4095989824
"""A time of 2099, in seconds."""

SESSION = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=60))
"""Id of the session of a resumable upload, which comes from the receiver."""

_SHARED = 12
"""Letters and digits in a row that a text must not share with a credential."""


@define
class Planted:
    """A target, with the credentials in it.

    Attributes:
        url: Its URL.
        param: Its `callback_param`.
        secrets: The credentials, decoded.
    """

    url: str
    param: Any
    secrets: list[str]


class Plant:
    """Makes random credentials, and remembers them.

    Args:
        chance: Source of the randomness.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.secrets: list[str] = []

    def token(self, length: int = 24) -> str:
        """Return letters and digits."""
        return self._kept("".join(self.chance.choices(string.ascii_letters + string.digits, k=length)))

    def awkward(self) -> str:
        """Return a text with characters that are escaped everywhere."""
        return self._kept(f"{self.token(13)}+/=&\"'<;% {self.token(13)}")

    def hexadecimal(self, size: int) -> str:
        """Return bytes in hexadecimal."""
        return self._kept(self.chance.randbytes(size).hex())

    def base64(self, size: int) -> str:
        """Return bytes in base64."""
        return self._kept(base64.b64encode(self.chance.randbytes(size)).decode())

    def session(self) -> str:
        """Return the id of a session that the receiver will start."""
        return self._kept(SESSION)

    def _kept(self, secret: str) -> str:
        self.secrets.append(secret)
        return secret


def _encoded(value: str) -> str:
    return quote(value, safe="")


def _now() -> str:
    return datetime.now(timezone.utc).strftime(signedurls.FORMAT)


def _form(plant: Plant) -> dict[str, Any]:
    signed = signedurls.signed_fields(**{"x-amz-signature": plant.hexadecimal(32)})
    token = {"x-amz-security-token": plant.base64(120)}
    # The policy alone is not a credential.
    return signedurls.form({"bucket": "bucket"}, expires="2090-01-01T00:00:00Z", signed=signed, **token)


def _multipart(base: str, plant: Plant) -> tuple[str, Any]:
    upload, key, token = plant.token(40), plant.token(20), plant.base64(120)

    def signed(own: str) -> str:
        more = {"X-Amz-Security-Token": token}
        return f"{base}/bucket/k?{own}{signedurls.v4(date=_now(), signature=plant.hexadecimal(32), key=key, **more)}"

    of_upload = f"uploadId={upload}&"
    parts = {
        "part_size": 5 * 1024 * 1024,
        "urls": [signed(f"partNumber={number}&{of_upload}") for number in (1, 2)],
        "abort": signed(of_upload),
        "head": signed(""),
    }
    return signed(of_upload), {"s3_parts": parts}


def _http(plant: Plant, header: Callable[[Plant], tuple[str, str]]) -> dict[str, Any]:
    name, value = header(plant)
    return {"http": {"method": "PUT", "headers": {name: value}}}


def _basic(plant: Plant, *, padded: bool) -> tuple[str, str]:
    encoded = base64.b64encode(f"robot:{plant.token(14)}".encode()).decode()
    plant.secrets.append(encoded)
    return "Authorization", f"Basic {encoded if padded else encoded.rstrip('=')}"


HTTP_HEADERS: dict[str, Callable[[Plant], tuple[str, str]]] = {
    "bearer": lambda plant: ("Authorization", f"Bearer {plant.token(40)}"),
    "digest": lambda plant: ("Authorization", f'Digest username="robot", response="{plant.hexadecimal(16)}", qop=auth'),
    "mediabrowser": lambda plant: ("Authorization", f'MediaBrowser Client="Kodi", Token="{plant.hexadecimal(16)}"'),
    "sharedkey": lambda plant: ("Authorization", f"SharedKey account:{plant.base64(32)}"),
    "basic": lambda plant: _basic(plant, padded=True),
    "basic without padding": lambda plant: _basic(plant, padded=False),
    "cookie": lambda plant: ("Cookie", f"theme=dark; session={plant.token(14)}"),
    "own": lambda plant: ("Private-Token", plant.token(20)),
    "awkward": lambda plant: ("X-Key", plant.awkward()),
}

TARGETS: dict[str, Callable[[str, Plant], tuple[str, Any]]] = {
    "s3-put": lambda base, plant: (
        f"{base}/bucket/k?"
        + signedurls.v4(
            date=_now(),
            signed="host;x-amz-meta-a",
            signature=plant.hexadecimal(32),
            key=plant.token(20),
            **{"X-Amz-Security-Token": plant.base64(120)},
        ),
        {"s3_headers": {"x-amz-meta-a": plant.token()}},
    ),
    "s3-put-v2": lambda base, plant: (
        f"{base}/bucket/k?" + signedurls.v2(expires=FAR, key=plant.token(20), signature=plant.base64(20)),
        None,
    ),
    "s3-multipart": lambda base, plant: _multipart(base, plant),
    "s3-post": lambda base, plant: (f"{base}/bucket", _form(plant)),
    "azure-blob": lambda base, plant: (
        f"{base}/c/k?" + signedurls.sas(se="2090-01-01T13:00:00Z", sig=plant.base64(32)),
        None,
    ),
    "azure-blob in lower case": lambda base, plant: (
        f"{base}/c/k?"
        + re.sub(
            "%2[BF]|%3D",
            lambda escape: escape[0].lower(),
            signedurls.sas(se="2090-01-01T13:00:00Z", sig=plant.base64(32)),
        ),
        None,
    ),
    "gcs-put-v2": lambda base, plant: (
        f"{base}/b/k?"
        + signedurls.google_v2(expires=FAR).replace(_encoded(signedurls.RSA), _encoded(plant.base64(256))),
        None,
    ),
    "oss-put-v1": lambda base, plant: (
        f"{base}/b/k?" + signedurls.oss_v1(expires=FAR).replace(_encoded(signedurls.SHA1), _encoded(plant.base64(20))),
        None,
    ),
    "cos-put": lambda base, plant: (
        f"{base}/b/k?" + signedurls.cos(expires=FAR).replace("5f" * 20, plant.hexadecimal(20)),
        None,
    ),
    "obs-put": lambda base, plant: (
        f"{base}/b/k?" + signedurls.obs(expires=FAR).replace(_encoded(signedurls.SHA1), _encoded(plant.base64(20))),
        None,
    ),
    "swift-temp-url": lambda base, plant: (
        f"{base}/v1/AUTH_a/c/o?" + signedurls.swift(expires=FAR).replace("5f" * 32, plant.hexadecimal(32)),
        None,
    ),
    "supabase-put": lambda base, plant: (
        f"{base}/storage/v1/object/upload/sign/b/k?token=e30.e30.{plant.token(43)}",
        None,
    ),
    "oracle-par": lambda base, plant: (f"{base}/p/{plant.token(64)}/n/ns/b/bucket/o/42.json", None),
    "gcs-session": lambda base, plant: (
        f"{base}/upload/storage/v1/b/b/o?uploadType=resumable&upload_id={plant.token(60)}",
        None,
    ),
    "gcs-resumable": lambda base, plant: (
        plant.session()
        and f"{base}/b/k?"
        + signedurls.google_v4(date=_now(), signed="host;x-goog-resumable").replace("5f" * 256, plant.hexadecimal(256)),
        None,
    ),
    "webhook, path": lambda base, plant: (f"{base}/hooks/{plant.token()}/token/{plant.token(12)}", None),
    "webhook, signature": lambda base, plant: (f"{base}/done/{plant.token()}?sig={plant.hexadecimal(16)}", None),
    "webhook, token": lambda base, plant: (
        f"{base}/done?a=1;token={plant.token(13)}&b={_encoded(plant.awkward())}",
        None,
    ),
    "webhook, raw plus": lambda base, plant: (f"{base}/done?t={plant.token(13)}+{plant.token(13)}", None),
    "webhook, bare": lambda base, plant: (f"{base}/done?{plant.token(13)}", None),
    "webhook, bot": lambda base, plant: (f"{base}/bot123456:{plant.token(35)}/sendDocument", None),
    "webhook, secret and headers": lambda base, plant: (
        f"{base}/done",
        {
            "webhook": {
                "secret": [f"whsec_{plant.base64(32)}", f"whsk_{plant.base64(32)}"],
                "headers": {"Authorization": f"Bearer {plant.token(40)}", "X-Key": plant.awkward()},
            }
        },
    ),
    "webhook, matrix": lambda base, plant: (f"{base}/x;token={plant.token(13)};v=1/y", None),
    "refresh": lambda base, plant: (
        f"{base}/bucket/k?" + signedurls.v4(expires=60, signature=plant.hexadecimal(32), key=plant.token(20)),
        {
            "refresh": {
                "url": f"{base}/hooks/{plant.token()}/targets?key={_encoded(plant.awkward())}&t={plant.token(13)}",
                "headers": {"Authorization": f"Bearer {plant.token(40)}", "X-Key": plant.token(20)},
            }
        },
    ),
    **{
        f"http-put, {name}": lambda base, plant, header=header: (f"{base}/file", _http(plant, header))
        for name, header in HTTP_HEADERS.items()
    },
}
"""Kinds of targets with credentials in each of their places."""


def planted(name: str, base: str, chance: random.Random) -> Planted:
    """Return a target with new credentials.

    Args:
        name: One of `TARGETS`.
        base: URL of its server.
        chance: Source of the randomness.
    """
    plant = Plant(chance)
    url, param = TARGETS[name](base, plant)
    return Planted(url, param, plant.secrets)


def _lower(escaped: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), escaped)


def _wrapped(text: str) -> str:
    return "\n".join(text[place : place + 30] for place in range(0, len(text), 30))


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode("latin-1", "replace")).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "decoded": unquote,
    "decoded as a form": unquote_plus,
    "escaped": _encoded,
    "escaped in lower case": lambda text: _lower(_encoded(unquote(text))),
    "escaped twice": lambda text: _encoded(_encoded(text)),
    "HTML": html.escape,
    "HTML, decoded": lambda text: html.escape(unquote(text)),
    "HTML by code points": lambda text: "".join(f"&#x{ord(character):x};" for character in unquote(text)),
    "JSON": lambda text: json.dumps(unquote(text))[1:-1].replace("/", "\\/"),
    "unicode": lambda text: "".join(f"\\u{ord(character):04x}" for character in unquote(text)),
    "lower case": str.lower,
    "upper case": lambda text: unquote(text).upper(),
    "wrapped": _wrapped,
    "base64": _in_base64,
    "base64, decoded": lambda text: _in_base64("x" + unquote(text)),
}
"""How a receiver spells what it quotes."""


def quoted_parts(head: str, body: str, chance: random.Random) -> str:
    """Return a part of a request, as some receivers quote it."""
    line, _, rest = head.partition("\r\n")
    target = line.split()[1]
    headers = [header.partition(": ")[2] for header in rest.split("\r\n")]
    words = [word.strip("\"',;") for header in headers for word in re.split("[ =:]", header) if len(word) > 5]
    logins = [_login(header) for header in headers if header.startswith("Basic ")]
    values = [value for pair in re.split("[&;]", target.partition("?")[2]) for value in pair.split("=", 1)]
    fields = re.findall(r'name="[^"]+"\r\n(?:[^\r]+\r\n)*\r\n([^\r]+)', body)
    candidates = [[target], headers, words, logins, values, fields, target.split("/"), [f"{target} {rest}"]]
    given = chance.choice([found for found in candidates if found])
    part = chance.choice(given)
    return part[: chance.choice([40, 10_000])]


def _login(header: str) -> str:
    encoded = header.removeprefix("Basic ")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _xml(text: str) -> bytes:
    return f"<Error><Code>AccessDenied</Code><Message>{text.replace('<', '&lt;')}</Message></Error>".encode()


PLACES: dict[str, Callable[[str], bytes]] = {
    "XML": lambda text: answer("403 Forbidden", body=_xml(text)),
    "XML, details": lambda text: answer(
        "403 Forbidden", body=b"<Error><Code>AccessDenied</Code><Details>%s</Details></Error>" % text.encode()
    ),
    "code": lambda text: answer("403 Forbidden", body=f"<Error><Code>{text}</Code></Error>".encode()),
    "JSON": lambda text: answer("400 Bad Request", body=json.dumps({"code": text[:60], "message": text}).encode()),
    "text": lambda text: answer("422 Unprocessable Content", body=text.encode()),
    "header": lambda text: answer("403 Forbidden", f"x-ms-error-code: {_one_line(text)}", "x-echo: " + _one_line(text)),
    "reason": lambda text: answer(f"403 {_one_line(text)}"),
    "status line": lambda text: f"HTTP/1.1 4{_one_line(text)}\r\n\r\n".encode(),
    "redirect": lambda text: answer("307 Temporary Redirect", f"Location: {_one_line(text)}"),
    "redirect to a path": lambda text: answer("307 Temporary Redirect", f"Location: /x/{_one_line(text)}"),
    "redirect to a host": lambda text: answer("308 Permanent Redirect", f"Location: http://{text[:60]}.invalid/{text}"),
    "ETag": lambda text: answer("200 OK", f'ETag: "{_one_line(text)}"', f"x-amz-version-id: {_one_line(text)}"),
    "retry": lambda text: answer("503 Unavailable", f"Retry-After: {_one_line(text)}", body=_xml(text)),
}
"""Where a receiver quotes a request."""


@contextmanager
def echoing(chance: random.Random) -> Iterator[RawServer]:
    """Run a receiver that quotes a part of each request in some spelling and place."""

    def script(connection: socket.socket, number: int) -> None:
        while True:
            head, body = read_request(connection)
            if not head:
                return
            if head.startswith(b"POST") and b"x-goog-resumable: start" in head and chance.random() < 0.8:
                target = head.decode("latin-1").split()[1]
                connection.sendall(answer("201 Created", f"Location: {target}&upload_id={SESSION}"))
                continue
            part = quoted_parts(head.decode("latin-1"), body.decode("latin-1"), chance)
            text = SPELLINGS[chance.choice(list(SPELLINGS))](part)
            connection.sendall(PLACES[chance.choice(list(PLACES))](text))

    with RawServer(script) as server:
        yield server


def leaked(text: str, secrets: list[str]) -> str | None:
    """Return a credential that a text has a part of, in any spelling; None if it has none.

    This is no copy of the package's search: it decodes the text as a whole, and keeps letters and digits only.
    """
    views = {text}
    for _ in range(3):
        views |= {change(view) for view in views for change in (unquote, html.unescape, _unescaped)}
    for run in re.findall("[A-Za-z0-9+/_-]{16,}", text):
        for skipped in range(4):
            whole = run[skipped:].translate(str.maketrans("-_", "+/"))
            views.add(base64.b64decode(whole[: len(whole) // 4 * 4]).decode("latin-1"))
    plain = [_letters(view) for view in views]
    for secret in secrets:
        letters = _letters(secret)
        windows = {letters[place : place + _SHARED] for place in range(max(1, len(letters) - _SHARED + 1))}
        if any(window in view for view in plain for window in windows):
            return secret
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda escape: chr(int(escape[1], 16)), text)


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())
