"""Reject URLs that are signed for another operation than the upload of one complete object.

Stores answer 2xx to many of these, and no complete object exists afterwards; but a receipt means that it exists. Each
family of stores declares the query parameters and headers of its other operations: a new one is a row in its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from callback_sdk.errors import WrongOperationError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.aistore import S3_PATH
from callback_sdk.targets.amazon import amazon_host, is_amazon
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.hosts import ip_literal
from callback_sdk.targets.providers import StorageProviders


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _never(value: str) -> bool:
    return False


@define(frozen=True, eq=False, repr=False)
class Operation:
    """An operation other than the upload of one complete object, with the parameters that identify it.

    Attributes:
        text: Name of the operation, as it completes "was signed for".
        names: Query parameters and headers, in lower case; each of them is sufficient.
        allows: Tells whether the URL is an upload with this value of the parameter.
    """

    text: str
    names: frozenset[str] = field(converter=_names)
    allows: Callable[[str], bool] = _never


@define(frozen=True, kw_only=True, eq=False, repr=False)
class Family:
    """Operations of stores with one protocol.

    Attributes:
        operations: Operations other than the upload of one object.
        hint: How to presign an upload.
    """

    operations: tuple[Operation, ...]
    hint: str
    _names: frozenset[str] = field(init=False)

    @_names.default
    def _find_names(self) -> frozenset[str]:
        return frozenset[str]().union(*(operation.names for operation in self.operations))

    def may_match(self, names: Iterable[str]) -> bool:
        """Tell whether a parameter identifies one of the operations, so that they need to be compared.

        Args:
            names: Query parameters and headers, in lower case.
        """
        return not self._names.isdisjoint(names)


# "Actions" in Amazon's S3 API reference, and extensions of compatible stores.
_S3 = (
    Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
    Operation("the start of a multipart upload (uploads)", "uploads"),
    Operation(
        "a copy of another object (x-amz-copy-source)",
        "x-amz-copy-source x-amz-copy-source-range x-amz-metadata-directive x-amz-tagging-directive",
    ),
    Operation("a new name of an object (renameObject)", "renameobject x-amz-rename-source"),
    # PutObject with an offset in Amazon's directory buckets; append in Ceph and Alibaba OSS.
    Operation("appending to an object", "x-amz-write-offset-bytes append position"),
    Operation(
        "an attribute of an object, such as its ACL or tags",
        "acl tagging legal-hold retention object-lock attributes annotation annotationname encryption torrent restore "
        "select select-type",
    ),
    Operation(
        "a setting of a bucket",
        "abac accelerate analytics cors intelligent-tiering inventory lifecycle logging metadataannotationtable "
        "metadataconfiguration metadatainventorytable metadatajournaltable metadatatable metrics notification "
        "ownershipcontrols policy policystatus publicaccessblock replication requestpayment session versioning website",
    ),
    Operation(
        "reading an object or a list of them",
        "versionid response-cache-control response-content-disposition response-content-encoding "
        "response-content-language response-content-type response-expires list-type prefix delimiter marker max-keys "
        "continuation-token start-after key-marker version-id-marker upload-id-marker max-uploads max-parts "
        "part-number-marker versions location delete x-amz-checksum-mode encoding-type fetch-owner max-buckets "
        "bucket-region max-directory-buckets max-annotation-results annotation-prefix x-amz-object-attributes",
    ),
    # "Snowball auto-extract" in MinIO, and the same in Amazon's Snowball: the body is an archive of the objects.
    Operation(
        "the files of an archive (snowball-auto-extract)",
        "x-amz-meta-snowball-auto-extract",
        lambda value: value.lower() == "false",
    ),
    # Amazon's SDK for JavaScript adds the operation's name.
    Operation("another operation than PutObject (x-id)", "x-id", lambda value: value == "PutObject"),
)

_MULTIPART_HINT = (
    "Pass the URL and s3_parts of S3Signer(bucket).presign_multipart(key, max_bytes=...), or the URLs of UploadPart, "
    "CompleteMultipartUpload, AbortMultipartUpload and HeadObject of another signer."
)

_IN_UPLOADS = frozenset({"partnumber", "x-id"})
"""Parameters of which each identifies an operation that belongs to a multipart upload."""

MULTIPART = Family(
    operations=tuple(operation for operation in _S3 if operation.names.isdisjoint(_IN_UPLOADS)),
    hint=_MULTIPART_HINT,
)
"""Operations other than those of a multipart upload."""

VERIFICATION = Family(operations=(), hint=_MULTIPART_HINT)
"""HeadObject may have any parameter: it changes nothing."""

S3 = Family(
    operations=_S3,
    hint="Presign put_object instead: S3Signer(bucket).presign_put(key), boto3's generate_presigned_url('put_object')"
    " or PutObjectCommand in JavaScript. The parts of a multipart upload are given together, as s3_parts: "
    "S3Signer(bucket).presign_multipart(key, max_bytes=...).",
)

RESUMABLE = "x-goog-resumable"
"""Header that makes a POST the start of a resumable upload to Google Cloud Storage. Its only value is `start`."""

# "Request methods" in Google's XML API reference.
GCS = Family(
    operations=(
        *_S3,
        Operation(
            "a copy of another object (x-goog-copy-source)",
            "x-goog-copy-source x-goog-copy-source-generation x-goog-metadata-directive",
        ),
        Operation("an object composed of others (compose)", "compose"),
        Operation("one generation of an object", "generation"),
        Operation("a setting of a bucket", "billing storageclass"),
    ),
    hint='Sign the PUT of one object instead: blob.generate_signed_url(version="v4", method="PUT", expiration=...), or '
    'for a resumable upload method="RESUMABLE".',
)

# "Blob service REST API" and "Create an account SAS" in Azure's reference.
AZURE = Family(
    operations=(
        Operation("a block or an attribute of a blob (comp)", "comp"),
        Operation("a container or the account (restype)", "restype"),
        Operation("reading a snapshot or a version", "snapshot versionid"),
        # Data Lake Storage: a file is created, appended to and flushed in separate requests.
        Operation("one step of writing a file (action, resource)", "action resource position flush"),
        Operation("a new name of a file (x-ms-rename-source)", "x-ms-rename-source"),
        Operation("a copy of another blob (x-ms-copy-source)", "x-ms-copy-source"),
        Operation(
            "a blob that is written in parts (x-ms-blob-type)",
            "x-ms-blob-type",
            lambda value: value.lower() == "blockblob",
        ),
        Operation("reading a snapshot or a version (sr)", "sr", lambda value: value in ("b", "c", "d")),
        Operation("other services than blobs (ss lacks b)", "ss", lambda value: "b" in value),
        Operation("services and containers only (srt lacks o)", "srt", lambda value: "o" in value),
    ),
    hint="Make the URL of one blob instead: generate_blob_sas(..., permission=BlobSasPermissions(create=True, "
    "write=True)), without comp and restype.",
)


def check_operation(callback: Callback, family: Family, signed: Iterable[str] = ()) -> None:
    """Reject a URL that is signed for another operation than the upload of one complete object.

    Args:
        callback: The URL with its headers.
        family: Operations of its store.
        signed: Names of the signed headers, in lower case.

    Raises:
        WrongOperationError: It is another operation.
    """
    query, headers = callback.url.lower_query(), callback.headers or callback.http or SecretFields({})
    if not family.may_match((*signed, *query.reveal(), *headers.reveal())):
        return
    # A signed header may have no value yet.
    given = Secret({**dict.fromkeys(signed, ""), **query.reveal(), **headers.reveal()})
    for operation in family.operations:
        if any(not operation.allows(given.reveal()[name]) for name in operation.names & given.reveal().keys()):
            raise wrong_operation(callback.url, family, f"was signed for {operation.text}")


def check_object_key(url: SecretURL, family: Family, stores: StorageProviders) -> None:
    """Reject an S3 URL that doesn't name an object: a PUT to a bucket's URL is CreateBucket.

    Args:
        url: The URL.
        family: Operations of its store.
        stores: Hosts of known object stores.

    Raises:
        WrongOperationError: The path has no object key, or the endpoint has no objects.
    """
    check_endpoint(url, family)
    if not has_object_key(url, stores):
        raise wrong_operation(url, family, "has no object key: its path ends with the bucket")


def has_object_key(url: SecretURL, stores: StorageProviders) -> bool:
    """Return whether a URL of S3's protocol names an object, and not only a bucket.

    Args:
        url: The URL.
        stores: Hosts of known object stores.
    """
    path = (url.path.removeprefix(S3_PATH) if stores.in_cluster(url) else url.path).removeprefix("/")
    return bool(path.partition("/")[2] if _has_bucket_in_path(url, stores) else path)


def key_warnings(url: SecretURL, key: str) -> tuple[str, ...]:
    """Return warnings of an object key that Amazon S3 takes and stores with a file system don't.

    Args:
        url: A URL of S3's protocol.
        key: Its object key, or a path that ends with it.
    """
    if is_amazon(url.host):
        return ()
    segments = key.split("/")
    found = []
    if segments[-1] == "":
        found.append(
            "The object key ends with a slash. MinIO rejects it, and SeaweedFS creates a folder and discards the "
            "document. Presign a key without it."
        )
    if {".", ".."}.intersection(segments):
        found.append(
            "The object key has a segment . or .. between slashes, which SeaweedFS, MinIO and others reject. Presign a "
            "key without it."
        )
    return tuple(found)


def check_endpoint(url: SecretURL, family: Family, *, form: bool = False) -> None:
    """Reject an endpoint of Amazon S3 that takes no uploads.

    Args:
        url: The URL.
        family: Operations of its store.
        form: Whether the upload is a POST form.

    Raises:
        WrongOperationError: It takes none.
    """
    host = amazon_host(url)
    problem = host and host.problem(form=form)
    if problem:
        raise wrong_operation(url, family, f"is at {problem}")


def wrong_operation(url: SecretURL, family: Family, problem: str, *, hint: str | None = None) -> WrongOperationError:
    """Return the error for a URL that is not the upload of one complete object."""
    return WrongOperationError(
        f"{url} {problem}; it is not for the upload of a complete object, and nothing was sent.",
        hint=hint or family.hint,
        url=str(url),
    )


def has_bare_host(url: SecretURL) -> bool:
    """Tell whether a host can't include a bucket or account: it is an IP address, or has no dot."""
    return "." not in url.host or ip_literal(url.host) is not None


def _has_bucket_in_path(url: SecretURL, stores: StorageProviders) -> bool:
    bucket = stores.bucket_in_host(url)
    return has_bare_host(url) if bucket is None else not bucket
