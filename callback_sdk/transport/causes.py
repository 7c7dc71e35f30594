"""Hints for the causes of rejected uploads, which several error codes share.

A hint that depends on the store's words has the words of each store: they are in lower case.
"""

from __future__ import annotations

from callback_sdk.targets.aistore import REFUSED
from callback_sdk.transport.hints import Hint

AGAIN = "Presign a new URL, and submit the task again with it."

UNCHANGED = "Pass the URL and everything with it unchanged, as the signer returned them."

EXPIRED = Hint(
    "The signature has expired by the store's clock: presign again for longer than the job and its retries take. If it "
    "is new, set the clock of the machine that signed it.",
    says=(
        "has expired",
        "policy expired",
        "jwt expired",
        "expired token",
        "timestamp check failed",
        "signature expired",
    ),
)

EXPIRED_CREDENTIALS = Hint(
    "The temporary credentials that signed the URL have expired, and the URL with them, whatever its own expiry: sign "
    "with credentials that last longer than the job and its retries."
)

RENEW_CREDENTIALS = Hint("The temporary credentials that signed must be renewed. " + AGAIN)

EXPIRED_SAS = Hint(
    "The SAS has expired or is not valid yet; the message has its times. Generate one that lasts longer than the job "
    "and its retries, with its start (st) some minutes ago.",
    says=("time frame", "has to be after signed start time", "has to be before"),
)

EXPIRED_DELEGATION = Hint(
    "The user delegation key behind the SAS has expired (ske, at most 7 days): generate key and SAS again.",
    says=("delegation key", "signed key expiry"),
)

FUTURE = Hint(
    "The signature begins in the future: set the clock of the machine that signed it.",
    says=("not valid yet", "not yet valid"),
)

VERSION_4 = Hint(
    "The store requires Signature Version 4: use S3Signer, or Config(signature_version='s3v4') in boto3.",
    says=("aws4-hmac-sha256", "sigv2 authorization", "sigv4", "signature version 4", "v2 signature"),
)

CHECKSUM = Hint(
    "The URL is signed with a checksum option that the store doesn't accept: presign with "
    'requestChecksumCalculation: "WHEN_REQUIRED" in JavaScript, or '
    'Config(request_checksum_calculation="when_required") '
    "in boto3.",
    says=("x-amz-sdk-checksum-algorithm", "x-amz-checksum-", "x-amz-trailer"),
)

OBJECT_LOCK = Hint(
    "The bucket's Object Lock needs a checksum of the document, which doesn't exist yet when a URL is signed: presign "
    "for a bucket without default retention, and lock or copy the object afterwards.",
    says=("object lock parameters",),
)

WORM = Hint(
    "The object exists already and is locked (Object Lock, retention): presign another key.",
    says=("worm protected", "immutab"),
)

ACL = Hint(
    "The store doesn't support this ACL, or ACLs of single objects at all: presign without an acl.",
    says=("x-amz-acl", "canned acl", "x-amz-grant"),
)

REGION = Hint(
    "The URL is signed for another region than the bucket's: presign for the region in the message, S3Signer(bucket, "
    "region=...).",
    says=("is wrong; expecting", "region is wrong", "region does not match", "wrong region"),
)

ENDPOINT = Hint(
    "The bucket is in another region than the URL's host, or is not the one that was meant: presign for the bucket's "
    "region and endpoint.",
    says=("must be addressed using the specified endpoint",),
)

THIRD_LEVEL = Hint(
    "The store requires the bucket in the host: S3Signer(..., addressing_style='virtual').",
    says=("third level domain", "virtual host", "virtual hosted"),
)

ESCAPED_TWICE = Hint(
    "The URL's query was escaped twice (%252F instead of %2F): pass the URL as the signer returned it.",
    says=("credential is mal-formed", "credential is malformed"),
)

WRITE_ONCE = Hint(
    "The URL is signed with If-None-Match, which the store doesn't support: presign without if_none_match.",
    says=("if-none-match",),
)

EXTRA_FIELD = Hint(
    "The policy has no condition for the field in the message: give it when presigning, presign_post(key, "
    "fields={...}), in boto3 as both Fields and Conditions; or leave it out.",
    says=("extra input fields", "did not reference these fields", "must appear in the list of"),
)

ACCESS_KEY_FIELD = Hint(
    "The store demands a condition for AWSAccessKeyId, which forms with Signature Version 2 don't have: use S3Signer, "
    "or Config(signature_version='s3v4') in boto3.",
    says=('"awsaccesskeyid" not specified',),
)

CONDITION = Hint(
    "A field differs from the policy's condition in the message. Pass all of s3_fields unchanged. Stores replace "
    "${filename} before they check: presign a field with it with a starts-with condition.",
    says=("policy condition failed", "does not meet the conditions"),
)

KMS = Hint(
    "The user who signed may not use the bucket's KMS key: grant kms:GenerateDataKey, in the key's policy too.",
    says=("kms:",),
)

ANONYMOUS = Hint(
    "The request arrived without a signature: copy the complete URL, with its query.",
    says=("anonymous caller", "anonymous access"),
)

GOOGLE_OVERWRITE = Hint(
    "The object exists already, and the service account that signed may create but not overwrite objects. Presign "
    "another key, or grant storage.objects.delete (role Storage Object User).",
    says=("storage.objects.delete",),
)

GOOGLE_PERMISSION = Hint(
    "Grant the service account that signed the permission in the message, such as with the role Storage Object "
    "Creator.",
    says=("does not have storage.", "does not have access"),
)

AISTORE_TOKEN = Hint(
    "AIStore with AuthN requires a token, which a presigned URL doesn't carry: give the cluster's with "
    "ResultsWriter(aistore_clusters={...}), or CALLBACK_SDK_AISTORE_CLUSTERS for service, outbox and command line.",
    says=("token required",),
)

AISTORE_REFUSED = Hint(
    "AIStore's AuthN doesn't accept the token any more: replace it. A login or a token file in aistore_clusters "
    "(CALLBACK_SDK_AISTORE_CLUSTERS) is renewed by itself.",
    says=REFUSED,
)

AISTORE_PERMISSION = Hint(
    "Grant the user of the token the permission to write to the bucket.",
    says=("insufficient permissions",),
)

ROW_LEVEL_SECURITY = Hint(
    "The bucket's policies don't permit this upload: create the URL with the service role, or add a policy for INSERT, "
    "and for overwriting also SELECT and UPDATE.",
    says=("row-level security",),
)

CAP = Hint(
    "The account has reached its limit of storage or requests: raise it, at Backblaze under Caps & Alerts.",
    says=("cap exceeded", "caps & alerts"),
)

QUOTA = Hint("The bucket or account has reached its quota: free space, or raise the quota.")

DISABLED = Hint(
    "Amazon has disabled this bucket. Usually the URL names another bucket than the one that was meant: check its name."
)

BILLING = Hint("The account is suspended, usually for billing: its owner must reactivate it.")

GLOBAL_TOKEN = Hint(
    "A multi-region access point accepts no session token of the global STS endpoint: if the URL has one, sign with "
    "AWS_STS_REGIONAL_ENDPOINTS=regional.",
    host=".s3-global.amazonaws.com",
)

TRANSIENT = Hint(
    "The store has a transient problem, and the delivery is retried. If it persists, see the store's status page."
)

SIGNATURE = (
    Hint("The fields policy or signature were changed, or the secret key is wrong. " + UNCHANGED, kinds="post"),
    Hint(
        "The signature includes the value of Content-Type in this version: if the URL was presigned with one, give it "
        "with s3_headers={'Content-Type': ...}. Otherwise the URL was changed after signing, or the secret key is "
        "wrong.",
        kinds="v2 oss obs",
    ),
    Hint(
        "A header differs from its signed value, the URL was changed after signing, it was signed for another method "
        "than PUT, or the secret key is wrong. " + UNCHANGED
    ),
)

INVALID_SIGNATURE = tuple(
    Hint(hint.text, says=("invalid signature", "signature you specified is invalid"), kinds=" ".join(hint.kinds))
    for hint in SIGNATURE
)

ACCESS_DENIED = (
    EXPIRED,
    FUTURE,
    ACCESS_KEY_FIELD,
    EXTRA_FIELD,
    CONDITION,
    Hint(
        "The host is Amazon S3 under another name, where the unsigned Content-MD5 is rejected: presign for the "
        "bucket's own host.",
        says=("not signed (headersnotsigned: content-md5",),
    ),
    Hint(
        "The request has a header that the URL doesn't sign: s3_headers or a proxy in between adds it. Leave it out, "
        "or presign with it.",
        says=("headers present in the request which were not signed",),
    ),
    KMS,
    Hint(
        "The bucket blocks public ACLs: presign without the public acl.",
        says=("blockpublicacls", "block public access", "public access control lists"),
    ),
    Hint(
        "A policy of the bucket, the user or the organization denies the upload explicitly, for example without "
        "encryption or from this network: ask its owner which condition the upload must meet.",
        says=("explicit deny",),
    ),
    Hint(
        "Grant the user who signed the action in the message; the uploader's own permissions don't matter.",
        says=("is not authorized to perform",),
    ),
    ANONYMOUS,
    GOOGLE_OVERWRITE,
    GOOGLE_PERMISSION,
    ENDPOINT,
    THIRD_LEVEL,
    CAP,
    WORM,
    Hint(
        "The application key is restricted to other buckets, prefixes or capabilities: create one with writeFiles for "
        "this bucket.",
        says=("not entitled",),
    ),
    ROW_LEVEL_SECURITY,
    *INVALID_SIGNATURE,
    Hint(
        "The token in the URL is damaged. " + UNCHANGED,
        says=("invalid compact jws", "jwt malformed", "signature verification failed"),
    ),
    Hint("Grant the service account that signed the role Storage Object Creator on the bucket.", kinds="gcs"),
    Hint("Grant the service account of the HMAC key the role Storage Object Creator.", host="storage.googleapis.com"),
    Hint(
        "The R2 API token that signed may not write here: create one with Object Read & Write for this bucket.",
        host=".r2.cloudflarestorage.com",
    ),
    Hint(
        "The application key that signed may not write here: create one with writeFiles for this bucket.",
        host=".backblazeb2.com",
    ),
    Hint(
        "The user who signed lacks a permission: s3:PutObject, with an acl also s3:PutObjectAcl, for a KMS key "
        "kms:GenerateDataKey; or a bucket policy denies the upload. Permissions count at the time of the upload."
    ),
)

QUERY = (
    Hint(
        "A URL is valid for at most 7 days: presign with expires up to 604800 seconds.",
        says=("less than a week", "604800"),
    ),
    REGION,
    ESCAPED_TWICE,
    Hint("The URL is incomplete, as if it was cut at an '&': copy the complete URL, in quotes in a shell."),
)

INVALID_REQUEST = (
    VERSION_4,
    OBJECT_LOCK,
    WORM,
    CHECKSUM,
    REGION,
    ACL,
    Hint("Pass all of s3_fields unchanged, as the signer returned them.", kinds="post"),
    Hint(
        "The store rejects the request as a whole. Its message may name the reason; a key with '.' or '..' between "
        "slashes is one: presign another key."
    ),
)

INVALID_ARGUMENT = (
    CHECKSUM,
    VERSION_4,
    ACL,
    WRITE_ONCE,
    Hint(
        "The store doesn't support the signed header in the message: presign without it.",
        says=("unsupported header",),
    ),
    Hint(
        "The store doesn't seem to support POST forms, like Cloudflare R2: presign a PUT instead.",
        says=("authorization",),
        kinds="post",
    ),
    Hint("Pass all of s3_fields unchanged, as the signer returned them.", kinds="post"),
    Hint("The store rejects the value of a signed header or parameter in its message: presign again with a valid one."),
)

NOT_IMPLEMENTED = (
    ACL,
    WRITE_ONCE,
    Hint(
        "The store has no key management (KMS) for the encryption that was signed: presign without it, or configure "
        "KMS.",
        says=("kms is not configured",),
    ),
    Hint(
        "The store doesn't support If-None-Match, the most likely of the signed headers: presign without "
        "if_none_match.",
        sends="if-none-match",
    ),
    Hint("The store doesn't support ACLs of single objects: presign without an acl.", sends="x-amz-acl"),
    Hint("The store doesn't support POST forms: presign a PUT instead.", kinds="post"),
    Hint(
        "The store doesn't support a signed header or option: presign a PUT without tags, encryption or storage class."
    ),
)

AUTHENTICATION_FAILED = (
    EXPIRED_SAS,
    Hint(
        "A parameter of the SAS is missing or malformed, as if the URL was cut or escaped twice: copy the complete "
        "URL, unchanged.",
        says=("not well formed", "is mandatory", "cannot be empty"),
    ),
    EXPIRED_DELEGATION,
    Hint(
        "The URL's path or a parameter differs from what was signed, or the account key was rotated. Generate a new "
        "SAS and pass its URL unchanged.",
        says=("signature did not match",),
    ),
    Hint("The URL was changed after signing, has expired, or the account key was rotated. " + AGAIN),
)

TOO_LARGE = (
    Hint("Presign again with a wider content-length-range.", kinds="post"),
    Hint("Presign again with a wider x-goog-content-length-range.", sends="x-goog-content-length-range"),
    Hint(
        "The document is larger than the store accepts in one upload: store large results within the job, and return "
        "their URLs."
    ),
)

EXISTS = Hint(
    "The object exists already, and may be written only once. It may be that of an earlier attempt whose response was "
    "lost: compare it with the MD5 {md5}. Otherwise presign another key."
)

BLOB_EXISTS = Hint(
    "The blob exists already, and may be written only once. It may be that of an earlier attempt whose response was "
    "lost: compare its Content-MD5 with the MD5 {md5}."
)

CORRUPTED = Hint(
    "The body was corrupted in transit, or the URL is signed with the checksum of another document. It is retried; if "
    "that persists, presign without a checksum."
)

NO_BUCKET = (
    Hint(
        "Create the bucket, or presign for an existing one. A bucket with a jurisdiction has another host: "
        "ACCOUNT.eu.r2.cloudflarestorage.com.",
        host=".r2.cloudflarestorage.com",
    ),
    Hint(
        "Create the bucket, or presign for an existing one. If it exists, the endpoint or the addressing style is "
        "wrong: S3Signer(..., addressing_style='virtual' or 'path')."
    ),
)

ACCESS_KEY = Hint(
    "The access key that signed was deleted or deactivated, belongs to another provider or partition, or is temporary "
    "and the URL lacks its session token. " + AGAIN
)

MALFORMED_SECURITY_HEADER = (
    Hint(
        "A signed header wasn't sent or has another value: give it with s3_headers, as the signer returned it.",
        says=("signedheaders", "signed header"),
    ),
    Hint("The signature in the URL was damaged: copy the complete URL, unchanged."),
)

POLICY_DOCUMENT = (
    EXPIRED,
    EXTRA_FIELD,
    CONDITION,
    Hint("The policy is not the signed base64: pass s3_fields unchanged, as the signer returned them."),
)

EXPIRY = frozenset({EXPIRED, EXPIRED_CREDENTIALS, EXPIRED_DELEGATION, EXPIRED_SAS, RENEW_CREDENTIALS})
"""Hints for responses to requests whose signature, or the credentials behind it, has expired."""
