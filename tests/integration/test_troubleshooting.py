"""The table of docs/troubleshooting.md: where it names a server, that server prints the same at the same mistake."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from azure.storage.blob import BlobSasPermissions

from callback_sdk import errors
from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.upload import Upload
from callback_sdk.testing import SeaweedFS
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.response import Response
from callback_sdk.transport.store_hints import HINTS
from tests.checkers import azurite
from tests.conftest import missing_server

TEXT = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
ROWS = re.findall(r"^\| (\d{3}) `(\w+)`: (.+?) \| .+ \| .+ \| (.*)\|$", TEXT, re.MULTILINE)
BODY = b'{"job_id": "42"}'
WRONG_MD5 = base64.b64encode(bytes(16)).decode()

Answer = urllib3.BaseHTTPResponse


class Bucket:
    """A bucket of SeaweedFS, and uploads to it as boto3 signs them and a careless program sends them."""

    def __init__(self, server: SeaweedFS) -> None:
        self._server = server
        self._name = server.create_bucket()

    def url(self, *, expires: int = 600, access_key: str | None = None, **params: Any) -> str:
        client = self._server.client(**({"aws_access_key_id": access_key} if access_key else {}))
        wanted = {"Bucket": self._name, "Key": "k"} | params
        return str(client.generate_presigned_url("put_object", Params=wanted, ExpiresIn=expires))

    def form(self, *conditions: Any) -> dict[str, Any]:
        return dict(self._server.client().generate_presigned_post(self._name, "k", Conditions=list(conditions)))

    def expired_form(self) -> dict[str, Any]:
        form = self.form()
        policy = base64.b64encode(b'{"expiration": "2020-01-01T00:00:00Z", "conditions": []}').decode()
        key = b"AWS4" + self._server.secret_key.encode()
        for word in (*form["fields"]["x-amz-credential"].split("/")[1:], policy):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        return {**form, "fields": {**form["fields"], "policy": policy, "x-amz-signature": key.hex()}}


def put(url: str, **headers: str) -> Answer:
    return urllib3.request("PUT", url, body=BODY, headers=headers, retries=False)


def post(form: dict[str, Any], **changed: str) -> Answer:
    fields: dict[str, Any] = {**form["fields"], **changed, "file": ("k", BODY)}
    return urllib3.request("POST", form["url"], fields=fields, retries=False)


def put_blob(url: str, **headers: str) -> Answer:
    return put(url, **{"x-ms-blob-type": "BlockBlob", **headers})


def put_twice(bucket: Bucket) -> Answer:
    for _ in range(2):
        answer = put(bucket.url(IfNoneMatch="*"), **{"If-None-Match": "*"})
    return answer


SEAWEEDFS: dict[str, Callable[[Bucket], Answer]] = {
    "The request signature we calculated": lambda bucket: put(bucket.url().replace("/k?", "/other?")),
    "Request has expired": lambda bucket: put(bucket.url().replace("X-Amz-Date=20", "X-Amz-Date=19")),
    "Policy expired": lambda bucket: post(bucket.expired_form()),
    "Policy Condition failed": lambda bucket: post(bucket.form(), key="other"),
    "Access Denied": lambda bucket: put(bucket.url().partition("?")[0]),
    "Your proposed upload exceeds": lambda bucket: post(bucket.form(["content-length-range", 0, 5])),
    "Your proposed upload is smaller": lambda bucket: post(bucket.form(["content-length-range", 500, 900])),
    "Query-string authentication": lambda bucket: put(bucket.url().replace("&X-Amz-Expires=600", "")),
    "X-Amz-Expires must be": lambda bucket: put(bucket.url(expires=604_801)),
    "does not exist in our records": lambda bucket: put(bucket.url(access_key="AKIDNOBODYHAS")),
    "The specified method": lambda bucket: urllib3.request("POST", bucket.url(), body=BODY, retries=False),
    "At least one of the pre-conditions": put_twice,
    "did not match what we received": lambda bucket: put(bucket.url(), **{"Content-MD5": WRONG_MD5}),
}

AZURITE: dict[str, Callable[[azurite.Azurite], Answer]] = {
    "Server failed to authenticate": lambda server: put_blob(server.sign("x", expires=-timedelta(hours=1))),
    "This request is not authorized": lambda server: put_blob(
        server.sign("x", permission=BlobSasPermissions(read=True))
    ),
    "The specified blob": lambda server: [put_blob(server.sign("x"), **{"If-None-Match": "*"}) for _ in "12"][1],
}


HINTS_OF = {
    "The request signature we calculated": "A header differs from its signed value",
    "Request has expired": "expired by the store's clock",
    "Policy expired": "expired by the store's clock",
    "Policy Condition failed": "differs from the policy's condition",
    "Your proposed upload exceeds": "wider content-length-range",
    "Your proposed upload is smaller": "wider content-length-range",
    "Query-string authentication": "The URL is incomplete",
    "X-Amz-Expires must be": "at most 7 days",
    "does not exist in our records": "The access key that signed was deleted",
    "The specified method": "doesn't accept uploads",
    "At least one of the pre-conditions": "If-None-Match",
    "did not match what we received": "corrupted in transit",
}
"""Part of the hint for each mistake at SeaweedFS."""


def hint(answer: Answer, kind: str, headers: dict[str, str]) -> str:
    """Return the hint for a server's answer to an upload."""
    url, body = SecretURL("https://results.example.org/k?X-Amz-Signature=0"), Body(BODY)
    sent = Upload(
        kind=kind,
        method="PUT",
        url=url,
        headers=Secret(headers),
        body=body,
        document=body,
        expires_at=None,
        accepts=frozenset({200}),
        redirects=False,
    )
    found = {name.lower(): value for name, value in answer.headers.items()}
    return delivery_error(sent, Response(status=answer.status, headers=found, body=answer.data, url=url)).hint


def row(part: str) -> tuple[int, str, str, str]:
    """Return the one row with a server that has these words: status, code, message, and the server."""
    ((status, code, message, also),) = [found for found in ROWS if part in found[2] and found[3].strip()]
    return int(status), code, message, also.strip()


def message_of(answer: Answer) -> str:
    return re.findall(r"<Message>(.*?)</Message>", answer.data.decode(), re.DOTALL)[0]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def azure() -> Iterator[azurite.Azurite]:
    """Run Azurite."""
    command = azurite.find()
    if command is None:
        missing_server(azurite.HOW_TO_GET_IT)
    with azurite.running(command) as server:
        yield server


@pytest.mark.parametrize("part", SEAWEEDFS)
def test_seaweedfs_responds_as_in_the_table(seaweedfs: SeaweedFS, part: str) -> None:
    """Status, code and message equal those of the row for each mistake."""
    status, code, message, also = row(part)
    answer = SEAWEEDFS[part](Bucket(seaweedfs))
    assert (answer.status, also) == (status, "SeaweedFS")
    assert f"<Code>{code}</Code>" in answer.data.decode()
    assert message.lower() in message_of(answer).lower()


@pytest.mark.parametrize("part", AZURITE)
def test_azurite_responds_as_in_the_table(azure: azurite.Azurite, part: str) -> None:
    """The same for Azure; the emulator has another name for one code."""
    status, code, message, also = row(part)
    answer = AZURITE[part](azure)
    assert answer.status == status
    assert also == ("Azurite" if answer.headers["x-ms-error-code"] == code else "Azurite, as `AuthorizationFailure`")
    assert answer.headers["x-ms-error-code"] in (code, "AuthorizationFailure")
    assert message in message_of(answer)


@pytest.mark.parametrize("part", HINTS_OF)
def test_the_hint_for_seaweedfs_is_true(seaweedfs: SeaweedFS, part: str) -> None:
    """The real response to each mistake gets the hint for that mistake."""
    kind = "s3-post" if part.startswith(("Policy", "Your proposed")) else "s3-put"
    headers = {"if-none-match": "*"} if part.startswith("At least one") else {}
    assert HINTS_OF[part] in hint(SEAWEEDFS[part](Bucket(seaweedfs)), kind, headers)


def test_the_hint_for_azurite_is_true(azure: azurite.Azurite) -> None:
    """The same for Azure."""
    assert "an emulator" in hint(AZURITE["Server failed to authenticate"](azure), "azure-blob", {}).lower()
    assert "to create and to write" in hint(AZURITE["This request is not authorized"](azure), "azure-blob", {})
    assert "Content-MD5" in hint(AZURITE["The specified blob"](azure), "azure-blob", {})


def test_no_server_is_named_in_vain() -> None:
    """Each row that names one is tried above."""
    named = [also.split(",")[0] for *_, also in ROWS if also.strip()]
    assert sorted(name.strip() for name in named) == ["Azurite"] * len(AZURITE) + ["SeaweedFS"] * len(SEAWEEDFS)
    assert len(ROWS) == TEXT.partition("## Messages of object stores")[2].count("\n| ") - 2
    assert len(ROWS) >= 20


@pytest.mark.parametrize("code", sorted({code for _, code, *_ in ROWS}))
def test_every_code_has_a_hint(code: str) -> None:
    """The exception itself has the advice of the page."""
    assert code in HINTS


def test_every_error_that_the_table_names_exists() -> None:
    """The classes in brackets are those of `callback_sdk.errors`."""
    for names in re.findall(r"\((`\w+Error`(?:, `\w+Error`)*)\)", TEXT):
        assert all(hasattr(errors, name.strip("`")) for name in names.split(", "))
