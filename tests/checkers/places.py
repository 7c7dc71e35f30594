"""All kinds of targets with possible mistakes, at servers that reject these mistakes."""

from __future__ import annotations

import base64
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from attrs import define, evolve
from azure.storage.blob import (
    AccountSasPermissions,
    BlobSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)
from botocore.config import Config

from callback_sdk import S3Signer
from callback_sdk.documents.body import Body
from callback_sdk.documents.multipart import FormFile, encode_form
from callback_sdk.errors import (
    CallbackParamError,
    CallbackSDKError,
    DeliveryError,
    InvalidTargetError,
    MissingS3FieldsError,
    PolicyError,
    ResultTooLargeError,
    SignedHeaderError,
    TargetExpiredError,
    WrongOperationError,
)
from callback_sdk.models import PresignedMultipart
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets import TargetSettings, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.s3_multipart import MIN_PART_SIZE
from callback_sdk.targets.target import GIB
from callback_sdk.targets.upload import Upload
from callback_sdk.testing import SeaweedFS
from callback_sdk.webhooks import decode_secret
from tests.checkers.azurite import CONTAINER, Azurite
from tests.checkers.gcs import GCS
from tests.checkers.webhooks import Receiver

BODY = Body(b'{"job_id":"42","status":"Finished","callback_param":{},"success":true,"results":{}}')
HOUR = timedelta(hours=1)
METADATA = {"run": "1"}


@define(frozen=True, kw_only=True)
class Case:
    """One correct or wrong use of a target.

    Attributes:
        url: Value of `callback_url`; None if the mistake can't be made for this kind of target.
        param: Value of `callback_param`.
        error: The expected error of the planner.
        upload: The request that is sent if the planner's checks are bypassed.
        size: Size of a document that is too large to create, in bytes; None for the document of `results`.
        results: Results of the job.
    """

    url: str | None = None
    param: dict[str, Any] | None = None
    error: type[CallbackSDKError] = DeliveryError
    upload: Upload | None = None
    size: int | None = None
    results: Any = None


def unchecked(url: str, param: Any = None, settings: TargetSettings | None = None) -> Upload:
    """Return the upload for a callback, without validating it."""
    (callback,) = parse_callbacks(url, param)
    target = plan(callback, settings)
    headers, body = target.request(BODY, delivery_id="msg_1", now=datetime.now(timezone.utc))
    # That of the document, if the callback is for all objects below a prefix.
    return raw(target.method, target.callback.url.reveal(), headers.reveal(), body)


def raw(method: str, url: str, headers: Mapping[str, str], body: Body = BODY) -> Upload:
    """Return an upload with these attributes."""
    return Upload(
        kind="raw",
        method=method,
        url=SecretURL(url),
        headers=Secret(dict(headers)),
        body=body,
        document=BODY,
        expires_at=None,
        accepts=frozenset({200, 201, 204}),
        redirects=False,
    )


def raw_form(url: str, fields: Mapping[str, str], document: Body = BODY) -> Upload:
    """Return the upload of a form with these fields and a file."""
    file = FormFile(name="file", filename="f.json", content_type="application/json", body=document)
    body, content_type = encode_form(SecretFields(fields), [file])
    return raw("POST", url, {"content-type": content_type}, body)


class Place(ABC):
    """A kind of target at a server. Each case uses a different object."""

    kind: str
    endpoint: str
    constants: Mapping[str, int] = MappingProxyType({})
    """Constants of the package that have other values in the tests of this kind, by dotted name."""

    def __init__(self) -> None:
        self.key = f"runs/{secrets.token_hex(6)} ü.json"

    @abstractmethod
    def read(self) -> bytes | None:
        """Return the stored object; None if the server stored nothing."""

    @abstractmethod
    def valid(self) -> Case: ...

    @abstractmethod
    def tampered(self) -> Case: ...

    @abstractmethod
    def expired(self) -> Case: ...

    def wrong_header(self) -> Case:
        raise NotImplementedError

    def wrong_field(self) -> Case:
        raise NotImplementedError

    @abstractmethod
    def too_big(self) -> Case: ...

    def no_fields(self) -> Case:
        raise NotImplementedError


class Put(Place):
    """Base class of kinds with PUT URLs."""

    signed_header = "x-amz-meta-run"
    limit = 5 * GIB

    @abstractmethod
    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        """Return a signed URL; a negative lifetime means an expired one."""

    def valid(self) -> Case:
        return Case(url=self.sign())

    def tampered(self) -> Case:
        return Case(url=self.sign().replace("runs/", "others/"))

    def expired(self) -> Case:
        url = self.sign(expires=-HOUR)
        return Case(url=url, error=TargetExpiredError, upload=unchecked(url))

    def wrong_header(self) -> Case:
        """A header is signed, but its value is unknown."""
        url = self.sign(metadata=True)
        return Case(url=url, error=SignedHeaderError, upload=raw("PUT", url, {"content-type": "application/json"}))

    def too_big(self) -> Case:
        return Case(url=self.sign(), error=ResultTooLargeError, size=self.limit + 1)

    def no_fields(self) -> Case:
        """The query is missing."""
        bare = self.sign().partition("?")[0]
        return Case(url=bare, error=MissingS3FieldsError, upload=raw("PUT", bare, {"x-ms-blob-type": "BlockBlob"}))


class OtherHeader(Put):
    """PUT URLs that don't name their signed headers, so that only the server can detect a wrong header."""

    def wrong_header(self) -> Case:
        return Case(url=self.sign(), param={"s3_headers": {"content-type": "text/other"}})


class Post(Place):
    """Base class of kinds with POST forms."""

    url: str

    @abstractmethod
    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        """Return the fields of a signed form; a negative lifetime means an expired one."""

    def form(self, fields: Mapping[str, str], error: type[CallbackSDKError] = DeliveryError) -> Case:
        param = {"s3_fields": dict(fields)}
        return Case(url=self.url, param=param, error=error, upload=unchecked(self.url, param))

    def valid(self) -> Case:
        return self.form(self.sign())

    def tampered(self) -> Case:
        """The policy of another form, with the signature of this one."""
        fields = self.sign()
        text = base64.b64decode(fields["policy"]).replace(b"1000", b"9999")
        return self.form({**fields, "policy": base64.b64encode(text).decode()})

    def expired(self) -> Case:
        return self.form(self.sign(expires=-HOUR), TargetExpiredError)

    def wrong_field(self) -> Case:
        return self.form({**self.sign(), "key": "runs/other.json"}, PolicyError)

    def too_big(self) -> Case:
        return self.form(self.sign(largest=10), PolicyError)

    def no_fields(self) -> Case:
        return Case(url=self.url, error=MissingS3FieldsError, upload=raw_form(self.url, {"key": self.key}))


class S3(Place):
    """Base class of kinds at SeaweedFS."""

    def __init__(self, server: SeaweedFS) -> None:
        super().__init__()
        self.server = server
        self.endpoint = server.endpoint_url
        self.bucket = server.create_bucket()
        self.url = f"{self.endpoint}/{self.bucket}"

    def signer(self, expires: timedelta) -> S3Signer:
        signer = S3Signer(self.bucket, client=self.server.client())
        # boto3 rejects a negative lifetime, so an expired URL is signed at an earlier time.
        past = timedelta() if expires > timedelta() else HOUR - expires
        signer._clock = lambda: time.time() - past.total_seconds()
        return signer

    def client_v2(self) -> Any:
        return self.server.client(config=Config(signature_version="s3", s3={"addressing_style": "path"}, proxies={}))

    def read(self) -> bytes | None:
        client = self.server.client()
        for item in client.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            return bytes(client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read())
        return None


class S3PutV4(S3, Put):
    kind = "s3-put"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return (
            self.signer(expires)
            .presign_put(self.key, expires=abs(expires), metadata=METADATA if metadata else None)
            .url
        )


class S3PutV2(S3, OtherHeader):
    kind = "s3-put-v2"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        params = {"Bucket": self.bucket, "Key": self.key}
        seconds = int(expires.total_seconds())
        return str(self.client_v2().generate_presigned_url("put_object", Params=params, ExpiresIn=seconds))


class S3PostV4(S3, Post):
    kind = "s3-post"

    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        return (
            self.signer(expires)
            .presign_post(self.key, expires=abs(expires), metadata=METADATA, max_bytes=largest)
            .fields
        )


class S3PostV2(S3, Post):
    kind = "s3-post"

    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        fields = {"x-amz-meta-run": "1"}
        conditions = [fields, ["content-length-range", 0, largest]]
        seconds = int(expires.total_seconds())
        form = self.client_v2().generate_presigned_post(self.bucket, self.key, fields, conditions, seconds)
        return dict(form["fields"])


class S3Prefix(S3, Post):
    """Forms for any key below a prefix."""

    kind = "s3-post"

    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        return self.signer(expires).presign_prefix("runs/ü 42/", expires=abs(expires), max_bytes=largest).fields

    def form(self, fields: Mapping[str, str], error: type[CallbackSDKError] = DeliveryError) -> Case:
        param = {"s3_fields": dict(fields), "s3_prefix": {}}
        return Case(url=self.url, param=param, error=error, upload=unchecked(self.url, param))

    def wrong_field(self) -> Case:
        """The key is below another prefix."""
        fields = self.sign()
        param = {"s3_fields": {**fields, "key": "others/${filename}"}, "s3_prefix": {}}
        upload = raw_form(self.url, {**fields, "key": "others/result.json"})
        return Case(url=self.url, param=param, error=CallbackParamError, upload=upload)


class S3Multipart(S3):
    """Uploads in parts, whose first request is UploadPart."""

    kind = "s3-multipart"

    def sign(self, *, expires: timedelta = HOUR) -> PresignedMultipart:
        return self.signer(expires).presign_multipart(
            self.key, part_size=MIN_PART_SIZE, max_bytes=2 * MIN_PART_SIZE, expires=abs(expires)
        )

    def case(
        self,
        target: PresignedMultipart,
        first: Callable[[str], str] = str,
        error: type[CallbackSDKError] = DeliveryError,
    ) -> Case:
        param = target.callback_param
        urls = param["s3_parts"]["urls"]
        urls[0] = first(urls[0])
        return Case(url=target.url, param=param, error=error, upload=raw("PUT", urls[0], {}))

    def valid(self) -> Case:
        return self.case(self.sign())

    def tampered(self) -> Case:
        return self.case(self.sign(), lambda url: url[:-1] + ("1" if url[-1] == "0" else "0"))

    def expired(self) -> Case:
        return self.case(self.sign(expires=-HOUR), error=TargetExpiredError)

    def wrong_field(self) -> Case:
        """The first part is that of another upload."""
        return self.case(self.sign(), lambda url: url.replace("uploadId=", "uploadId=0"), CallbackParamError)

    def too_big(self) -> Case:
        target = self.sign()
        return Case(url=target.url, param=target.callback_param, error=ResultTooLargeError, size=target.max_bytes + 1)

    def no_fields(self) -> Case:
        url = self.sign().url
        return Case(url=url, error=WrongOperationError, upload=raw("POST", url, {"content-type": "application/json"}))


class AzureBlob(Put):
    kind = "azure-blob"
    limit = 50_000 * 4000 * 1024**2

    def __init__(self, server: Azurite) -> None:
        super().__init__()
        self.server = server
        self.endpoint = server.endpoint

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return self.server.sign(self.key, expires=expires)

    def wrong_header(self) -> Case:
        """The kind of blob can't be created by a single PUT."""
        url, headers = self.sign(), {"x-ms-blob-type": "AppendBlob"}
        return Case(url=url, param={"s3_headers": headers}, error=WrongOperationError, upload=raw("PUT", url, headers))

    def wrong_permission(self) -> Case:
        """The URL only permits reading."""
        url = self.server.sign(self.key, permission=BlobSasPermissions(read=True))
        upload = raw("PUT", url, {"x-ms-blob-type": "BlockBlob"})
        return Case(url=url, error=InvalidTargetError, upload=upload)

    def read(self) -> bytes | None:
        return self.server.read(self.key)


class AzureAccount(AzureBlob):
    """A blob's URL with the signature of its account."""

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        end = datetime.now(timezone.utc) + expires
        permission = AccountSasPermissions(create=True, write=True)
        types = ResourceTypes(object=True)
        query = generate_account_sas(self.server.account, self.server.key, types, permission, end)
        return f"{self.server.url(self.key)}?{query}"


class AzureContainer(AzureBlob):
    """A blob's URL with the signature of its container."""

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        end = datetime.now(timezone.utc) + expires
        permission = ContainerSasPermissions(create=True, write=True)
        query = generate_container_sas(
            self.server.account, CONTAINER, account_key=self.server.key, expiry=end, permission=permission
        )
        return f"{self.server.url(self.key)}?{query}"


class AzurePrefix(AzureBlob):
    """The URL of a container with its signature, for any blob below a prefix."""

    def __init__(self, server: Azurite) -> None:
        super().__init__(server)
        prefix = f"runs/{secrets.token_hex(6)} ü/"
        self.key, self.param = f"{prefix}result.json", {"azure_prefix": {"prefix": prefix}}

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        end = datetime.now(timezone.utc) + expires
        permission = ContainerSasPermissions(create=True, write=True)
        query = generate_container_sas(
            self.server.account, CONTAINER, account_key=self.server.key, expiry=end, permission=permission
        )
        return f"{self.endpoint}/{CONTAINER}?{query}"

    def valid(self) -> Case:
        return Case(url=self.sign(), param=self.param)

    def tampered(self) -> Case:
        """With a permission that was not signed."""
        return Case(url=self.sign().replace("sp=cw", "sp=rcw"), param=self.param)

    def expired(self) -> Case:
        url = self.sign(expires=-HOUR)
        return Case(url=url, param=self.param, error=TargetExpiredError, upload=unchecked(url, self.param))

    def wrong_header(self) -> Case:
        """The kind of blob can't be created by a single PUT."""
        url, headers = self.sign(), {"x-ms-blob-type": "AppendBlob"}
        upload = raw("PUT", f"{self.server.url(self.key)}?{url.partition('?')[2]}", headers)
        return Case(url=url, param={**self.param, "s3_headers": headers}, error=WrongOperationError, upload=upload)

    def too_big(self) -> Case:
        return evolve(super().too_big(), param=self.param)

    def no_fields(self) -> Case:
        """The query is missing."""
        upload = raw("PUT", self.server.url(self.key), {"x-ms-blob-type": "BlockBlob"})
        bare = self.sign().partition("?")[0]
        return Case(url=bare, param=self.param, error=MissingS3FieldsError, upload=upload)


class AzureBlocks(AzureBlob):
    """Documents in blocks, whose first request is Put Block."""

    constants = MappingProxyType(
        {"callback_sdk.targets.azure.SINGLE_BLOB": 0, "callback_sdk.targets.azure_blocks.BLOCK_SIZE": 32}
    )

    @staticmethod
    def block(url: str) -> Upload:
        return raw("PUT", f"{url}{'&' if '?' in url else '?'}comp=block&blockid=AAAA", {})

    def expired(self) -> Case:
        case = super().expired()
        return evolve(case, upload=self.block(case.url or ""))

    def no_fields(self) -> Case:
        """The query is missing."""
        case = super().no_fields()
        return evolve(case, upload=self.block(case.url or ""))


class Google(Place):
    """Base class of kinds at the fake Google Cloud Storage."""

    bucket = "results"

    def __init__(self, server: GCS) -> None:
        super().__init__()
        self.server = server
        self.endpoint = server.endpoint
        self.url = f"{server.endpoint}/{self.bucket}/"

    def read(self) -> bytes | None:
        return self.server.objects.get(f"{self.bucket}/{self.key}")


class GCSPutV4(Google, Put):
    kind = "gcs-put"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False, largest: int | None = None) -> str:
        headers = {"x-goog-meta-run": "1"} if metadata else {}
        headers |= {} if largest is None else {"x-goog-content-length-range": f"0,{largest}"}
        return self.server.sign(self.bucket, self.key, expires, version="v4", headers=headers)

    def too_big(self) -> Case:
        url, param = self.sign(largest=10), {"s3_headers": {"x-goog-content-length-range": "0,10"}}
        return Case(url=url, param=param, error=ResultTooLargeError, upload=unchecked(url, param))


class GCSPutV2(Google, OtherHeader):
    kind = "gcs-put-v2"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return self.server.sign(self.bucket, self.key, expires, version="v2", headers={})


class GCSResumable(Google, Put):
    """URLs that start a resumable upload."""

    kind = "gcs-resumable"
    limit = 5 * 1024 * GIB

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        headers = {"x-goog-meta-run": "1"} if metadata else {}
        return self.server.sign(self.bucket, self.key, expires, version="v4", headers=headers, method="RESUMABLE")

    def wrong_header(self) -> Case:
        """Metadata is signed, but its value is unknown."""
        url = self.sign(metadata=True)
        upload = raw("POST", url, {"x-goog-resumable": "start"}, Body())
        return Case(url=url, error=SignedHeaderError, upload=upload)


class GCSPostV4(Google, Post):
    kind = "gcs-post"

    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        return self.server.sign_form(self.bucket, self.key, expires, largest)


class GCSPostV2(Google, Post):
    kind = "gcs-post"

    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        return self.server.sign_form_v2(self.bucket, self.key, expires, largest)


class StandIn(Place):
    """What is kept in a stand-in for one of the other stores, below one bucket."""

    bucket = "results"

    def __init__(self, server: Any) -> None:
        super().__init__()
        self.server = server
        self.endpoint = server.endpoint
        self.url = f"{server.endpoint}/{self.bucket}/"

    @property
    def path(self) -> str:
        return f"/{self.bucket}/{self.key}"

    def read(self) -> bytes | None:
        found: bytes | None = self.server.objects.get(self.path.lstrip("/"))
        return found


class OSSPut(StandIn, Put):
    kind = "oss-put"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        headers = {"cache-control": "no-store"} if metadata else {}
        return str(self.server.sign(self.path, expires, version=4, headers=headers))


class OSSPutV1(StandIn, OtherHeader):
    kind = "oss-put-v1"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return str(self.server.sign(self.path, expires, version=1))


class COSPut(StandIn, Put):
    kind = "cos-put"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return str(self.server.sign(self.path, expires, {"x-cos-meta-run": "1"} if metadata else {}))


class OBSPut(StandIn, OtherHeader):
    kind = "obs-put"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return str(self.server.sign(self.path, expires))


class FormOfStandIn(StandIn, Post):
    def sign(self, *, expires: timedelta = HOUR, largest: int = 1000) -> dict[str, str]:
        return dict(self.server.sign_form(self.key, expires, largest))


class OSSPost(FormOfStandIn):
    kind = "oss-post"


class COSPost(FormOfStandIn):
    kind = "cos-post"


class OBSPost(FormOfStandIn):
    kind = "obs-post"


class SwiftTempURL(StandIn, Put):
    """A temporary URL, whose signature covers no headers."""

    kind = "swift-put"

    @property
    def path(self) -> str:
        return f"/v1/AUTH_project/{self.bucket}/{self.key}"

    def sign(self, *, expires: timedelta = HOUR, metadata: bool = False) -> str:
        return str(self.server.sign(self.path, expires))

    def wrong_header(self) -> Case:
        """A header makes it the manifest of a large object."""
        url, headers = self.sign(), {"x-object-manifest": "results/parts"}
        return Case(url=url, param={"s3_headers": headers}, error=WrongOperationError, upload=raw("PUT", url, headers))


class Webhook(Place):
    """A webhook. Its mistakes are made in transit."""

    kind = "webhook"

    def __init__(self, server: Receiver) -> None:
        super().__init__()
        self.server = server
        self.endpoint = "https://store.example.org"
        server.taken.clear()

    def read(self) -> bytes | None:
        assert not self.server.disagreements
        return self.server.taken[-1] if self.server.taken else None

    def sent(self, body: Body = BODY, *, at: timedelta = timedelta(), **headers: str) -> Case:
        (callback,) = parse_callbacks(self.server.url)
        target = plan(callback, TargetSettings(webhook_keys=lambda: [decode_secret(self.server.secret)]))
        signed, _ = target.request(BODY, delivery_id="msg_1", now=datetime.now(timezone.utc) + at)
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return Case(upload=raw("POST", self.server.url, {**signed.reveal(), **changed}, body))

    def valid(self) -> Case:
        return Case(url=self.server.url)

    def tampered(self) -> Case:
        return self.sent(Body(BODY.read().replace(b"true", b"null")))

    def expired(self) -> Case:
        return self.sent(at=-HOUR)

    def wrong_header(self) -> Case:
        return self.sent(webhook_id="msg_2")

    def too_big(self) -> Case:
        return Case(url=self.server.url, error=ResultTooLargeError, results="x" * 256 * 1024)
