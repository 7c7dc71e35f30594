"""Error responses of object stores, as users have reported them.

Names of buckets, keys and accounts, ids and signatures are invented.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

WRITE_ONCE = {"if-none-match": "*"}

SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
NOT_SIGNED = "There were headers present in the request which were not signed"
NO_SUCH_KEY_ID = "The AWS Access Key Id you provided does not exist in our records."
UNSUPPORTED = "A header you provided implies functionality that is not implemented"
LOCK = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
AZURE = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
    "including the signature.\nRequestId:00000000-0000-0000-0000-000000000000\nTime:2026-01-01T00:00:00.0000000Z"
)
GOOGLE_FORM = "The content of the form does not meet the conditions specified in the policy document."


def xml(code: str, message: str = "", **elements: str) -> bytes:
    """Return an error document in the form of Amazon S3, Google and Azure."""
    inner = "".join(
        f"<{name}>{text}</{name}>" for name, text in {"Code": code, "Message": message, **elements}.items() if text
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}<RequestId>0</RequestId></Error>'.encode()


@define(frozen=True, kw_only=True)
class Case:
    """An error response.

    Attributes:
        store: Who responded.
        source: Where it was reported.
        status: HTTP status.
        body: Its body.
        hint: A part of the right hint.
        code: The code to find; None for a response without one.
        retryable: Whether another attempt may succeed.
        kind: Kind of the target.
        headers: Headers that were sent, besides Content-Type.
        host: The host.
    """

    store: str
    source: str
    status: int
    body: bytes
    hint: str
    code: str | None
    retryable: bool = False
    kind: str = "s3-put"
    headers: Mapping[str, str] = field(factory=dict)
    host: str = "results.s3.eu-central-1.amazonaws.com"


def amazon(
    source: str, status: int, code: str, message: str, hint: str, *, kind: str = "s3-put", **elements: str
) -> Case:
    body = xml(code, message, **elements)
    return Case(store="Amazon S3", source=source, status=status, body=body, hint=hint, code=code, kind=kind)


def r2(source: str, status: int, code: str, message: str, hint: str, *, kind: str = "s3-put") -> Case:
    host = "0123456789abcdef.r2.cloudflarestorage.com"
    body = xml(code, message)
    return Case(
        store="Cloudflare R2", source=source, status=status, body=body, hint=hint, code=code, kind=kind, host=host
    )


def b2(source: str, status: int, code: str, message: str, hint: str, headers: Mapping[str, str] | None = None) -> Case:
    host, body = "s3.us-west-004.backblazeb2.com", xml(code, message)
    return Case(
        store="Backblaze B2",
        source=source,
        status=status,
        body=body,
        hint=hint,
        code=code,
        headers=headers or {},
        host=host,
    )


def google(
    source: str, status: int, code: str, message: str, details: str, hint: str, *, kind: str = "gcs-put"
) -> Case:
    host, body = "storage.googleapis.com", xml(code, message, Details=details)
    return Case(
        store="Google Cloud Storage",
        source=source,
        status=status,
        body=body,
        hint=hint,
        code=code,
        kind=kind,
        host=host,
    )


def azure(
    source: str, status: int, code: str, message: str, hint: str, detail: str = "", *, retryable: bool = False
) -> Case:
    host, body = "account.blob.core.windows.net", xml(code, message, AuthenticationErrorDetail=detail)
    return Case(
        store="Azure Blob Storage",
        source=source,
        status=status,
        body=body,
        hint=hint,
        code=code,
        kind="azure-blob",
        host=host,
        retryable=retryable,
    )


def other(
    store: str, host: str, source: str, status: int, body: bytes, hint: str, code: str | None, *, kind: str = "s3-put"
) -> Case:
    return Case(store=store, source=source, status=status, body=body, hint=hint, code=code, kind=kind, host=host)


CASES = (
    # Amazon S3
    amazon(
        "peak/s5cmd#450",
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        "completed or aborted",
        kind="s3-multipart",
    ),
    amazon(
        "boto/boto3#1763",
        400,
        "EntityTooSmall",
        "Your proposed upload is smaller than the minimum allowed size",
        "larger part_size",
        kind="s3-multipart",
    ),
    amazon(
        "awslabs/aws-s3-transfer-manager-rs#163",
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        "another document",
        kind="s3-multipart",
    ),
    Case(
        store="Amazon S3",
        source="TTLabs/EvaporateJS#7",
        status=400,
        body=xml("InvalidPart", "One or more of the specified parts could not be found."),
        hint="sent again",
        code="InvalidPart",
        retryable=True,
        kind="s3-multipart",
    ),
    amazon(
        "aws/aws-sdk-java#1680",
        403,
        "AccessDenied",
        NOT_SIGNED,
        "a header that the URL doesn't sign",
        HeadersNotSigned="host",
    ),
    amazon(
        "odysseyscience/react-s3-uploader#106",
        403,
        "AccessDenied",
        NOT_SIGNED,
        "a header that the URL doesn't sign",
        HeadersNotSigned="x-amz-acl",
    ),
    amazon(
        "dandi/dandi-archive#1494",
        403,
        "AccessDenied",
        NOT_SIGNED,
        "under another name",
        HeadersNotSigned="content-md5",
    ),
    amazon(
        "waynehoover/s3_direct_upload#54",
        403,
        "AccessDenied",
        "Invalid according to Policy: Extra input fields: content-type",
        "no condition for the field",
        kind="s3-post",
    ),
    amazon(
        "eddturtle/direct-upload#18",
        403,
        "AccessDenied",
        "Invalid according to Policy: Extra input fields: x-amz-server-side-encryption",
        "no condition for the field",
        kind="s3-post",
    ),
    amazon(
        "waynehoover/s3_direct_upload#107",
        403,
        "AccessDenied",
        'Invalid according to Policy: Policy Condition failed: ["starts-with", "$content-type", ""]',
        "differs from the policy's condition",
        kind="s3-post",
    ),
    amazon(
        "aws/aws-sdk-js#1514",
        403,
        "AccessDenied",
        'Invalid according to Policy: Policy Condition failed: ["eq", "$X-Amz-Date", "20260101T000000Z"]',
        "differs from the policy's condition",
        kind="s3-post",
    ),
    amazon("versity/versitygw#1776", 400, "InvalidRequest", LOCK, "Object Lock needs a checksum"),
    amazon(
        "buildkite/docs#2344",
        403,
        "AccessDenied",
        "User: arn:aws:sts::000000000000:assumed-role/writer is not authorized to perform: kms:GenerateDataKey on this "
        "resource because the resource does not exist in this Region, no resource-based policies allow access, or a "
        "resource-based policy explicitly denies access",
        "grant kms:GenerateDataKey",
    ),
    amazon(
        "aws/aws-cli#813", 403, "AccessDenied", "Access Denied", "lacks a permission: s3:PutObject, with an acl also"
    ),
    amazon(
        "aws/aws-sdk-js#3975", 403, "AccessDenied", "Access Denied", "lacks a permission: s3:PutObject", kind="s3-post"
    ),
    amazon(
        "aws/aws-sdk-js#4129",
        400,
        "InvalidToken",
        "The provided token is malformed or otherwise invalid.",
        "AWS_STS_REGIONAL_ENDPOINTS=regional",
    ),
    Case(
        store="Amazon S3",
        source="aws/aws-sdk-net#3004",
        status=500,
        body=xml("InternalError", "We encountered an internal error. Please try again."),
        hint="global STS endpoint",
        code="InternalError",
        retryable=True,
        host="a1.mrap.accesspoint.s3-global.amazonaws.com",
    ),
    Case(
        store="Amazon S3",
        source="boto/boto3#4193",
        status=400,
        body=xml("UnsupportedSignature", "The provided request is signed with an unsupported STS Token version."),
        hint="global STS endpoint",
        code="UnsupportedSignature",
        host="a1.mrap.accesspoint.s3-global.amazonaws.com",
    ),
    amazon("aws/aws-sdk-js#1099", 400, "ExpiredToken", "The provided token has expired.", "temporary credentials"),
    amazon("uswitch/kiam#261", 403, "InvalidAccessKeyId", NO_SUCH_KEY_ID, "lacks its session token"),
    amazon("s3fs-fuse/s3fs-fuse#121", 403, "InvalidAccessKeyId", NO_SUCH_KEY_ID, "another provider or partition"),
    amazon(
        "bryanjos/aws_auth#31",
        400,
        "AuthorizationQueryParametersError",
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
        "604800 seconds",
        "at most 7 days",
    ),
    amazon(
        "HHS/Head-Start-TTADP#370",
        400,
        "AuthorizationQueryParametersError",
        "Error parsing the X-Amz-Credential parameter; the region 'us-east-1' is wrong; expecting 'us-gov-west-1'",
        "another region",
        Region="us-gov-west-1",
    ),
    amazon(
        "TTLabs/EvaporateJS#491",
        400,
        "AuthorizationQueryParametersError",
        "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
        '"&lt;YOUR-AKID&gt;/YYYYMMDD/REGION/SERVICE/aws4_request".',
        "escaped twice",
    ),
    amazon(
        "aws-amplify/amplify-js#975",
        400,
        "AuthorizationHeaderMalformed",
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'us-west-2'",
        "another region",
    ),
    amazon("ceph/s3-tests#218", 501, "NotImplemented", UNSUPPORTED, "a signed header or option", Header="If-Match"),
    amazon(
        "toehio/s3album#4",
        400,
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        "requires Signature Version 4",
        kind="s3-put-v2",
    ),
    amazon(
        "boto/boto3#1722",
        403,
        "SignatureDoesNotMatch",
        SIGNATURE,
        "includes the value of Content-Type",
        kind="s3-put-v2",
    ),
    amazon("minio/minio#5630", 403, "SignatureDoesNotMatch", SIGNATURE, "A header differs from its signed value"),
    amazon(
        "benefitcloud/ember-uploader#58",
        403,
        "SignatureDoesNotMatch",
        SIGNATURE,
        "fields policy or signature",
        kind="s3-post",
    ),
    amazon(
        "benefitcloud/ember-uploader#43",
        400,
        "InvalidPolicyDocument",
        "Invalid Policy: Invalid JSON.",
        "signed base64",
        kind="s3-post",
    ),
    amazon(
        "fortinet/aws-lambda-guardduty#14",
        400,
        "AccessControlListNotSupported",
        "The bucket does not allow ACLs",
        "without an acl",
    ),
    amazon(
        "aws/aws-sdk-php#1503",
        403,
        "AllAccessDisabled",
        "All access to this object has been disabled",
        "names another bucket",
    ),
    amazon(
        "chilts/awssum-amazon-s3#3",
        301,
        "PermanentRedirect",
        "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all "
        "future requests to this endpoint.",
        "in another region than the URL's host",
        Endpoint="s3.amazonaws.com",
    ),
    Case(
        store="Amazon S3",
        source="aws/aws-sdk-ruby#3144",
        status=501,
        body=xml("NotImplemented", UNSUPPORTED),
        hint="without if_none_match",
        code="NotImplemented",
        headers={"if-none-match": '"0123"'},
    ),
    amazon(
        "infinitered/apisauce#245",
        400,
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        "wider content-length-range",
        kind="s3-post",
        ProposedSize="710336",
        MaxSizeAllowed="709960",
    ),
    amazon(
        "versity/versitygw#2041",
        400,
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        "larger than the store accepts in one upload",
        ProposedSize="6442450944",
        MaxSizeAllowed="5368709120",
    ),
    # Cloudflare R2
    r2(
        "vastsa/FileCodeBox#95",
        401,
        "Unauthorized",
        "SigV2 authorization is not supported. Please use SigV4 instead.",
        "requires Signature Version 4",
        kind="s3-put-v2",
    ),
    r2(
        "pixelfed/pixelfed#3775",
        501,
        "NotImplemented",
        "Header &apos;x-amz-acl&apos; with value &apos;public-read&apos; not implemented",
        "without an acl",
    ),
    r2(
        "durch/rust-s3#355",
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your secret access key "
        "and signing method. ",
        "A header differs from its signed value",
    ),
    r2(
        "outline/outline discussion 4480",
        400,
        "InvalidArgument",
        "Invalid Argument: Authorization",
        "support POST forms",
        kind="s3-post",
    ),
    r2(
        "cloudflare/cloudflare-docs#32436", 403, "ExpiredRequest", "Request has expired", "expired by the store's clock"
    ),
    Case(
        store="Cloudflare R2",
        source="saltbo/zpan#199",
        status=501,
        body=b"",
        hint="a signed header, such as an acl",
        code=None,
        # Without a code it may be a load balancer's, which passes.
        retryable=True,
        headers={"x-amz-acl": "private"},
        host="results.0123456789abcdef.r2.cloudflarestorage.com",
    ),
    # Backblaze B2
    b2(
        "home-assistant/core#143995",
        400,
        "InvalidArgument",
        "Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call.",
        'request_checksum_calculation="when_required"',
    ),
    b2(
        "iterate-ch/cyberduck#16107",
        400,
        "InvalidArgument",
        "Unsupported header 'x-amz-checksum-sha256' received for this API call.",
        'request_checksum_calculation="when_required"',
    ),
    b2(
        "sathinduga/obsidian-s3-sync-and-backup#78",
        501,
        "NotImplemented",
        UNSUPPORTED,
        "without if_none_match",
        WRITE_ONCE,
    ),
    b2("zmanda/amanda#275", 400, "InvalidRequest", LOCK, "Object Lock needs a checksum"),
    b2("nixys/nxs-backup#98", 403, "AccessDenied", "not entitled", "application key is restricted"),
    # Google Cloud Storage
    google(
        "CulturalMe/meteor-slingshot#207",
        403,
        "AccessDenied",
        "Access denied.",
        "Caller does not have storage.objects.create access to bucket results",
        "role Storage Object Creator",
        kind="gcs-post",
    ),
    google(
        "google-github-actions/upload-cloud-storage#388",
        403,
        "AccessDenied",
        "Access denied.",
        "Caller does not have storage.objects.delete access to the Google Cloud Storage object.",
        "may create but not overwrite",
    ),
    google(
        "GoogleCloudPlatform/community#741",
        403,
        "AccessDenied",
        "Access denied.",
        "Anonymous caller does not have storage.objects.create access to results/42.json.",
        "arrived without a signature",
    ),
    google(
        "fog/fog-google#264",
        400,
        "ExpiredToken",
        "The provided token has expired.",
        "Request has expired: 120",
        "expired by the store's clock",
        kind="gcs-put-v2",
    ),
    google(
        "googleapis/google-cloud-java#7292",
        400,
        "InvalidPolicyDocument",
        GOOGLE_FORM,
        "Policy did not reference these fields: submit",
        "no condition for the field",
        kind="gcs-post",
    ),
    google(
        "GoogleCloudPlatform/cloud-storage-docs-xml-api-examples#4",
        400,
        "InvalidPolicyDocument",
        "The policy document is invalid.",
        "Policy document parsing error: Lexical Error: Unmatched Input: &lt;'&gt;",
        "not the signed base64",
        kind="gcs-post",
    ),
    google(
        "alexandrubagu/gcs_signed_url#7",
        400,
        "MalformedSecurityHeader",
        "Your request has a malformed header.",
        "Signature was not base64 encoded",
        "signature in the URL was damaged",
        kind="gcs-put-v2",
    ),
    google(
        "renchap/shrine-google_cloud_storage#22",
        403,
        "SignatureDoesNotMatch",
        SIGNATURE,
        "",
        "value of Content-Type",
        kind="gcs-put-v2",
    ),
    # Azure Blob Storage
    azure(
        "aloneguid/stowage#11",
        400,
        "InvalidBlobOrBlock",
        "The specified blob or block content is invalid.",
        "ids have another length",
    ),
    azure(
        "artifact-keeper/artifact-keeper#3920",
        400,
        "InvalidBlockList",
        "The specified block list is invalid.",
        "sent again",
        retryable=True,
    ),
    azure(
        "microsoft/AzureStorageExplorer#2392",
        409,
        "BlockCountExceedsLimit",
        "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.",
        "too many blocks",
    ),
    azure(
        "microsoft/AzureStorageExplorer#3219",
        403,
        "AuthenticationFailed",
        AZURE,
        "expired or is not valid yet",
        "Signature not valid in the specified time frame: Start [Thu, 01 Jan 2026 10:00:00 GMT] - Expiry [Thu, 01 Jan "
        "2026 18:00:00 GMT] - Current [Fri, 02 Jan 2026 10:00:00 GMT]",
    ),
    azure(
        "Azure/azure-sdk-for-java#17902",
        403,
        "AuthenticationFailed",
        AZURE,
        "missing or malformed",
        "Signature fields not well formed.",
    ),
    azure(
        "microsoft/AzureStorageExplorer#6198",
        403,
        "AuthenticationFailed",
        AZURE,
        "expired or is not valid yet",
        "Signed expiry time [Wed, 31 Aug 2022 00:00:00 GMT] has to be after signed start time [Thu, 20 Oct 2022 "
        "20:05:51 GMT]",
    ),
    azure(
        "Azure/azure-cli#19203",
        403,
        "UnauthorizedBlobOverwrite",
        "This request is not authorized to perform blob overwrites.\nRequestId:0\nTime:2026-01-01T00:00:00Z",
        "creating but not overwriting",
    ),
    azure(
        "Azure/azure-storage-azcopy#685",
        403,
        "AuthorizationPermissionMismatch",
        "This request is not authorized to perform this operation using this permission.",
        "permissions to create and to write",
    ),
    # MinIO, Ceph, Garage, SeaweedFS
    Case(
        store="MinIO",
        source="minio/minio#19652",
        status=403,
        body=xml(
            "AccessDenied",
            "Access Denied. (Each form field that you specify in a form must appear in the list of policy conditions. "
            '"awsaccesskeyid" not specified in the policy.)',
        ),
        hint="signature_version='s3v4'",
        code="AccessDenied",
        kind="s3-post",
    ),
    Case(
        store="a store that isn't named",
        source="makeplane/plane#9005",
        status=400,
        body=xml("MaxMessageLengthExceeded", MaxSizeAllowed="1024", ProposedSize="1160"),
        hint="fewer fields and conditions",
        code="MaxMessageLengthExceeded",
        kind="s3-post",
    ),
    other(
        "MinIO",
        "minio.example.org",
        "minio/minio-py#1047",
        403,
        xml("AccessDenied", "Access Denied. (Invalid according to Policy: Policy Condition failed)"),
        "differs from the policy's condition",
        "AccessDenied",
        kind="s3-post",
    ),
    Case(
        store="MinIO",
        source="minio/minio#6795",
        status=507,
        body=xml(
            "XMinioStorageFull",
            "Storage backend has reached its minimum free disk threshold. Please delete a few objects to proceed.",
        ),
        hint="disks are full",
        code="XMinioStorageFull",
        retryable=True,
        host="minio.example.org",
    ),
    other(
        "MinIO",
        "minio.example.org",
        "minio/minio-java#317",
        403,
        xml("SignatureDoesNotMatch", SIGNATURE),
        "signed for another method",
        "SignatureDoesNotMatch",
    ),
    other(
        "Ceph",
        "storage.example.org",
        "pyronear/pyro-api#158",
        403,
        xml("QuotaExceeded"),
        "reached its quota",
        "QuotaExceeded",
    ),
    other(
        "Garage",
        "garage.example.org",
        "khairul169/garage-webui#47",
        403,
        xml("AccessDenied", "Forbidden: Invalid signature"),
        "A header differs from its signed value",
        "AccessDenied",
    ),
    other(
        "SeaweedFS",
        "seaweedfs.example.org",
        "observed with SeaweedFS 4.48 and the key runs/../42.json",
        400,
        xml("InvalidRequest", "Invalid Request"),
        "a key with '.' or '..'",
        "InvalidRequest",
    ),
    other(
        "AIStore",
        "aistore.example.org",
        "observed with AIStore 5.0 and AuthN",
        403,
        xml("wrapError", "token required"),
        "requires a token",
        "wrapError",
    ),
    other(
        "AIStore",
        "aistore.example.org",
        "observed with AIStore 5.0 and AuthN",
        403,
        xml("wrapError", "token expired"),
        "AuthN doesn't accept the token any more",
        "wrapError",
    ),
    other(
        "AIStore",
        "aistore.example.org",
        "observed with AIStore 5.0 and AuthN",
        403,
        xml("wrapError", "insufficient permissions: write is not granted"),
        "permission to write to the bucket",
        "wrapError",
    ),
    # Other providers
    other(
        "DigitalOcean Spaces",
        "results.nyc3.digitaloceanspaces.com",
        "ShareX/ShareX#2803",
        403,
        xml("SignatureDoesNotMatch"),
        "A header differs from its signed value",
        "SignatureDoesNotMatch",
    ),
    other(
        "Wasabi",
        "s3.us-west-1.wasabisys.com",
        "async-aws/aws#1184",
        403,
        xml("InvalidAccessKeyId", NO_SUCH_KEY_ID),
        "another provider",
        "InvalidAccessKeyId",
    ),
    other("Wasabi", "s3.wasabisys.com", "durch/rust-s3#51", 400, b"", "no error code", None),
    other(
        "Alibaba OSS",
        "results.oss-cn-hangzhou.aliyuncs.com",
        "johnlui/AliyunOSS#20",
        403,
        xml("AccessDenied", "Request has expired."),
        "expired by the store's clock",
        "AccessDenied",
        kind="oss-put",
    ),
    other(
        "Alibaba OSS",
        "results.oss-cn-hangzhou.aliyuncs.com",
        "oncemi/OnceMi.AspNetCore.OSS#22",
        403,
        xml("SignatureDoesNotMatch", SIGNATURE),
        "includes the value of Content-Type",
        "SignatureDoesNotMatch",
        kind="oss-put",
    ),
    other(
        "Alibaba OSS",
        "results.results.oss-cn-hangzhou.aliyuncs.com",
        "ali-sdk/ali-oss#49",
        400,
        xml("InvalidBucketName", "The specified bucket is not valid."),
        "part of the endpoint twice",
        "InvalidBucketName",
        kind="oss-put",
    ),
    other(
        "Tencent COS",
        "results-1250000000.cos.ap-beijing.myqcloud.com",
        "Molunerfinn/PicGo#638",
        403,
        xml("SignatureDoesNotMatch", "The Signature you specified is invalid."),
        "A header differs from its signed value",
        "SignatureDoesNotMatch",
        kind="cos-put",
    ),
    other(
        "Supabase",
        "project.supabase.co",
        "supabase/supabase-flutter#402",
        400,
        b'{"statusCode":"400","error":"jwt expired","message":"jwt expired"}',
        "expired by the store's clock",
        None,
        kind="supabase-put",
    ),
    other(
        "Supabase",
        "project.supabase.co",
        "supabase/storage#1268",
        400,
        b'{"statusCode":"403","code":"AccessDenied","error":"Unauthorized","message":"Invalid Compact JWS"}',
        "The token in the URL is damaged",
        "AccessDenied",
        kind="supabase-put",
    ),
    other(
        "Supabase",
        "project.supabase.co",
        "supabase/supabase-js#1246",
        400,
        b'{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}',
        "The object exists already",
        "Duplicate",
        kind="supabase-put",
    ),
    other(
        "Google Cloud Storage",
        "storage.googleapis.com",
        "google-github-actions/upload-cloud-storage#388",
        403,
        b'{"error":{"code":403,"message":"Caller does not have storage.objects.delete access to the Google Cloud '
        b'Storage object.","errors":[{"domain":"global","reason":"forbidden"}]}}',
        "may create but not overwrite",
        None,
        kind="gcs-put",
    ),
    other(
        "Supabase",
        "project.supabase.co",
        "supabase/storage#1241",
        403,
        b'{"statusCode":"403","error":"Unauthorized","message":"new row violates row-level security policy"}',
        "add a policy for INSERT",
        "Unauthorized",
        kind="supabase-put",
    ),
    other(
        "Supabase, behind nginx",
        "supabase.example.org",
        "supabase/supabase#27964",
        413,
        b"<html><head><title>413 Request Entity Too Large</title></head></html>",
        "client_max_body_size",
        None,
        kind="supabase-put",
    ),
    other(
        "OpenStack Swift",
        "swift.example.org",
        "openstacknetsdk/openstack.net#432",
        401,
        b"401 Unauthorized: Temp URL invalid",
        "TempURL has expired",
        None,
        kind="swift-put",
    ),
    other(
        "Oracle Object Storage",
        "objectstorage.eu-frankfurt-1.oraclecloud.com",
        "oracle/oci-java-sdk#113",
        404,
        b'{"code":"BucketNotFound","message":"Either the bucket named \'results\' does not exist in the namespace '
        b"'example' or you are not authorized to access it\"}",
        "pre-authenticated request",
        "BucketNotFound",
        kind="oracle-par",
    ),
    other(
        "Google Cloud Storage",
        "storage.googleapis.com",
        "googleapis/gcs-resumable-upload#15",
        410,
        b"",
        "start another one",
        None,
        kind="gcs-session",
    ),
)
