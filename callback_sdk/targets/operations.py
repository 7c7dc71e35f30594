"""What a URL was signed for: a store answers 2xx to many requests after which no complete object exists.

A receipt must mean that the object exists, so each family of stores declares the query parameters and headers that
make a URL something other than the upload of one complete object. To cover another one, add it to the family's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from callback_sdk.errors import WrongOperationError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.hosts import ip_literal
from callback_sdk.targets.providers import StorageProviders


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _never(value: str) -> bool:
    return False


@define(frozen=True)
class Operation:
    """An operation that isn't the upload of one complete object, and what it is recognized by.

    Attributes:
        text: What the URL is for, as it completes "was signed for".
        names: Query parameters and headers, in lower case; any of them is enough.
        allows: Tells for a value of theirs whether the URL is an upload nevertheless.
    """

    text: str
    names: frozenset[str] = field(converter=_names)
    allows: Callable[[str], bool] = _never


@define(frozen=True, kw_only=True)
class Family:
    """What stores of one kind share.

    Attributes:
        operations: What else a URL may be signed for.
        hint: What to sign instead.
    """

    operations: tuple[Operation, ...]
    hint: str


# "Actions" in Amazon's S3 API reference, and what compatible stores add.
_S3 = (
    Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
    Operation("the start of a multipart upload (uploads)", "uploads"),
    Operation("a copy of another object (x-amz-copy-source)", "x-amz-copy-source x-amz-copy-source-range"),
    Operation("a new name of an object (renameObject)", "renameobject x-amz-rename-source"),
    # Amazon's directory buckets; Ceph and Alibaba OSS.
    Operation("appending to an object", "x-amz-write-offset-bytes append position"),
    Operation(
        "an attribute of an object, such as its ACL or tags",
        "acl tagging legal-hold retention object-lock attributes annotation encryption torrent restore select "
        "select-type",
    ),
    Operation(
        "a setting of a bucket",
        "abac accelerate analytics cors intelligent-tiering inventory lifecycle logging metadataconfiguration "
        "metadatainventorytable metadatajournaltable metadatatable metrics notification ownershipcontrols policy "
        "policystatus publicaccessblock replication requestpayment session versioning website",
    ),
    Operation(
        "reading an object or a list of them",
        "versionid response-cache-control response-content-disposition response-content-encoding "
        "response-content-language response-content-type response-expires list-type prefix delimiter marker max-keys "
        "continuation-token start-after key-marker version-id-marker upload-id-marker max-uploads max-parts "
        "part-number-marker versions location delete",
    ),
    # Amazon's SDK for JavaScript names the operation.
    Operation("another operation than PutObject (x-id)", "x-id", lambda value: value == "PutObject"),
)

S3 = Family(
    operations=_S3,
    hint="Sign put_object instead: S3Signer(bucket).presign_put(key), boto3's generate_presigned_url('put_object')"
    " or PutObjectCommand in JavaScript.",
)

# "Request methods" in Google's XML API reference.
GCS = Family(
    operations=(
        *_S3,
        Operation("the start of a resumable upload (x-goog-resumable)", "x-goog-resumable"),
        Operation("a copy of another object (x-goog-copy-source)", "x-goog-copy-source x-goog-copy-source-generation"),
        Operation("an object composed of others (compose)", "compose"),
        Operation("one generation of an object", "generation"),
        Operation("a setting of a bucket", "billing storageclass"),
    ),
    hint='Sign the PUT of one object instead: blob.generate_signed_url(version="v4", method="PUT", expiration=...).',
)

# "Blob service REST API" and "Create an account SAS" in Azure's reference.
AZURE = Family(
    operations=(
        Operation("a block or an attribute of a blob (comp)", "comp"),
        Operation("a container or the account (restype)", "restype"),
        Operation("reading a snapshot or a version", "snapshot versionid"),
        # Data Lake Storage, whose files are written in several requests.
        Operation("one step of writing a file (action, resource)", "action resource"),
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
    """Refuse a URL that was signed for something other than the upload of one complete object.

    Args:
        callback: The URL, and the headers that came with it.
        family: What its store can be asked for.
        signed: Names of the headers that the URL signed, in lower case.

    Raises:
        WrongOperationError: The store may answer 2xx, and there would be no object.
    """
    given = _given(callback, signed)
    for operation in family.operations:
        if any(not operation.allows(given.reveal()[name]) for name in operation.names & given.reveal().keys()):
            raise wrong_operation(callback.url, family, f"was signed for {operation.text}")


def check_object_key(url: SecretURL, family: Family, stores: StorageProviders) -> None:
    """Refuse a URL of S3's form whose path names no object: a PUT there creates a bucket.

    Args:
        url: The URL.
        family: What its store can be asked for.
        stores: The hosts that are known.

    Raises:
        WrongOperationError: It names a bucket at most.
    """
    path = url.path.removeprefix("/")
    key = path.partition("/")[2] if _has_bucket_in_path(url, stores) else path
    if not key:
        raise wrong_operation(url, family, "names no object: its path ends with the bucket")


def wrong_operation(url: SecretURL, family: Family, problem: str) -> WrongOperationError:
    """Return the error for a URL that isn't the upload of one complete object."""
    return WrongOperationError(
        f"{url} {problem}; it is not for the upload of a complete object, and nothing was sent.",
        hint=family.hint,
        url=str(url),
    )


def has_bare_host(url: SecretURL) -> bool:
    """Tell whether a host is an address or has no dot, so that it can't have the name of a bucket or account in it."""
    return "." not in url.host or ip_literal(url.host) is not None


def _has_bucket_in_path(url: SecretURL, stores: StorageProviders) -> bool:
    bucket = stores.bucket_in_host(url)
    return has_bare_host(url) if bucket is None else not bucket


def _given(callback: Callback, signed: Iterable[str]) -> Secret[dict[str, str]]:
    """Return the query parameters and headers by their names in lower case; a header may have no value yet."""
    url, headers = callback.url, callback.headers or SecretFields({})
    query = ((name.lower(), url.query(name) or "") for name in url.query_names())
    sent = ((name.lower(), value) for name, value in headers.reveal().items())
    return Secret({**dict.fromkeys(signed, ""), **dict(query), **dict(sent)})
