"""Each kind of target with each mistake: the planner's error, the server's rejection, and their agreement.

`MATRIX` is the table of docs/compatibility.md; a test compares them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings

from callback_sdk import JobResult, ResultsWriter, check_target
from callback_sdk.errors import DeliveryError, MissingS3FieldsError, TargetError
from callback_sdk.testing import SeaweedFS
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.response import Response
from tests.checkers import azurite, webhooks
from tests.checkers.places import (
    BODY,
    AzureBlob,
    AzureBlocks,
    AzurePrefix,
    Case,
    COSPost,
    COSPut,
    GCSPostV2,
    GCSPostV4,
    GCSPutV2,
    GCSPutV4,
    GCSResumable,
    OBSPost,
    OBSPut,
    OSSPost,
    OSSPut,
    OSSPutV1,
    Place,
    Post,
    S3Multipart,
    S3PostV2,
    S3PostV4,
    S3Prefix,
    S3PutV2,
    S3PutV4,
    SwiftTempURL,
    Webhook,
    unchecked,
)
from tests.property.strategies import json_values

CASES = ("valid", "tampered", "expired", "wrong header", "wrong field", "too big", "no fields")

MATRIX: dict[type[Place], tuple[str, str, tuple[str, ...]]] = {
    S3PutV4: ("S3 PUT, Version 4", "SeaweedFS", ("ok", "server", "both", "both", "–", "client", "both")),
    S3PutV2: ("S3 PUT, Version 2", "SeaweedFS", ("ok", "server", "both", "server", "–", "client", "both")),
    S3PostV4: ("S3 POST, Version 4", "SeaweedFS", ("ok", "server", "both", "–", "both", "both", "both")),
    S3PostV2: ("S3 POST, Version 2", "SeaweedFS", ("ok", "server", "both", "–", "both", "both", "both")),
    S3Prefix: ("S3 POST, prefix", "SeaweedFS", ("ok", "server", "both", "–", "both", "both", "both")),
    S3Multipart: ("S3 multipart", "SeaweedFS", ("ok", "server", "both", "–", "both", "client", "both")),
    AzureBlob: ("Azure Blob SAS", "Azurite", ("ok", "server", "both", "both", "–", "client", "both")),
    AzureBlocks: ("Azure Blob SAS, blocks", "Azurite", ("ok", "server", "both", "–", "–", "client", "both")),
    AzurePrefix: ("Azure container SAS", "Azurite", ("ok", "server", "both", "both", "–", "client", "both")),
    GCSPutV4: ("GCS PUT, V4", "checker", ("ok", "server", "both", "both", "–", "both", "both")),
    GCSPutV2: ("GCS PUT, V2", "checker", ("ok", "server", "both", "server", "–", "client", "both")),
    GCSResumable: ("GCS resumable upload", "checker", ("ok", "server", "both", "both", "–", "client", "both")),
    GCSPostV4: ("GCS POST, V4", "checker", ("ok", "server", "both", "–", "both", "both", "both")),
    GCSPostV2: ("GCS POST, V2", "checker", ("ok", "server", "both", "–", "both", "both", "both")),
    OSSPut: ("OSS PUT, V4", "checker", ("ok", "server", "both", "both", "–", "client", "both")),
    OSSPutV1: ("OSS PUT, V1", "checker", ("ok", "server", "both", "server", "–", "client", "both")),
    OSSPost: ("OSS POST", "checker", ("ok", "server", "both", "–", "both", "both", "both")),
    COSPut: ("COS PUT", "checker", ("ok", "server", "both", "both", "–", "client", "both")),
    COSPost: ("COS POST", "checker", ("ok", "server", "both", "–", "both", "both", "both")),
    OBSPut: ("OBS PUT", "checker", ("ok", "server", "both", "server", "–", "client", "both")),
    OBSPost: ("OBS POST", "checker", ("ok", "server", "both", "–", "both", "both", "both")),
    SwiftTempURL: ("Swift TempURL", "checker", ("ok", "server", "both", "both", "–", "client", "both")),
    Webhook: ("webhook", "standardwebhooks", ("ok", "server", "server", "server", "–", "client", "–")),
}

IN_SEVERAL_REQUESTS = (AzureBlocks, GCSResumable, S3Multipart)

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def table() -> str:
    """Return the matrix as the page has it."""
    rows = [("target", *CASES, "server"), ("---",) * (len(CASES) + 2)]
    rows += [(name, *cells, server) for name, server, cells in MATRIX.values()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def chosen(*words: str) -> list[Any]:
    """Return place and case of each cell that has one of these words."""
    return [
        pytest.param(place, case, id=f"{name}, {case}")
        for place, (name, _, cells) in MATRIX.items()
        for case, cell in zip(CASES, cells, strict=True)
        if cell in words
    ]


@pytest.fixture(scope="module")
def receiver() -> Iterator[webhooks.Receiver]:
    """Run a receiver of signed webhooks."""
    with webhooks.running("whsec_" + "c2VjcmV0" * 5) as server:
        yield server


def case_of(place: Place, name: str) -> Case:
    return getattr(place, name.replace(" ", "_"))()  # type: ignore[no-any-return]


def refuse(place: Place, case: Case) -> None:
    if case.size is None:
        write(place, case)
    else:
        check_target(case.url, case.param, storage_endpoints=[place.endpoint], size=case.size)


def write(place: Place, case: Case) -> Any:
    secrets = [place.server.secret] if isinstance(place, Webhook) else []
    with ResultsWriter(storage_endpoints=[place.endpoint], webhook_secrets=secrets) as writer:
        return writer.write(JobResult(job_id="42", success=True, results=case.results), case.url, case.param)


def send(case: Case) -> Response:
    sender = HTTPSender()
    try:
        assert case.upload is not None
        return sender.send(case.upload)
    finally:
        sender.close()


@pytest.mark.parametrize(("kind", "name"), chosen("ok"))
def test_valid_upload_is_delivered(place: Callable[[type[Place]], Place], kind: type[Place], name: str) -> None:
    """The result arrives whole, and the receipt says where."""
    there = place(kind)
    (receipt,) = write(there, case_of(there, name))
    assert receipt.target_kind == there.kind
    assert (there.read() or b"").startswith(b'{"job_id":"42"')
    assert receipt.size == len(there.read() or b"")


@pytest.mark.parametrize(("kind", "name"), chosen("both", "client"))
def test_mistake_is_refused_before_anything_is_sent(
    place: Callable[[type[Place]], Place], kind: type[Place], name: str
) -> None:
    """It has its own error, with advice, and the server keeps nothing."""
    there = place(kind)
    case = case_of(there, name)
    with pytest.raises(TargetError) as caught:
        refuse(there, case)
    assert type(caught.value) is case.error
    assert caught.value.hint
    assert there.read() is None


@pytest.mark.parametrize(("kind", "name"), chosen("both"))
def test_server_rejects_mistakes_without_the_planner(
    place: Callable[[type[Place]], Place], kind: type[Place], name: str
) -> None:
    """The planner rejects only uploads that the server would reject."""
    there = place(kind)
    assert 400 <= send(case_of(there, name)).status < 500
    assert there.read() is None


@pytest.mark.parametrize(("kind", "name"), chosen("server"))
def test_mistake_that_only_the_server_detects_is_its_error(
    place: Callable[[type[Place]], Place], kind: type[Place], name: str
) -> None:
    """A single attempt, and an error with the server's code."""
    there = place(kind)
    case = case_of(there, name)
    if case.url is None:
        assert send(case).status == 401
    else:
        with pytest.raises(DeliveryError) as caught:
            write(there, case)
        assert caught.value.status in (400, 401, 403)
        assert caught.value.code
        assert not caught.value.retryable
        assert caught.value.attempts == 1
    assert there.read() is None


@pytest.mark.parametrize(
    ("kind", "name"), [cell for cell in chosen("ok") if cell.values[0] not in (Webhook, *IN_SEVERAL_REQUESTS)]
)
def test_valid_upload_is_accepted_without_the_planner(
    place: Callable[[type[Place]], Place], kind: type[Place], name: str
) -> None:
    """So the bypass of the planner itself is correct."""
    there = place(kind)
    case = case_of(there, name)
    answer = send(Case(upload=unchecked(case.url or "", case.param)))
    assert answer.status in (200, 201, 204)
    assert there.read() == BODY.read()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(results=json_values)
@pytest.mark.parametrize("kind", MATRIX, ids=lambda kind: kind.__name__)
def test_any_result_can_be_read_from_every_target(
    place: Callable[[type[Place]], Place], kind: type[Place], results: Any
) -> None:
    """All JSON values are stored exactly."""
    there = place(kind)
    case = there.form(there.sign(largest=10**6)) if isinstance(there, Post) else there.valid()
    write(there, evolve(case, results=results))
    assert json.loads(there.read() or b"")["results"] == results


def test_azure_signature_that_may_only_read_is_refused_by_both(azure: azurite.Azurite) -> None:
    """The permission stands in the URL, and Azure holds to it."""
    there = AzureBlob(azure)
    case = there.wrong_permission()
    with pytest.raises(case.error, match="permission"):
        write(there, case)
    assert send(case).status == 403


def test_azure_blob_has_its_content_encoding(azure: azurite.Azurite) -> None:
    """Azure has a separate header for it, and ignores the usual one."""
    with ResultsWriter(compress="gzip") as writer:
        writer.write(JobResult(job_id="zipped", success=True, results={}), azure.sign("zipped.json"))
    with azure.client() as client:
        blob = client.get_blob_client(azurite.CONTAINER, "zipped.json")
        assert blob.get_blob_properties().content_settings.content_encoding == "gzip"
        stored = blob.download_blob(decompress=False).readall()
    assert json.loads(gzip.decompress(stored))["job_id"] == "zipped"


def test_compatibility_page_has_this_table() -> None:
    """The documented matrix is the one that the tests above check."""
    assert table() in PAGE.read_text(), f"The table in docs/compatibility.md must be:\n\n{table()}"


def test_unsigned_url_of_an_unknown_store_is_explained(seaweedfs: SeaweedFS) -> None:
    """The host isn't configured as a store, so it gets a webhook; its response identifies it."""
    there = S3PutV4(seaweedfs)
    with ResultsWriter() as writer, pytest.raises(DeliveryError, match="s3_fields") as caught:
        writer.write(JobResult(job_id="42", success=True), there.no_fields().url)
    assert not isinstance(caught.value, MissingS3FieldsError)
