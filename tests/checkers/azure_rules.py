"""Azure's shared access signatures, verified as its documentation describes them; written apart from any signer.

Sources: "Create a service SAS", "Create an account SAS", "Create a user delegation SAS" and "Put Blob" in Azure's REST
reference, for versions from 2020-12-06 on.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from urllib.parse import unquote

from tests.checkers.gcs_rules import Refusal, Request

_RESPONSE = ("rscc", "rscd", "rsce", "rscl", "rsct")
_DELEGATION = ("skoid", "sktid", "skt", "ske", "sks", "skv")


def check_put(request: Request, account: str, key: str, now: datetime) -> None:
    """Verify Put Blob with a shared access signature.

    Args:
        request: The request.
        account: Name of the account.
        key: Its key, or the user delegation key, in base64.
        now: The time of the request.

    Raises:
        Refusal: It is not what was signed, or not Put Blob.
    """
    given = request.parameters()
    if given["sig"] != signature(request, account, key):
        raise Refusal(403, "AuthenticationFailed")
    if "se" in given and now >= datetime.strptime(given["se"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc):
        raise Refusal(403, "AuthenticationFailed")
    if "sp" in given and not set(given["sp"]) & set("cw"):
        raise Refusal(403, "AuthorizationPermissionMismatch")
    if "ss" in given and not ("b" in given["ss"] and "o" in given["srt"]):
        raise Refusal(403, "AuthorizationResourceTypeMismatch")
    if request.headers.get("x-ms-blob-type") != "BlockBlob":
        raise Refusal(400, "MissingRequiredHeader")
    if request.headers.get("content-length") != str(len(request.body)):
        raise Refusal(411, "MissingContentLengthHeader")


def signature(request: Request, account: str, key: str) -> str:
    """Return the signature that a request should have."""
    given = request.parameters()
    lines = _account(given, account) if "ss" in given else _service(given, account, request.path)
    return base64.b64encode(hmac.digest(base64.b64decode(key), "\n".join(lines).encode(), "sha256")).decode()


def _service(given: Mapping[str, str], account: str, path: str) -> list[str]:
    container, _, name = unquote(path).lstrip("/").partition("/")
    resource = f"/blob/{account}/{container}" + (f"/{name}" if given["sr"] == "b" else "")
    get = _getter(given)
    rest = [get("sip"), get("spr"), get("sv"), get("sr"), "", get("ses"), *map(get, _RESPONSE)]
    start = [get("sp"), get("st"), get("se"), resource]
    if "skoid" not in given:
        return [*start, get("si"), *rest]
    # saoid, suoid and scid; from 2025-07-05 on also skdutid and sduoid, and from 2026-04-06 on two for signed headers
    # and parameters, which end in a line break if there are any.
    identity = [*map(get, _DELEGATION), "", "", ""]
    if get("sv") >= "2025-07-05":
        identity += ["", ""]
    if get("sv") >= "2026-04-06":
        rest[6:6] = ["", ""]
    return [*start, *identity, *rest]


def _account(given: Mapping[str, str], account: str) -> list[str]:
    get = _getter(given)
    return [account, *(get(n) for n in ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses")), ""]


def _getter(given: Mapping[str, str]) -> Callable[[str], str]:
    return lambda name: given.get(name, "")
