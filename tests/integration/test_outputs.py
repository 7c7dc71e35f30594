"""Output files at stores that check signatures."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pandas as pd
import pytest
import requests
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from matplotlib.figure import Figure

from callback_sdk import JobResult, PresignedPrefix, ResultsWriter, S3Signer
from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    CallbackParamError,
    DeliveryError,
    MultipleDeliveryErrors,
    OutputError,
    PolicyError,
    TargetError,
    WrongOperationError,
)
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.planner import plan
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.checkers.azurite import CONTAINER, Azurite
from tests.checkers.gcs import GCS

HOSTILE = [
    "a b+c&d=e.txt",
    "100%.csv",
    "a#b;c,d@e!.bin",
    "naïve/日本語.txt",
    "emoji-👩‍🔬.png",
    "__proto__",
    "'q'(x)~.txt",
]


@pytest.fixture
def writer(seaweedfs: SeaweedFS) -> ResultsWriter:
    with ResultsWriter(storage_endpoints=[seaweedfs.endpoint_url], timeout=timedelta(seconds=10)) as writer:
        yield writer


@pytest.fixture
def signer(seaweedfs: SeaweedFS, bucket: str) -> S3Signer:
    return S3Signer(bucket, client=seaweedfs.client())


@pytest.fixture
def read(seaweedfs: SeaweedFS, bucket: str) -> Any:
    """Read an object of the bucket."""
    client = seaweedfs.client()
    return lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.fixture
def keys(seaweedfs: SeaweedFS, bucket: str) -> Any:
    """List the keys of the bucket."""

    def find() -> list[str]:
        return [one["Key"] for one in seaweedfs.client().list_objects_v2(Bucket=bucket).get("Contents", ())]

    return find


def result(outputs: dict[str, Any], results: Any = None) -> JobResult:
    return JobResult(job_id="42", success=True, results=results, outputs=outputs)


def test_one_signature_takes_the_document_and_all_files(
    writer: ResultsWriter, signer: S3Signer, read: Any, keys: Any, seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    """A table, a figure, a directory and a file arrive below the prefix, and the document lists them."""
    figure = Figure()
    figure.subplots().plot([1, 2])
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run.log").write_text("done")
    (tmp_path / "model.bin").write_bytes(b"\0" * 100_000)
    outputs = {
        "table.parquet": pd.DataFrame({"a": [1, 2]}),
        "plots/fit.png": figure,
        "logs": tmp_path / "logs",
        "model.bin": tmp_path / "model.bin",
    }
    target = signer.presign_prefix("runs/42/", max_bytes=10**6)
    (receipt,) = writer.write(result(outputs, {"life": 7.5}), target, {"run": 1})
    names = ["logs/run.log", "model.bin", "plots/fit.png", "table.parquet"]
    assert sorted(keys()) == [f"runs/42/{name}" for name in (*names[:2], names[2], "result.json", names[3])]
    document = json.loads(read("runs/42/result.json"))
    assert document["callback_param"] == {"run": 1}
    assert document["results"]["life"] == 7.5
    assert sorted(document["results"]["outputs"]) == sorted(receipt.outputs) == names
    for name, entry in document["results"]["outputs"].items():
        content = read(f"runs/42/{name}")
        assert entry["url"] == f"{seaweedfs.endpoint_url}/{bucket}/runs/42/{name}"
        assert (entry["size"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        head = seaweedfs.client().head_object(Bucket=bucket, Key=f"runs/42/{name}")
        assert head["ContentType"] == entry["media_type"]
        assert receipt.outputs[name].sha256 == entry["sha256"]
    assert receipt.from_dict(receipt.to_dict()) == receipt
    assert pd.read_parquet(_written(tmp_path, read("runs/42/table.parquet")))["a"].tolist() == [1, 2]
    head = seaweedfs.client().head_object(Bucket=bucket, Key="runs/42/result.json")
    assert head["ContentType"] == "application/json"


def _written(folder: Path, content: bytes) -> Path:
    (folder / "read").write_bytes(content)
    return folder / "read"


def test_hostile_names_arrive_as_they_are(writer: ResultsWriter, signer: S3Signer, read: Any, keys: Any) -> None:
    """Names with characters that URLs, forms and JSON quote are the keys, and their URLs lead to them."""
    outputs = {name: name.encode() for name in HOSTILE}
    writer.write(result(outputs), signer.presign_prefix("runs/ä b/", document="die Liste.json"))
    assert sorted(keys()) == sorted(f"runs/ä b/{name}" for name in [*HOSTILE, "die Liste.json"])
    listed = json.loads(read("runs/ä b/die Liste.json"))["results"]["outputs"]
    for name in HOSTILE:
        assert read(f"runs/ä b/{name}") == name.encode()
        assert urlsplit(listed[name]["url"]).path.endswith(quote(f"runs/ä b/{name}"))


def test_the_store_holds_the_signature_to_its_prefix(
    signer: S3Signer, seaweedfs: SeaweedFS, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store itself rejects a key outside of the prefix and a file over max_bytes, and so does the writer before."""
    target = signer.presign_prefix("runs/42/", max_bytes=10)
    for key, content, status in (("runs/43/a", b"a", 403), ("runs/42/a", b"x" * 11, 400), ("runs/42/b", b"b", 204)):
        form = {**target.fields, "key": key, "Content-Type": "text/plain"}
        response = requests.post(target.url, data=form, files={"file": content}, timeout=60)
        assert response.status_code == status
    assert keys() == ["runs/42/b"]
    with ResultsWriter() as writer, pytest.raises(PolicyError, match="'a' has 11 bytes") as caught:
        writer.write(result({"a": b"x" * 11}), target)
    assert "presign_prefix(..., max_bytes=...)" in caught.value.hint
    assert keys() == ["runs/42/b"]


def test_one_target_for_each_file(
    writer: ResultsWriter,
    signer: S3Signer,
    read: Any,
    seaweedfs: SeaweedFS,
    bucket: str,
    webhook: WebhookReceiver,
    azure: Azurite,
) -> None:
    """PUT, POST and Azure's signature take a file each; a PUT URL and a webhook get the document with their URLs."""
    outputs = {"a.csv": b"a", "b.txt": b"b", "c.bin": b"c", "d.bin": b"d"}
    targets = {
        "a.csv": signer.presign_put("files/a", content_type="text/csv"),
        "b.txt": signer.presign_post("files/b", max_bytes=5),
        "c.bin": azure.sign("files/c"),
        "d.bin": seaweedfs.client().generate_presigned_url("put_object", {"Bucket": bucket, "Key": "files/d"}),
    }
    receipts = writer.write(result(outputs), [signer.presign_put("doc.json"), webhook.url], outputs=targets)
    assert [read(f"files/{name}") for name in ("a", "b", "d")] == [b"a", b"b", b"d"]
    assert azure.client().get_blob_client(CONTAINER, "files/c").download_blob().readall() == b"c"
    document, received = json.loads(read("doc.json")), json.loads(webhook.requests[0].body)
    assert document["results"] == received["results"]
    assert {
        name: urlsplit(one["url"]).path.rpartition("/")[2] for name, one in document["results"]["outputs"].items()
    } == {
        "a.csv": "a",
        "b.txt": "b",
        "c.bin": "c",
        "d.bin": "d",
    }
    assert [sorted(receipt.outputs) for receipt in receipts] == [sorted(outputs)] * 2
    assert [receipt.outputs["c.bin"].target_kind for receipt in receipts] == ["azure-blob"] * 2
    assert "Signature" not in json.dumps([receipt.to_dict() for receipt in receipts])
    assert "Signature" not in webhook.requests[0].body.decode()


def test_several_prefixes_have_copies_of_their_own(
    writer: ResultsWriter, signer: S3Signer, read: Any, keys: Any, webhook: WebhookReceiver
) -> None:
    """Each prefix gets every file without a target of its own; a webhook lists those of the first."""
    targets = [webhook.url, signer.presign_prefix("one/"), signer.presign_prefix("two/")]
    writer.write(result({"a": b"a", "b": b"b"}), targets, outputs={"b": signer.presign_put("elsewhere/b")})
    assert sorted(keys()) == ["elsewhere/b", "one/a", "one/result.json", "two/a", "two/result.json"]
    lists = [json.loads(read(f"{name}/result.json"))["results"]["outputs"] for name in ("one", "two")]
    lists.append(json.loads(webhook.requests[0].body)["results"]["outputs"])
    assert [urlsplit(one["a"]["url"]).path.split("/")[2] for one in lists] == ["one", "two", "one"]
    assert {urlsplit(one["b"]["url"]).path.rpartition("/")[2] for one in lists} == {"b"}


@pytest.mark.parametrize(
    ("outputs", "targets", "problem"),
    [
        ({"a": b""}, None, "No target takes the output file 'a'"),
        ({"a": b"", "b": b""}, {"a": "put"}, "No target takes the output file 'b'"),
        ({"a": b""}, {"a": "put", "x": "put"}, "has a target for 'x', and the result has no such file"),
        ({}, {"x": "put"}, "has a target for 'x', and the result has no such file"),
        ({"a": b""}, {"a": "webhook"}, "a webhook, which takes documents only"),
        ({"../a": b""}, {"a": "put"}, "segment . or .."),
        ({"a": b""}, ["put"], "outputs is of type list"),
    ],
)
def test_files_without_a_target_are_an_error_before_anything_is_sent(
    outputs: Any,
    targets: Any,
    problem: str,
    writer: ResultsWriter,
    signer: S3Signer,
    keys: Any,
    webhook: WebhookReceiver,
) -> None:
    """Nothing is dropped silently: a file without a target, and a target without a file, raise the typed error."""
    made = {"put": signer.presign_put("a"), "webhook": webhook.url}
    own = {name: made[kind] for name, kind in targets.items()} if isinstance(targets, dict) else targets
    with pytest.raises(OutputError, match=problem):
        writer.write(result(outputs), signer.presign_put("doc.json"), outputs=own)
    assert not keys()
    assert not webhook.requests


@pytest.mark.parametrize("results", [[1], "text", {"outputs": 1}])
def test_results_that_can_not_list_files(results: Any, writer: ResultsWriter, signer: S3Signer, keys: Any) -> None:
    """Results without room for the list raise the typed error, and nothing is sent."""
    with pytest.raises(OutputError):
        writer.write(result({"a": b""}, results), signer.presign_prefix("runs/"))
    assert not keys()


def test_no_two_have_one_place(writer: ResultsWriter, signer: S3Signer, keys: Any) -> None:
    """Two targets of one object, for files or for a file and the document, are an error before anything is sent."""
    put, prefix = signer.presign_put("one"), signer.presign_prefix("runs/")
    for document, own in (
        (put, {"a": put, "b": signer.presign_put("two")}),
        (signer.presign_put("doc"), {"a": put, "b": signer.presign_post("one")}),
        (prefix, {"a": signer.presign_put("runs/b")}),
        (prefix, {"a": signer.presign_put("runs/result.json")}),
    ):
        with pytest.raises(OutputError, match="same place"):
            writer.write(result({"a": b"a", "b": b"b"}), document, outputs=own)
    assert not keys()


def test_no_file_replaces_the_document(writer: ResultsWriter, signer: S3Signer, keys: Any) -> None:
    """A file with the document's name is an error, whatever the letter case."""
    for name in ("result.json", "Result.JSON"):
        with pytest.raises(OutputError, match="name of the document"):
            writer.write(result({name: b"{}"}), signer.presign_prefix("runs/"))
    assert not keys()


def test_a_failed_file_keeps_its_document_back(
    writer: ResultsWriter, signer: S3Signer, seaweedfs: SeaweedFS, keys: Any, bucket: str, webhook: WebhookReceiver
) -> None:
    """The document of a target whose files can't be stored isn't sent; that of another target is."""
    wrong = S3Signer("no-such-bucket-here", client=seaweedfs.client()).presign_prefix("runs/")
    with pytest.raises(DeliveryError) as caught:
        writer.write(result({"a": b"a"}), [signer.presign_prefix("runs/"), wrong])
    assert not isinstance(caught.value, MultipleDeliveryErrors)
    assert [receipt.url for receipt in caught.value.receipts] == [f"{seaweedfs.endpoint_url}/{bucket}"]
    assert sorted(keys()) == ["runs/a", "runs/result.json"]


def test_forms_that_boto3_made(writer: ResultsWriter, seaweedfs: SeaweedFS, bucket: str, read: Any, keys: Any) -> None:
    """`generate_presigned_post` for a key that ends with ${filename} takes files, with conditions of the user's own."""
    client = seaweedfs.client()
    cases = {
        "plain/": {},
        "typed/": {"Conditions": [["starts-with", "$Content-Type", ""]]},
        "images/": {"Conditions": [["starts-with", "$Content-Type", ""], ["content-length-range", 0, 10**6]]},
        "fixed/": {"Fields": {"Content-Type": "text/plain"}, "Conditions": [{"Content-Type": "text/plain"}]},
    }
    for prefix, options in cases.items():
        post = client.generate_presigned_post(bucket, f"{prefix}${{filename}}", **options)
        writer.write(result({"a/fit.png": b"png"}), post["url"], {"s3_fields": post["fields"], "s3_prefix": {}})
        assert read(f"{prefix}a/fit.png") == b"png"
        assert json.loads(read(f"{prefix}result.json"))["results"]["outputs"]["a/fit.png"]["media_type"] == "image/png"
        kind = client.head_object(Bucket=bucket, Key=f"{prefix}a/fit.png")["ContentType"]
        assert kind == (
            "image/png" if prefix in ("typed/", "images/") else "text/plain" if prefix == "fixed/" else kind
        )


def test_a_form_without_the_member_takes_files_too(
    writer: ResultsWriter, seaweedfs: SeaweedFS, bucket: str, keys: Any
) -> None:
    """Without `s3_prefix` the document has a name of its own that no file has."""
    post = seaweedfs.client().generate_presigned_post(bucket, "runs/${filename}")
    writer.write(result({"a": b"a"}), post)
    assert len(keys()) == 2
    assert "runs/a" in keys()


def test_a_form_of_one_key_takes_no_files(writer: ResultsWriter, seaweedfs: SeaweedFS, bucket: str, keys: Any) -> None:
    """The member on a form for one key is an error, and so are files for it."""
    post = seaweedfs.client().generate_presigned_post(bucket, "runs/42.json")
    with pytest.raises(CallbackParamError, match="doesn't permit keys below a prefix"):
        writer.write(result({"a": b"a"}), post["url"], {"s3_fields": post["fields"], "s3_prefix": {}})
    with pytest.raises(OutputError, match="No target takes"):
        writer.write(result({"a": b"a"}), post)
    assert not keys()


def test_the_name_of_a_file_takes_the_place_of_the_placeholder(
    writer: ResultsWriter, seaweedfs: SeaweedFS, bucket: str
) -> None:
    """A field with ${filename}, which SDKs sign for the original name, gets the name of each file."""
    client = seaweedfs.client()
    post = client.generate_presigned_post(
        bucket,
        "runs/${filename}",
        Fields={"x-amz-meta-original": "${filename}"},
        Conditions=[["starts-with", "$x-amz-meta-original", ""]],
    )
    writer.write(result({"a/fit.png": b"png"}), post)
    metadata = client.head_object(Bucket=bucket, Key="runs/a/fit.png")["Metadata"]
    assert metadata["original"] in ("fit.png", "${filename}")
    assert b'filename="fit.png"' in _sent_form(post)


def _sent_form(post: dict[str, Any]) -> bytes:
    """Return the form that is sent for a file: SeaweedFS doesn't replace the placeholder in metadata."""
    (callback,) = parse_callbacks([post])
    file = plan(callback).below("a/fit.png", "image/png")
    return file.request(Body(b"png"), delivery_id="id", now=datetime.now(timezone.utc))[1].read()


def container_sas(azure: Azurite, **options: Any) -> str:
    options = {"permission": ContainerSasPermissions(create=True, write=True), **options}
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    return generate_container_sas(azure.account, CONTAINER, account_key=azure.key, expiry=expiry, **options)


def test_the_signature_of_a_container(writer: ResultsWriter, azure: Azurite) -> None:
    """One signature of azure-storage-blob for a container takes the document and all files, if it is asked for."""
    container = azure.client().get_container_client(CONTAINER)
    url = f"{container.url}?{container_sas(azure)}"
    param = {"azure_prefix": {"prefix": "runs/ü 42/"}, "run": 1}
    (receipt,) = writer.write(result({name: name.encode() for name in HOSTILE}), url, param)
    for name in HOSTILE:
        assert container.download_blob(f"runs/ü 42/{name}").readall() == name.encode()
    blob = container.download_blob("runs/ü 42/result.json")
    document = json.loads(blob.readall())
    assert blob.properties.content_settings.content_type == "application/json"
    assert document["callback_param"] == {"run": 1}
    assert document["results"]["outputs"]["100%.csv"]["url"] == f"{container.url}/{quote('runs/ü 42/100%.csv')}"
    assert (
        container.get_blob_client("runs/ü 42/100%.csv").get_blob_properties().content_settings.content_type
        == "text/csv"
    )
    assert "sig=" not in json.dumps(document)
    assert receipt.url.startswith(f"{container.url}/{quote('runs/ü 42/result.json')}?")


def test_the_signature_of_a_container_without_the_member_is_rejected(writer: ResultsWriter, azure: Azurite) -> None:
    """The URL of a container alone still is no target: its owner may have forgotten the blob's name."""
    url = f"{azure.endpoint}/{CONTAINER}?{container_sas(azure)}"
    with pytest.raises(WrongOperationError, match="has no blob name"):
        writer.write(result({}), url)
    read_only = f"{azure.endpoint}/{CONTAINER}?{container_sas(azure, permission=ContainerSasPermissions(read=True))}"
    with pytest.raises(TargetError, match="permission to create or write"):
        writer.write(result({"a": b""}), read_only, {"azure_prefix": {}})
    with pytest.raises(CallbackParamError, match="needs a signature of a container"):
        writer.write(result({"a": b""}), azure.sign("a"), {"azure_prefix": {}})


def test_presigned_prefixes_show_no_credential(signer: S3Signer) -> None:
    """Neither text has the signature; both forms of the target plan the same."""
    target = signer.presign_prefix("runs/42/", document="d.json")
    assert isinstance(target, PresignedPrefix)
    assert target.fields["x-amz-signature"] not in f"{target!r} {target}"
    assert target.callback_param["s3_prefix"] == {"document": "d.json"}
    assert target.fields["key"] == "runs/42/${filename}"


def test_a_policy_of_google_s_library_takes_all_files(google: GCS) -> None:
    """One of version 2: version 4 demands a single key."""
    fields = google.sign_prefix("bucket", "runs/", timedelta(minutes=5))
    target = (f"{google.endpoint}/bucket", {"s3_fields": fields, "s3_prefix": {}})
    with ResultsWriter(timeout=0) as writer:
        writer.write(JobResult(job_id="42", success=True, outputs={"a.txt": b"a", "plots/b.png": b"b"}), target)
    assert google.objects["bucket/runs/a.txt"] == b"a"
    assert google.objects["bucket/runs/plots/b.png"] == b"b"
    assert json.loads(google.objects["bucket/runs/result.json"])["results"]["outputs"].keys() == {
        "a.txt",
        "plots/b.png",
    }
